# SPDX-License-Identifier: Apache-2.0
"""Which tunnel a connection takes, and what `culvertctl connections` says of it."""

import contextlib
import time

import pytest
from culvert_harness import Authority, envoy, programs, scaled
from culvert_harness.traffic import echoes, no_further_tunnels, tunnel_ports
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


CONNECT_TIMEOUT_S = 2


def start(world, transport: str, *, connect_timeout: str = "10s", **hbone: object):
    """Client and server; with one worker, so that there is nothing to choose but that worker's tunnels."""
    world.tunnel = {"offer": [transport], "connect_timeout": connect_timeout, "hbone": hbone}
    world.a.agent.extra_config = {"workers": 1}
    world.start_with(client="a", server="b")
    programs.echo_server(world.pods["server"])
    return world.pods["client"], world.pods["server"]


def black_hole(world, action: str, ports: list[str]) -> None:
    """"add": what belongs to these tunnels is lost both ways, as in a middlebox that forgot them; nobody sends a RST. "del": no longer."""
    for node in world.nodes.values():
        for port in ports:
            for what in ("sport", port, "dport", "15008"), ("sport", "15008", "dport", port):
                node.netns.run(["ip", "rule", action, "pref", "1", "ipproto", "tcp", *what, "blackhole"])


def served_within(client, host: str) -> float:
    """Seconds until a new connection whose application speaks first has its echo."""
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        hold(stack, client, host, 7002, 1)
    return time.monotonic() - began


def test_a_new_connection_does_not_wait_for_a_tunnel_whose_peer_has_fallen_silent(world):
    client, server = start(world, "hbone", ping_interval="1s")
    with contextlib.ExitStack() as stack:
        hold(stack, client, server.v4, 7002, 1)
        black_hole(world, "add", tunnel_ports(client))
        time.sleep(5)  # a second of silence, two without an answer to PING
        assert served_within(client, server.v4) < scaled(1.5)
        assert world.a.agent.metric("culvert_tunnels_open") >= 2
        assert "no answer to PING" not in world.a.agent.log()


def test_what_waits_for_a_stream_on_a_tunnel_that_falls_silent_gets_another_tunnel(world):
    """It waits because the tunnel is full and no other one could be made, and not until the silent one is given up, after 21 s."""
    client, server = start(world, "hbone", ping_interval="1s", streams_per_connection=1)
    with contextlib.ExitStack() as stack:
        hold(stack, client, server.v4, 7002, 1)
        [port] = tunnel_ports(client)
        with no_further_tunnels(client):
            waiting = stack.enter_context(contextlib.closing(connect(client, server.v4, 7002)))
            waiting.sendall(b"x")
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            black_hole(world, "add", [port])
        waiting.settimeout(scaled(15))
        assert waiting.recv(1) == b"x"
        assert world.a.agent.metric("culvert_tunnels_open") == 2, "the silent one is left alone"


@pytest.mark.parametrize("transport, connections", [("direct", 1), ("hbone", 1), ("hbone", 12)])
def test_a_pooled_tunnel_that_died_unnoticed_is_replaced_before_the_application_notices(world, transport, connections):
    """What the application says waits for the answer on a tunnel that was silent for two seconds, and moves after two more: to a new tunnel, not to another
    that was silent as long."""
    client, server = start(world, transport)
    with contextlib.ExitStack() as first:
        hold(first, client, server.v4, 7002, connections)
        ports = tunnel_ports(client)
        assert len(ports) > 1 or connections == 1
    black_hole(world, "add", ports)
    time.sleep(2.5)
    assert 1.5 < served_within(client, server.v4) < scaled(3.5)
    assert served_within(client, server.v4) < scaled(1.5), "the next one takes the new tunnel"


@pytest.mark.parametrize("transport", ["direct", "hbone"])
def test_a_pooled_tunnel_that_the_peer_knows_nothing_of_is_replaced_at_once(world, transport):
    """The peer's node has been away and is back: it answers with RST what its last life knew."""
    client, server = start(world, transport, connect_timeout=f"{CONNECT_TIMEOUT_S}s")
    served_within(client, server.v4)
    ports = tunnel_ports(client)
    black_hole(world, "add", ports)
    world.b.agent.daemon.kill()
    world.b.agent.start()
    time.sleep(2.5)
    assert tunnel_ports(client) == ports, "the client has not been told"
    black_hole(world, "del", ports)
    began = time.monotonic()
    with contextlib.closing(connect(client, server.v4, 7002)) as connection:
        assert echoes(connection)
        assert time.monotonic() - began < scaled(1.5)
        time.sleep(2 * CONNECT_TIMEOUT_S + 0.5)  # by then it would have had its answer on the old tunnel
        assert echoes(connection), "what was wrong with the old tunnel has cut it on the new one"


@pytest.mark.parametrize("transport", ["direct", "hbone"])
def test_a_slow_application_behind_a_tunnel_that_lives_is_waited_for(world, transport):
    """Its SYNs are dropped for longer than a doubtful tunnel has; the tunnel stays."""
    client, server = start(world, transport)
    served_within(client, server.v4)
    ports = tunnel_ports(client)
    server.run(["ip", "rule", "add", "pref", "0", "ipproto", "tcp", "dport", "7002", "blackhole"])
    time.sleep(2.5)
    with contextlib.closing(connect(client, server.v4, 7002)) as connection:
        connection.sendall(b"x")
        time.sleep(2.5)
        server.run(["ip", "rule", "del", "pref", "0", "ipproto", "tcp", "dport", "7002"])
        assert connection.recv(1) == b"x"
    assert tunnel_ports(client) == ports
