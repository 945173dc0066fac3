# SPDX-License-Identifier: Apache-2.0
"""Two nodes, two agents, pods by CNI: what a user of the mesh can rely on."""

import contextlib
import json
import socket
import time

import pytest
from culvert_harness import programs, run, scaled, wait_for
from culvert_harness.agent import METRICS_PORT
from test_fidelity import accept_one, connect, half_close

core = pytest.mark.core
SECRET = b"the-payload-nobody-on-the-link-may-read"


def test_a_server_sees_the_client_pods_own_address(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    assert programs.curl(client, f"http://{server.v4}/peer").stdout.strip() == client.v4
    assert programs.curl(client, f"http://[{server.v6}]/peer").stdout.strip() == client.v6


@core
def test_the_link_carries_only_tls_to_15008_and_none_of_the_payload(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    capture = mesh.capture()
    for host in (server.v4, f"[{server.v6}]"):
        assert programs.curl(client, f"http://{host}/").stdout.encode() == SECRET
    capture.stop()
    capture.assert_only_tunnels()
    assert not capture.contains(SECRET)
    assert not capture.contains(b"GET / HTTP")


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_transfer_both_ways_at_once_is_byte_exact(mesh, family):
    client, server = mesh.pods["client"], mesh.pods["server"]
    size = (4 if run.SLOW else 64) << 20
    programs.transfer_server(server)
    [line] = client.flowtool("transfer", getattr(server, family), 7001, "--up", size, "--down", size, "--chunk-max", 300_000)
    assert line["ok"], line


def test_connections_lists_a_live_one_with_both_identities_cipher_and_engines(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(5))
        connection.connect((server.v4, 7002))
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        for node, direction in ((mesh.a, "outbound"), (mesh.b, "inbound")):
            [row] = wait_for(lambda n=node, d=direction: [c for c in n.agent.ctl("connections") if c["direction"] == d], f"{direction} row")
            assert row["transport"] == "direct"
            assert row["source"]["identity"] == client.identity
            assert row["destination"]["identity"] == server.identity
            assert row["cipher"].startswith("TLS_")
            for engine in (row["tx_engine"], row["rx_engine"]):
                assert engine in ("kernel", "user-evp", "user-ipsec-mb")
            assert row["original_destination"] == f"{server.v4}:7002"
    for node in (mesh.a, mesh.b):
        wait_for(lambda n=node: not n.agent.ctl("connections"), "the row to go")


def test_each_connection_ends_in_one_access_log_line(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    programs.curl(client, f"http://{server.v4}/")
    for node, direction in ((mesh.a, "outbound"), (mesh.b, "inbound")):
        [line] = node.agent.access_log()
        for part in (f'direction="{direction}"', f'src.identity="{client.identity}"', f'dst.identity="{server.identity}"',
                     f"src.addr={client.v4}:", f"dst.hbone_addr={server.v4}:80", "bytes_sent=", "bytes_recv=", "duration="):
            assert part in line, line
        assert "error=" not in line


def fields_of(line: str) -> dict:
    """Level, message and fields of an access line in either format."""
    if line.startswith("{"):
        return json.loads(line)
    _, level, _, message, fields = line.split("\t")
    return {"level": level, "message": message, **{name: value.strip('"') for name, value in (field.split("=", 1) for field in fields.split(" "))}}


@pytest.mark.parametrize("offer", ["direct", "hbone"])
@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_at_level_debug_both_agents_tell_of_a_connection_when_it_is_opened(world, log_format, offer):
    world.extra_config = {"log": {"format": log_format}}
    world.tunnel = {"offer": [offer]}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(5))
        connection.connect((server.v4, 7002))
        opened = {node: fields_of(wait_for(lambda n=node: n.agent.opened_log(), f"the opened line of {node.name}")[0]) for node in (world.a, world.b)}
        assert not any(node.agent.access_log_so_far() for node in opened)
    for node, line in opened.items():
        ended = fields_of(node.agent.access_log()[0])
        assert (line["level"], line["message"]) == ("debug", "connection opened")
        assert set(ended) - set(line) == {"bytes_sent", "bytes_recv", "duration"}
        said = set(line) - {"level", "message", "time"}
        assert {"src.addr", "src.identity", "dst.addr", "dst.hbone_addr", "dst.identity", "direction"} <= said
        assert {key: line[key] for key in said} == {key: ended[key] for key in said}
        assert len(node.agent.opened_log()) == 1


def test_at_level_info_nothing_is_said_of_an_opened_connection(world):
    world.a.agent.extra_config = {"log": {"level": "info"}}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    assert programs.curl(client, f"http://{server.v4}:7099/", check=False, timeout=5).returncode != 0
    for node in (world.a, world.b):
        node.agent.access_log()
    assert not world.a.agent.opened_log()
    assert len(world.b.agent.opened_log()) == 1, "what the application refuses was opened"


class TestPolicy:
    def talk(self, world, source, server) -> bool:
        """Whether plain TCP from `source` gets an answer of `server`."""
        done = programs.curl(source, f"http://{server.v4}/", check=False, timeout=5)
        return done.returncode == 0 and done.stdout.encode() == SECRET

    def build(self, world, mode: str):
        world.mesh["peer_authentication"] = mode
        world.declare("client", "a", namespace="shop")
        world.declare("stranger", "a", namespace="outside")
        world.declare("server", "b", namespace="shop")
        world.namespaces["outside"] = {"enrol": False}
        world.start_agents()
        client, stranger, server = (world.add(name) for name in ("client", "stranger", "server"))
        programs.nginx(server, {"index.html": SECRET})
        return client, stranger, server

    @core
    def test_strict_refuses_a_pod_without_an_identity_and_serves_one_with(self, world):
        client, stranger, server = self.build(world, "STRICT")
        assert self.talk(world, client, server)
        assert not self.talk(world, stranger, server)
        world.b.agent.access_log("STRICT")

    def test_permissive_serves_both(self, world):
        client, stranger, server = self.build(world, "PERMISSIVE")
        assert self.talk(world, client, server)
        assert self.talk(world, stranger, server)

    def test_a_change_of_the_file_is_in_force_without_a_restart(self, world):
        _, stranger, server = self.build(world, "PERMISSIVE")
        assert self.talk(world, stranger, server)
        world.mesh["peer_authentication"] = "STRICT"
        world.b.agent.write_config()  # no signal: the agent watches the file
        wait_for(lambda: not self.talk(world, stranger, server), "STRICT to be in force")


@core
def test_a_probe_from_the_node_reaches_the_app_even_where_policy_is_strict(world):
    world.mesh["peer_authentication"] = "STRICT"
    world.declare("server", "b", namespace="shop")
    world.declare("other", "b", namespace="outside")
    world.namespaces["outside"] = {"enrol": False}
    world.start_agents()
    server, other = world.add("server"), world.add("other")
    programs.nginx(server, {"index.html": SECRET})
    for host in (server.v4, f"[{server.v6}]"):
        done = world.b.netns.run(["curl", "-sS", "-g", "--max-time", str(scaled(5)), f"http://{host}/"])
        assert done.stdout.encode() == SECRET
    # The exemption is the node's namespace, not an address: another pod on the node does not have it.
    assert programs.curl(other, f"http://{server.v4}/", check=False, timeout=5).returncode != 0


def test_pods_outside_the_mesh_and_the_world_beyond_are_reached_as_without_one(mesh):
    """Passthrough: the destination is no workload, so the bytes go where they were going, unencrypted."""
    client = mesh.pods["client"]
    server = mesh.declare("legacy", "b", namespace="legacy")
    mesh.namespaces["legacy"] = {"enrol": False}
    pod = mesh.add("legacy", chain="plain")
    programs.nginx(pod, {"index.html": SECRET})
    assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
    assert programs.curl(client, f"http://{server.v4}/peer").stdout.strip() == client.v4


def test_pods_of_one_node_talk_through_the_mesh_too(world):
    world.declare("client", "a", namespace="shop")
    world.declare("server", "a", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.nginx(server, {"index.html": SECRET})
    assert programs.curl(client, f"http://{server.v4}/peer").stdout.strip() == client.v4
    [line] = world.a.agent.access_log('direction="inbound"')
    assert client.identity in line and server.identity in line


def test_a_pod_talks_to_itself_by_its_own_address(mesh):
    server = mesh.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    assert programs.curl(server, f"http://{server.v4}/").stdout.encode() == SECRET
    assert programs.curl(server, "http://127.0.0.1/").stdout.encode() == SECRET


def test_udp_and_icmp_pass_untouched(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    with contextlib.closing(server.netns.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener, \
            contextlib.closing(client.netns.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        listener.bind((server.v4, 9000))
        listener.settimeout(scaled(5))
        sender.sendto(b"datagram", (server.v4, 9000))
        data, source = listener.recvfrom(100)
        assert data == b"datagram" and source[0] == client.v4
    # An echo of ICMP and of ICMPv6, by the kernel's own ping sockets.
    client.run(["sysctl", "-qw", "net.ipv4.ping_group_range=0 0"])
    for family, protocol, kind, host in ((socket.AF_INET, socket.IPPROTO_ICMP, 8, server.v4), (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, server.v6)):
        with contextlib.closing(client.netns.socket(family, socket.SOCK_DGRAM, protocol)) as ping:
            ping.settimeout(scaled(5))
            ping.sendto(bytes([kind, 0, 0, 0, 0, 0, 0, 7]) + b"echo", (host, 0))
            assert ping.recv(100).endswith(b"\x00\x07echo")


class TestExclusions:
    def test_an_excluded_outbound_port_leaves_the_pod_as_it_is(self, world):
        world.extra_config = {"capture": {"exclude_ports": {"outbound": [8080]}}}
        world.declare("client", "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.nginx(server, {"index.html": SECRET}, port=8080)
        capture = world.capture()
        assert programs.curl(client, f"http://{server.v4}:8080/").stdout.encode() == SECRET
        capture.stop()
        assert capture.contains(SECRET)

    def test_an_excluded_inbound_port_is_reached_in_plain_text_under_strict(self, world):
        world.mesh["peer_authentication"] = "STRICT"
        world.extra_config = {"capture": {"exclude_ports": {"inbound": [8080]}}}
        world.declare("stranger", "a", namespace="outside")
        world.declare("server", "b", namespace="shop")
        world.namespaces["outside"] = {"enrol": False}
        world.start_agents()
        stranger, server = world.add("stranger"), world.add("server")
        programs.nginx(server, {"index.html": SECRET}, port=8080)
        programs.nginx(server, {"index.html": SECRET}, port=80)
        assert programs.curl(stranger, f"http://{server.v4}:8080/").stdout.encode() == SECRET
        assert programs.curl(stranger, f"http://{server.v4}/", check=False, timeout=5).returncode != 0

    def test_an_excluded_range_leaves_the_pod_as_it_is(self, world):
        world.extra_config = {"capture": {"exclude_cidrs": {"outbound": ["10.2.0.0/24"]}}}
        world.declare("client", "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.nginx(server, {"index.html": SECRET})
        capture = world.capture()
        assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
        wait_for(lambda: capture.contains(SECRET), "the payload in clear on the link")
        capture.stop()


class TestJoiningAndLeaving:
    @core
    def test_a_running_pod_joins_without_breaking_its_live_connections(self, world):
        world.declare("client", "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.start_agents()
        client, server = world.add("client", chain="plain"), world.add("server")
        programs.echo_server(server)
        programs.nginx(server, {"index.html": SECRET})
        with contextlib.closing(client.netns.socket()) as old:
            old.settimeout(scaled(5))
            old.connect((server.v4, 7002))
            old.sendall(b"before")
            assert old.recv(100) == b"before"
            world.a.agent.ctl("join", client.netns.path, "--name", "client", "--namespace", "shop", "--service-account", "client")
            old.sendall(b"after")
            assert old.recv(100) == b"after"
            capture = world.capture()
            assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
            capture.stop()
        assert not capture.contains(SECRET)

    def test_a_sandbox_id_that_comes_back_with_another_pod_lets_go_of_the_old_ones_tunnels(self, world):
        """A tunnel carries the identity that it was made with: none of a replaced pod's may wait for a user."""
        for name in ("first", "second"):
            world.declare(name, "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.start_agents()
        pods = [world.add(name, chain="plain") for name in ("first", "second")]
        server = world.add("server")
        programs.nginx(server, {"index.html": SECRET})
        for pod in pods:
            world.a.agent.ctl("join", pod.netns.path, "--id", "sandbox", "--name", pod.name, "--namespace", "shop",
                              "--service-account", pod.name)
            wait_for(lambda: world.a.agent.metric("culvert_tunnels_open") == 0, "no tunnel from before this pod", 5)
            assert programs.curl(pod, f"http://{server.v4}/").stdout.encode() == SECRET
            assert world.a.agent.metric("culvert_tunnels_open") == 1
            pod.kill_daemons()
            pod.netns.delete()
        lines = world.b.agent.access_log(count=2)
        for line, pod in zip(lines, pods, strict=True):
            assert f'src.identity="{pod.identity}"' in line and f"src.addr={pod.v4}:" in line, line

    def test_a_pod_that_leaves_keeps_its_live_connections_and_opens_new_ones_plain(self, mesh):
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.echo_server(server)
        programs.nginx(server, {"index.html": SECRET})
        with contextlib.closing(client.netns.socket()) as old:
            old.settimeout(scaled(5))
            old.connect((server.v4, 7002))
            old.sendall(b"before")
            assert old.recv(100) == b"before"
            mesh.a.agent.ctl("leave", client.netns.path)
            old.sendall(b"after")
            assert old.recv(100) == b"after"
            capture = mesh.capture()
            assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
            capture.stop()
            assert capture.contains(SECRET)
        wait_for(lambda: all(pod["name"] != "client" for pod in mesh.a.agent.ctl("pods")), "the pod to be gone")


class TestRestart:
    @core
    def test_a_restarted_agent_finds_its_pods_again_without_the_plugin(self, mesh):
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.nginx(server, {"index.html": SECRET})
        before = {(pod["id"], tuple(pod["addresses"])) for pod in mesh.a.agent.ctl("pods")}
        assert mesh.a.agent.stop() == 0
        mesh.a.agent.start()
        assert {(pod["id"], tuple(pod["addresses"])) for pod in mesh.a.agent.ctl("pods")} == before
        assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET

    def test_a_pod_that_switched_its_own_ipv6_off_is_served_by_the_next_agent(self, mesh):
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.nginx(server, {"index.html": SECRET})
        for pod in (client, server):
            pod.netns.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
        for node in (mesh.a, mesh.b):
            assert node.agent.stop() == 0
            node.agent.start()
        assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
        mesh.a.agent.access_log("outbound", "dst.identity=")  # through a tunnel, that is

    def test_sigterm_lets_live_connections_finish_and_takes_no_new_ones(self, mesh):
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.echo_server(server)
        with contextlib.closing(client.netns.socket()) as old:
            old.settimeout(scaled(5))
            old.connect((server.v4, 7002))
            old.sendall(b"before")
            assert old.recv(100) == b"before"
            daemon = mesh.a.agent.daemon
            daemon.process.terminate()
            wait_for(lambda: not mesh.a.agent.is_ready(), "the agent to drain")
            old.sendall(b"during")
            assert old.recv(100) == b"during"
            assert daemon.is_running()
        assert daemon.wait() == 0
        mesh.a.agent.daemon = None

    def test_sigterm_of_the_servers_agent_cuts_nothing_and_new_connections_take_a_new_tunnel(self, world):
        """GOAWAY: tunnels that wait for a user end, live connections go on to their orderly ends, either way round, and then the agent ends."""
        world.tunnel = {"offer": ["direct"]}
        world.start_with(client="a", server="b")
        client, server = world.pods["client"], world.pods["server"]
        programs.echo_server(server)
        [line] = client.flowtool("many", server.v4, 7002, "--count", 8)[-1:]
        assert line["ok"], line
        pairs = []
        for port in (7100, 7101):
            accept = accept_one(server, port)
            pairs.append((connect(client, server.v4, port), accept()))
        wait_for(lambda: world.a.agent.metric("culvert_tunnels_idle") >= 4, "tunnels that wait for a user")
        daemon = world.b.agent.daemon
        daemon.process.terminate()
        wait_for(lambda: world.a.agent.metric("culvert_tunnels_open") == 2, "the idle tunnels to end")
        assert world.a.agent.metric("culvert_tunnels_idle") == 0
        [line] = client.flowtool("latency", server.v4, 7002, "--count", 1, "--timeout-ms", 3000, check=False)
        assert not line["ok"], "a new connection was taken by an agent that drains"
        assert daemon.is_running()
        half_close(*pairs[0])
        half_close(*reversed(pairs[1]))
        assert daemon.wait() == 0
        for node in (world.a, world.b):
            ended = node.agent.access_log(":710", count=2)
            assert len(ended) == 2 and not any("error=" in line for line in ended), ended
        world.b.agent.daemon = None
        made = world.a.agent.metric("culvert_tls_handshakes_client_total")
        world.b.agent.start()
        [line] = client.flowtool("latency", server.v4, 7002, "--count", 3)
        assert line["ok"], line
        assert world.a.agent.metric("culvert_tls_handshakes_client_total") > made

    def test_a_drain_closes_live_connections_at_its_limit_and_not_before(self, world):
        world.b.agent.extra_config = {"drain": {"timeout": "3s"}}
        world.start_with(client="a", server="b")
        client, server = world.pods["client"], world.pods["server"]
        programs.echo_server(server)
        daemon = world.b.agent.daemon
        with contextlib.closing(client.netns.socket()) as live:
            live.settimeout(scaled(5))
            live.connect((server.v4, 7002))

            def is_cut() -> bool:
                try:
                    live.sendall(b"x")
                    assert live.recv(1) == b"x", "a clean end in the middle of a connection"
                except ConnectionError:
                    return True
                return False

            assert not is_cut()
            began = time.monotonic()
            daemon.process.terminate()
            while not is_cut():
                assert time.monotonic() - began < scaled(8)
            assert time.monotonic() - began >= 2.9
        assert daemon.wait() == 0
        world.b.agent.daemon = None
        [line] = world.b.agent.access_log()
        assert "connection closed due to connection drain" in line


def test_metrics_are_prometheus_text_and_count_what_happened(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    programs.curl(client, f"http://{server.v4}/")
    wait_for(lambda: mesh.a.agent.metric("istio_tcp_connections_closed_total") >= 1, "a closed connection in the metrics")
    assert mesh.a.agent.metric("culvert_tls_handshakes_client_total") == 1
    assert mesh.b.agent.metric("culvert_tls_handshakes_server_total") == 1
    assert mesh.a.agent.http(METRICS_PORT, "/nothing")[0] == 404


def test_connections_go_over_an_existing_tunnel(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    for _ in range(20):
        with contextlib.closing(client.netns.socket()) as connection:
            connection.settimeout(scaled(5))
            connection.connect((server.v4, 7002))
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
    wait_for(lambda: mesh.a.agent.metric("culvert_tunnels_reused_total") >= 10, "tunnels to be reused")
    assert mesh.a.agent.metric("culvert_tls_handshakes_client_total") <= 10


def test_ctl_answers_in_words_and_in_json(mesh):
    for command in ("status", "pods", "workloads", "connections", "certificates", "drops"):
        assert run.run(mesh.a.agent.ctl_command(command)).stdout.strip()
        assert mesh.a.agent.ctl(command) is not None
    names = {(w["namespace"], w["name"]) for w in mesh.a.agent.ctl("workloads")}
    assert names == {("shop", "client"), ("shop", "server")}


def test_an_idle_mesh_spends_no_cpu(mesh):
    """A busy loop in an event loop shows here."""
    before = [node.agent.cpu_seconds() for node in mesh.nodes.values()]
    deadline = time.monotonic() + 2
    wait_for(lambda: time.monotonic() >= deadline, "two seconds to pass", 5, interval=0.5)
    for node, start in zip(mesh.nodes.values(), before):
        assert node.agent.cpu_seconds() - start < 0.2
