# SPDX-License-Identifier: Apache-2.0
"""Culvert beside Envoy: as the peer of a workload that Envoy serves, and of a client that Envoy carries.

That Envoy does its part is shown without Culvert in test_peers.py.
"""

import contextlib

import pytest
from culvert_harness import Authority, envoy, programs, wait_for
from test_fidelity import accept_one, connect, half_close, reset

LOCAL = 9000


@pytest.fixture
def world(world):
    world.tunnel = {"offer": ["direct", "hbone"]}
    return world


@pytest.fixture
def inward(world):
    """client behind Culvert on node a; server behind Envoy on node b."""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    world.add("client")
    server = world.add("server", chain="plain")
    envoy.start(server, "server", *envoy.hbone_server(Authority.of(world).credentials(server.identity)))
    return world


@pytest.fixture
def outward(world):
    """client behind Envoy on node a, its way to server:PORT at 127.0.0.1:(LOCAL + PORT); server behind Culvert on node b."""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop", peer_authentication="STRICT")
    world.start_agents()
    client, server = world.add("client", chain="plain"), world.add("server")
    credentials = Authority.of(world).credentials(client.identity)
    parts = [part for port in (80, 7001, 7002, 7100, 7199) for part in envoy.hbone_client(
        credentials, local_port=LOCAL + port, authority=f"{server.v4}:{port}", next_hop=server.v4, identity=server.identity)]
    envoy.start(client, "client", *parts)
    return world


class TestCulvertToEnvoy:
    @pytest.mark.parametrize("family", ["v4", "v6"])
    def test_bytes_arrive_exactly(self, inward, family):
        client, server = inward.pods["client"], inward.pods["server"]
        programs.transfer_server(server)
        capture = inward.capture()
        lines = client.flowtool("transfer", getattr(server, family), 7001, "--up", 5_000_000, "--down", 5_000_000, "--parallel", 8,
                                "--server-waits-for-eof")
        assert len(lines) == 8 and all(line["ok"] for line in lines), lines
        capture.stop().assert_only_tunnels()

    def test_it_is_shown_as_hbone(self, inward):
        client, server = inward.pods["client"], inward.pods["server"]
        programs.echo_server(server)
        with contextlib.closing(connect(client, server.v4, 7002)) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            [row] = inward.a.agent.ctl("connections")
            assert row["transport"] == "hbone" and row["destination"]["identity"] == server.identity, row

    def test_half_close_by_the_client_leaves_the_other_direction_open(self, inward):
        accept = accept_one(inward.pods["server"], 7100)
        client_end = connect(inward.pods["client"], inward.pods["server"].v4, 7100)
        half_close(client_end, accept())

    def test_half_close_by_the_server_which_envoy_makes_the_end_of_all_is_a_clean_end(self, inward):
        """See test_peers.py: END_STREAM, then RST_STREAM with NO_ERROR."""
        accept = accept_one(inward.pods["server"], 7100)
        with contextlib.closing(connect(inward.pods["client"], inward.pods["server"].v4, 7100)) as near, contextlib.closing(accept()) as far:
            far.sendall(b"all")
            far.shutdown(1)
            got = b""
            while part := near.recv(100):
                got += part
            assert got == b"all"

    @pytest.mark.parametrize("who", ["client", "server"])
    def test_a_reset_arrives_as_a_reset(self, inward, who):
        accept = accept_one(inward.pods["server"], 7100)
        client_end = connect(inward.pods["client"], inward.pods["server"].v4, 7100)
        server_end = accept()
        if who == "client":  # Envoy's upstream connections end by FIN, whatever RST_STREAM says
            ends_after_reset(client_end, server_end, may_end_cleanly=True)
        else:
            ends_after_reset(server_end, client_end)

    def test_a_refused_upstream_is_a_reset_before_any_byte(self, inward):
        client, server = inward.pods["client"], inward.pods["server"]
        with pytest.raises(ConnectionResetError), contextlib.closing(connect(client, server.v4, 7199)) as connection:
            connection.recv(1)
        [line] = inward.a.agent.access_log()
        assert "503" in line

    def test_envoys_end_is_the_connections_end_and_its_return_serves_new_ones(self, inward):
        client, server = inward.pods["client"], inward.pods["server"]
        programs.echo_server(server)
        with contextlib.closing(connect(client, server.v4, 7002)) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            [daemon] = [daemon for daemon in server.daemons if "envoy" in daemon.log.name]
            daemon.kill()
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        wait_for(lambda: 15008 not in server.netns.listeners(), "Envoy to be gone")
        envoy.start(server, "again", *envoy.hbone_server(Authority.of(inward).credentials(server.identity)))
        with contextlib.closing(connect(client, server.v4, 7002)) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"


class TestEnvoyToCulvert:
    def test_bytes_arrive_exactly_and_the_server_sees_the_client_pod(self, outward):
        client, server = outward.pods["client"], outward.pods["server"]
        programs.transfer_server(server)
        capture = outward.capture()
        lines = client.flowtool("transfer", "127.0.0.1", LOCAL + 7001, "--up", 5_000_000, "--down", 5_000_000, "--parallel", 8)
        assert len(lines) == 8 and all(line["ok"] for line in lines), lines
        capture.stop().assert_only_tunnels()
        programs.nginx(server, {})
        assert programs.curl(client, f"http://127.0.0.1:{LOCAL + 80}/peer").stdout.strip() == client.v4

    @pytest.mark.parametrize("who", ["client", "server"])
    def test_half_close_leaves_the_other_direction_open(self, outward, who):
        accept = accept_one(outward.pods["server"], 7100)
        client_end = connect(outward.pods["client"], "127.0.0.1", LOCAL + 7100)
        server_end = accept()
        half_close(*((client_end, server_end) if who == "client" else (server_end, client_end)))

    @pytest.mark.parametrize("who", ["client", "server"])
    def test_a_reset_arrives_as_a_reset(self, outward, who):
        accept = accept_one(outward.pods["server"], 7100)
        client_end = connect(outward.pods["client"], "127.0.0.1", LOCAL + 7100)
        server_end = accept()
        if who == "client":
            ends_after_reset(client_end, server_end)
        else:
            ends_after_reset(server_end, client_end, may_end_cleanly=True)  # that end is Envoy's

    def test_a_refused_upstream_is_a_503_to_envoy(self, outward):
        client = outward.pods["client"]
        with contextlib.closing(connect(client, "127.0.0.1", LOCAL + 7199)) as connection:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        [line] = outward.b.agent.access_log()
        assert "refused" in line

    def test_drain_lets_envoys_streams_end_and_sends_new_ones_elsewhere(self, outward):
        """GOAWAY in two steps: the open stream works on until it ends, and the agent then goes."""
        client, server = outward.pods["client"], outward.pods["server"]
        programs.echo_server(server)
        connection = connect(client, "127.0.0.1", LOCAL + 7002)
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        outward.b.agent.daemon.signal(15)
        wait_for(lambda: 15008 not in server.netns.listeners(), "the listener to be closed")
        for number in range(10):
            connection.sendall(b"%d" % number)
            assert connection.recv(10) == b"%d" % number
        connection.close()
        assert outward.b.agent.daemon.wait(20) == 0


def ends_after_reset(near, far, *, may_end_cleanly: bool = False) -> None:
    with contextlib.closing(far):
        near.sendall(b"x")
        assert far.recv(1) == b"x"
        reset(near)
        try:
            while far.recv(100):
                pass
            is_reset = False
        except ConnectionResetError:
            is_reset = True
        assert is_reset or may_end_cleanly, "a clean end for a reset"
