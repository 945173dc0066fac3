# SPDX-License-Identifier: Apache-2.0
"""Which tunnel a connection takes, and what `culvertctl connections` says of it."""

import contextlib
import re
import time

import pytest
from culvert_harness import Authority, envoy, programs, scaled
from test_fidelity import connect

VIP = "10.96.0.7"


def whys(world) -> set[str]:
    return {row["why"].split("; ", 1)[1] for row in world.a.agent.ctl("connections") if row["direction"] == "outbound" and "; " in row["why"]}


def hold(stack: contextlib.ExitStack, pod, host: str, port: int, count: int) -> None:
    for _ in range(count):
        connection = stack.enter_context(contextlib.closing(connect(pod, host, port)))
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


@pytest.mark.parametrize("offers, count, expected", [
    ({}, 1, {"culvert/1: both agents offer it"}),
    ({}, 60, {"culvert/1: both agents offer it", "h2: so many connections to one peer share tunnels"}),
    ({"a": ["hbone"]}, 1, {"h2: nothing else is offered"}),
    ({"b": ["hbone"]}, 1, {"h2: the peer takes nothing else"})])
def test_a_connection_says_why_it_is_on_this_kind_of_tunnel(world, offers, count, expected):
    for letter, offer in offers.items():
        world.nodes[letter].agent.extra_config["tunnel"] = {"offer": offer}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    with contextlib.ExitStack() as stack:
        hold(stack, client, server.v4, 7002, count)
        assert whys(world) == expected


def test_a_gateway_is_why_a_connection_to_another_network_is_on_hbone(world):
    for name, node in (("client", "a"), ("one", "b"), ("gateway", "b")):
        world.declare(name, node, namespace="shop")
    world.split_into_networks(VIP, target_port=7002)
    world.start_agents()
    client, one = world.add("client"), world.add("one")
    programs.echo_server(one)
    gateway = world.add("gateway", chain="plain")
    envoy.start(gateway, "gateway", *envoy.gateway(Authority.of(world).credentials(gateway.identity), {"web.shop.svc.cluster.local:80": one.v4}))
    with contextlib.ExitStack() as stack:
        hold(stack, client, VIP, 80, 1)
        assert whys(world) == {"h2: a gateway is asked for a name"}


def forget_connection(world, port: str) -> None:
    """What belongs to one connection is lost both ways from now on, as in a middlebox that forgot it: nobody sends a RST."""
    for node in world.nodes.values():
        for what in ("sport", port, "dport", "15008"), ("sport", "15008", "dport", port):
            node.netns.run(["ip", "rule", "add", "pref", "1", "ipproto", "tcp", *what, "blackhole"])


def tunnel_port(pod) -> str:
    """The pod's own port of its one tunnel."""
    [port] = re.findall(r":(\d+)\s+\S+:15008", pod.run(["ss", "-Htn", "state", "established", "dport", "=", ":15008"]).stdout)
    return port


def test_a_new_connection_does_not_wait_for_a_tunnel_whose_peer_has_fallen_silent(world):
    """With one worker there is one tunnel to choose, and a connection that lives keeps it."""
    world.tunnel = {"offer": ["hbone"], "hbone": {"ping_interval": "1s"}}
    world.a.agent.extra_config = {"workers": 1}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    with contextlib.ExitStack() as stack:
        hold(stack, client, server.v4, 7002, 1)
        forget_connection(world, tunnel_port(client))
        time.sleep(5)  # a second of silence, two without an answer to PING
        began = time.monotonic()
        hold(stack, client, server.v4, 7002, 1)
        assert time.monotonic() - began < scaled(1.5)
        assert world.a.agent.metric("culvert_tunnels_open") >= 2
        assert "no answer to PING" not in world.a.agent.log()


@pytest.mark.parametrize("transport", ["direct", "hbone"])
def test_a_pooled_tunnel_that_died_unnoticed_is_replaced_before_the_application_notices(world, transport):
    """The application speaks first. What it says waits for the answer on a tunnel that was silent for two seconds, and moves to a new one after two more."""
    world.tunnel = {"offer": [transport]}
    world.a.agent.extra_config = {"workers": 1}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    with contextlib.ExitStack() as first:
        hold(first, client, server.v4, 7002, 1)
    forget_connection(world, tunnel_port(client))
    time.sleep(2.5)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        hold(stack, client, server.v4, 7002, 1)
        assert 1.5 < time.monotonic() - began < scaled(6)
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        hold(stack, client, server.v4, 7002, 1)
        assert time.monotonic() - began < scaled(1.5), "the next one takes the new tunnel"


@pytest.mark.parametrize("transport", ["direct", "hbone"])
def test_a_slow_application_behind_a_tunnel_that_lives_is_waited_for(world, transport):
    """Its SYNs are dropped for longer than a doubtful tunnel has; the tunnel stays."""
    world.tunnel = {"offer": [transport]}
    world.a.agent.extra_config = {"workers": 1}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    with contextlib.ExitStack() as first:
        hold(first, client, server.v4, 7002, 1)
    port = tunnel_port(client)
    server.run(["ip", "rule", "add", "pref", "0", "ipproto", "tcp", "dport", "7002", "blackhole"])
    time.sleep(2.5)
    connection = connect(client, server.v4, 7002)
    with contextlib.closing(connection):
        connection.sendall(b"x")
        time.sleep(2.5)
        server.run(["ip", "rule", "del", "pref", "0", "ipproto", "tcp", "dport", "7002"])
        assert connection.recv(1) == b"x"
    assert tunnel_port(client) == port
