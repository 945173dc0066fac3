# SPDX-License-Identifier: Apache-2.0
"""Culvert beside Envoy: as the peer of a workload that Envoy serves, of a client that Envoy carries, and of a waypoint.

That Envoy does its part is shown without Culvert in test_peers.py.
"""

import contextlib
import time

import pytest
from culvert_harness import Authority, envoy, programs, scaled, wait_for
from test_fidelity import accept_one, connect, reset

LOCAL = 9000


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
        lines = client.flowtool("transfer", getattr(server, family), 7001, "--up", 5_000_000, "--down", 5_000_000, "--parallel", 8)
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

    @pytest.mark.parametrize("who", ["client", "server"])
    def test_half_close_leaves_the_other_direction_open(self, inward, who):
        accept = accept_one(inward.pods["server"], 7100)
        client_end = connect(inward.pods["client"], inward.pods["server"].v4, 7100)
        server_end = accept()
        half_close(*((client_end, server_end) if who == "client" else (server_end, client_end)))

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
        [line] = wait_for(lambda: inward.a.agent.access_log(), "the line")
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
        [line] = wait_for(lambda: outward.b.agent.access_log(), "the line")
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


def half_close(near, far) -> None:
    with contextlib.closing(near), contextlib.closing(far):
        near.sendall(b"question")
        near.shutdown(1)
        assert far.recv(100) == b"question"
        assert far.recv(100) == b""
        for part in (b"answer ", b"in ", b"parts"):
            far.sendall(part)
        far.close()
        got = b""
        while piece := near.recv(100):
            got += piece
        assert got == b"answer in parts"


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


class TestWaypoint:
    """client and server behind Culvert; server (or its service) is reached through an Envoy that applies an HTTP rule."""

    @pytest.fixture(params=["workload", "service"])
    def way(self, world, request):
        world.declare("client", "a", namespace="shop")
        waypoint = world.declare("waypoint", "b", namespace="shop")
        server = world.declare("server", "b", namespace="shop", peer_authentication="STRICT")
        world.vip = "10.96.0.1"
        reference = {"address": waypoint.v4, "port": 15008}
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
        self.start_waypoint(world)
        return world

    @staticmethod
    def start_waypoint(world) -> None:
        pod = world.pods.get("waypoint") or world.add("waypoint", chain="plain")
        credentials = Authority.of(world).credentials(pod.identity)
        server = world.pods["server"]
        envoy.start(pod, "waypoint", *envoy.waypoint(credentials, {world.target: (server.v4, world.next_authority, server.identity)}))

    def test_a_request_passes_and_one_with_the_header_is_refused_by_the_waypoint(self, way):
        client = way.pods["client"]
        answer = programs.curl(client, f"http://{way.target}/", "-i").stdout
        assert answer.startswith("HTTP/1.1 200") and "x-waypoint: envoy" in answer and "hello" in answer, answer
        refused = programs.curl(client, f"http://{way.target}/", "-i", "-H", "x-forbidden: yes").stdout
        assert refused.startswith("HTTP/1.1 403"), refused

    def test_a_waypoint_that_is_down_refuses_the_traffic_and_is_never_bypassed(self, way):
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
        self.start_waypoint(way)
        assert programs.curl(client, f"http://{way.target}/").stdout == "hello"
