# SPDX-License-Identifier: Apache-2.0
"""A workload, or its service, that is reached through a waypoint: an Envoy that applies an HTTP rule and forwards over HBONE. Client and
server are behind Culvert.
"""

import time

import pytest
from culvert_harness import Authority, envoy, programs, scaled, wait_for


@pytest.fixture(params=["workload", "service"])
def way(world, request):
    world.tunnel = {"offer": ["direct", "hbone"]}
    world.declare("client", "a", namespace="shop")
    waypoint = world.declare("waypoint", "b", namespace="shop")
    server = world.declare("server", "b", namespace="shop", peer_authentication="STRICT")
    world.vip = "10.96.0.1"
    reference = waypoint.v4
    if request.param == "workload":
        server.fields["waypoint"] = reference
        world.target = world.next_authority = f"{server.v4}:80"
    else:
        world.mesh["services"] = [{"name": "web", "namespace": "shop", "hostname": "web.shop.svc.cluster.local", "addresses": [world.vip],
                                   "ports": [{"port": 8080, "target_port": 80}], "endpoints": [{"workload": "server"}],
                                   "waypoint": reference}]
        world.target, world.next_authority = f"{world.vip}:8080", f"{server.v4}:80"
    world.start_agents()
    world.add("client")
    programs.nginx(world.add("server"), {"index.html": b"hello"})
    start_waypoint(world)
    return world


def start_waypoint(world) -> None:
    pod = world.pods.get("waypoint") or world.add("waypoint", chain="plain")
    credentials = Authority.of(world).credentials(pod.identity)
    server = world.pods["server"]
    envoy.start(pod, "waypoint", *envoy.waypoint(credentials, {world.target: (server.v4, world.next_authority, server.identity)}))


def test_a_request_passes_and_one_with_the_header_is_refused_by_the_waypoint(way):
    client = way.pods["client"]
    answer = programs.curl(client, f"http://{way.target}/", "-i").stdout
    assert answer.startswith("HTTP/1.1 200") and "x-waypoint: envoy" in answer and "hello" in answer, answer
    refused = programs.curl(client, f"http://{way.target}/", "-i", "-H", "x-forbidden: yes").stdout
    assert refused.startswith("HTTP/1.1 403"), refused


def test_a_waypoint_that_is_down_refuses_the_traffic_and_is_never_bypassed(way):
    client, server = way.pods["client"], way.pods["server"]
    assert programs.curl(client, f"http://{way.target}/").returncode == 0
    way.pods["waypoint"].kill_daemons()
    wait_for(lambda: 15008 not in way.pods["waypoint"].netns.listeners(), "the waypoint to be gone")
    link = way.capture()
    began = time.monotonic()
    for _ in range(5):
        refused = programs.curl(client, f"http://{way.target}/", check=False)
        assert refused.returncode != 0 and "hello" not in refused.stdout
    assert time.monotonic() - began < scaled(10)
    link.stop()
    bypassing = [segment for segment in link.segments() if {segment.source, segment.destination} == {client.v4, server.v4}]
    assert not bypassing, bypassing
    assert not link.contains(b"GET / HTTP")
    start_waypoint(way)
    assert programs.curl(client, f"http://{way.target}/").stdout == "hello"
