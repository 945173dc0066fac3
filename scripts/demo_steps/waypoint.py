# SPDX-License-Identifier: Apache-2.0
"""scripts/demo --waypoint: two nodes with Culvert, and between frontend and backend a waypoint, an Envoy that applies an HTTP rule."""

from culvert_harness import Authority, World, envoy, programs, wait_for
from culvert_harness.pod import Pod

from .screen import Screen
from .steps import require

NAME = "demo-waypoint"
HEADER = "x-forbidden: yes"


class Town:
    """frontend on node a, backend on node b, both behind Culvert; waypoint on node b is Envoy, and backend's entry names it."""

    def __init__(self) -> None:
        self.world = World(NAME)
        self.world.extra_config = {"log": {"level": "info"}}
        self.world.tunnel = {"offer": ["direct", "hbone"]}
        self.world.declare("frontend", "a", namespace="shop")
        waypoint = self.world.declare("waypoint", "b", namespace="shop")
        backend = self.world.declare("backend", "b", namespace="shop", peer_authentication="STRICT")
        backend.fields["waypoint"] = waypoint.v4

    def pod(self, name: str) -> Pod:
        return self.world.pods[name]

    def start_waypoint(self) -> None:
        pod, backend = self.pod("waypoint"), self.pod("backend")
        target = f"{backend.v4}:80"
        credentials = Authority.of(self.world).credentials(pod.identity)
        envoy.start(pod, "waypoint", *envoy.waypoint(credentials, {target: (backend.v4, target, backend.identity)}))

    def things_to_try(self) -> list[str]:
        enter = f"nsenter --net={self.pod('frontend').netns.path} curl -i http://{self.pod('backend').v4}/"
        return [enter, f"{enter} -H '{HEADER}'"]


def nodes(town: Town, screen: Screen) -> None:
    town.world.start_agents()
    for node in town.world.nodes.values():
        screen.say(f"{node.name}: culvertd pid {node.agent.pid}")
    frontend, backend, waypoint = town.world.add("frontend"), town.world.add("backend"), town.world.add("waypoint", chain="plain")
    programs.nginx(backend, {"index.html": b"hello from backend\n"})
    town.start_waypoint()
    for pod in (frontend, backend, waypoint):
        screen.say(f"{pod.node.name}: {pod.name:9} {pod.v4:10} {pod.identity}")
    screen.shown("frontend and backend behind Culvert; the configuration says that backend is reached through waypoint, an Envoy")


def rule(town: Town, screen: Screen) -> None:
    frontend, backend, waypoint = town.pod("frontend"), town.pod("backend"), town.pod("waypoint")
    capture = town.world.capture()
    answers = {}
    for options in ((), ("-H", HEADER)):
        answer = programs.curl(frontend, f"http://{backend.v4}/", "-i", *options).stdout
        answers[bool(options)] = answer
        screen.say(f"frontend: curl {' '.join(options)} http://{backend.v4}/  ->  {answer.splitlines()[0]}")
    require(answers[False].startswith("HTTP/1.1 200") and "hello from backend" in answers[False] and "x-waypoint: envoy" in answers[False],
            f"without the header: {answers[False]!r}")
    screen.shown("a request passes: 200, from backend, with the waypoint's mark in its header")
    require(answers[True].startswith("HTTP/1.1 403"), f"with the header: {answers[True]!r}")
    screen.shown(f"one with '{HEADER}' is refused by the waypoint's rule: 403")
    capture.stop().assert_only_tunnels()
    peers = {segment.destination for segment in capture.segments() if segment.source == frontend.v4}
    require(peers == {waypoint.v4}, f"frontend's node spoke to {peers}")
    screen.shown("on the link frontend speaks with the waypoint only, in TLS to port 15008")


def down(town: Town, screen: Screen) -> None:
    frontend, backend, waypoint = town.pod("frontend"), town.pod("backend"), town.pod("waypoint")
    waypoint.kill_daemons()
    wait_for(lambda: 15008 not in waypoint.netns.listeners(), "the waypoint to be gone")
    capture = town.world.capture()
    refused = programs.curl(frontend, f"http://{backend.v4}/", check=False, timeout=10)
    screen.say(f"frontend: curl http://{backend.v4}/  ->  {refused.stderr.strip()}")
    require(refused.returncode != 0, f"curl got {refused.stdout!r} without the waypoint")
    capture.stop()
    require(not [segment for segment in capture.segments() if {segment.source, segment.destination} == {frontend.v4, backend.v4}],
            "packets went from frontend to backend, past the waypoint")
    screen.shown("with the waypoint down the request is refused, and no packet goes past it")
    town.start_waypoint()
    answer = programs.curl(frontend, f"http://{backend.v4}/").stdout
    require(answer == "hello from backend\n", f"curl got {answer!r} after the waypoint came back")
    screen.shown("it is served again as soon as the waypoint is back")


STEPS = (("Two nodes and a waypoint", nodes), ("The waypoint's rule", rule), ("The waypoint down", down))
