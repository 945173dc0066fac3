# SPDX-License-Identifier: Apache-2.0
"""A workload, or its service, that is reached through a waypoint: an Envoy that applies an HTTP rule and forwards over HBONE. Client and
server are behind Culvert.
"""

import time

import pytest
from culvert_harness import Authority, envoy, programs, scaled, wait_for


@pytest.fixture(params=["workload v4", "workload v6", "service v4", "service v6"])
def way(world, request):
    """Of a workload or of a service, which is dialled, and whose waypoint is known, by an address of that family."""
    kind, family = request.param.split()
    world.tunnel = {"offer": ["direct", "hbone"], "connect_timeout": "2s"}
    world.declare("client", "a", namespace="shop")
    waypoint = world.declare("waypoint", "b", namespace="shop")
    server = world.declare("server", "b", namespace="shop", peer_authentication="STRICT")
    vip = {"v4": "10.96.0.1", "v6": "[fd00:96::1]"}[family]
    reference, world.next_hop = getattr(waypoint, family), getattr(server, family)
    world.next_authority = f"{server.v4}:80" if family == "v4" else f"[{server.v6}]:80"
    if kind == "workload":
        server.fields["waypoint"] = reference
        world.target = world.next_authority
    else:
        world.mesh["services"] = [{"name": "web", "namespace": "shop", "hostname": "web.shop.svc.cluster.local", "addresses": [vip.strip("[]")],
                                   "ports": [{"port": 8080, "target_port": 80}], "endpoints": [{"workload": "server"}],
                                   "waypoint": reference}]
        world.target = f"{vip}:8080"
    world.start_agents()
    world.add("client")
    programs.nginx(world.add("server"), {"index.html": b"hello"})
    start_waypoint(world)
    return world


def start_waypoint(world) -> None:
    pod = world.pods.get("waypoint") or world.add("waypoint", chain="plain")
    credentials = Authority.of(world).credentials(pod.identity)
    server = world.pods["server"]
    envoy.start(pod, "waypoint", *envoy.waypoint(credentials, {world.target: (world.next_hop, world.next_authority, server.identity)}))


def test_a_request_passes_and_one_with_the_header_is_refused_by_the_waypoint(way):
    client = way.pods["client"]
    answer = programs.curl(client, f"http://{way.target}/", "-i").stdout
    assert answer.startswith("HTTP/1.1 200") and "x-waypoint: envoy" in answer and "hello" in answer, answer
    refused = programs.curl(client, f"http://{way.target}/", "-i", "-H", "x-forbidden: yes").stdout
    assert refused.startswith("HTTP/1.1 403"), refused


def refuses(way, tries: int) -> None:
    """Within ten seconds, and nothing reaches the server past its waypoint."""
    client, server = way.pods["client"], way.pods["server"]
    link = way.capture()
    began = time.monotonic()
    for _ in range(tries):
        refused = programs.curl(client, f"http://{way.target}/", check=False)
        assert refused.returncode != 0 and "hello" not in refused.stdout
    assert time.monotonic() - began < scaled(10)
    link.stop()
    bypassing = [segment for segment in link.segments() if {segment.source, segment.destination} & {server.v4, server.v6}]
    assert not bypassing, bypassing
    assert not link.contains(b"GET / HTTP")


def test_a_waypoint_that_is_down_refuses_the_traffic_and_is_never_bypassed(way):
    client = way.pods["client"]
    assert programs.curl(client, f"http://{way.target}/").returncode == 0
    way.pods["waypoint"].kill_daemons()
    wait_for(lambda: 15008 not in way.pods["waypoint"].netns.listeners(), "the waypoint to be gone")
    refuses(way, 5)
    start_waypoint(way)
    assert programs.curl(client, f"http://{way.target}/").stdout == "hello"


@pytest.mark.parametrize("way", ["workload v4", "service v6"], indirect=True)
@pytest.mark.parametrize("when", ["before the first connection", "with a tunnel to it"])
def test_a_waypoint_that_nobody_hears_refuses_the_traffic_and_is_never_bypassed(way, when):
    """Its packets are lost on the way: no FIN, no RST, no ICMP."""
    client, waypoint, node = way.pods["client"], way.pods["waypoint"], way.b.netns
    if when == "with a tunnel to it":
        assert programs.curl(client, f"http://{way.target}/").stdout == "hello"
    rules = [["ip", family, "rule", "{}", "pref", "1", "to", address, "blackhole"] for family, address in (("-4", waypoint.v4), ("-6", waypoint.v6))]
    for rule in rules:
        node.run([part.format("add") for part in rule])
    refuses(way, 2)
    for rule in rules:
        node.run([part.format("del") for part in rule])
    wait_for(lambda: programs.curl(client, f"http://{way.target}/", check=False).stdout == "hello", "the waypoint to serve again", 20)
