# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in life, each with the outcome that is promised. No clear text of a captured connection leaves a pod, ever."""

import concurrent.futures
import contextlib
import os
import socket
import struct
import time

import pytest
from culvert_harness import SLOW, CniError, programs, run, scaled, wait_for

SECRET = b"clear-text-that-must-never-leave"


def connect(pod, host: str, port: int, timeout: float = 10) -> socket.socket:
    connection = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.settimeout(scaled(timeout))
    connection.connect((host, port))
    return connection


def echoes(pod, host: str, port: int = 7002) -> bool:
    """Whether one new connection through the mesh works."""
    try:
        with contextlib.closing(connect(pod, host, port, 3)) as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


@pytest.mark.core
def test_an_agent_killed_under_load_leaks_nothing_and_serves_again_within_two_seconds(mesh):
    """Fault: kill -9 of the client's agent. Captured connections stall or reset; after a restart new ones work within 2 s."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    programs.echo_server(server)
    capture = mesh.capture()
    pod_side = mesh.capture("a", interface="any", expression=f"host {client.v4} and tcp")
    shape = ["--parallel", "2", "--pause-us-max", "50000", "--chunk-max", "20000"] if SLOW else ["--parallel", "4", "--pause-us-max", "2000"]
    load = client.start([run.binary("flowtool"), "transfer", server.v4, "7001", "--up", str(1 << 40), "--down", str(1 << 40),
                         "--io-timeout-ms", str(int(scaled(3000))), *shape], name="load")
    wait_for(lambda: mesh.a.agent.metric("culvert_tunnels_open") >= 1, "load")
    with contextlib.closing(connect(client, server.v4, 7002, 20)) as captured:
        captured.sendall(b"hello")
        assert captured.recv(5) == b"hello"
        mesh.a.agent.kill()
        # What the application still writes goes nowhere: the kernel has a socket whose agent is gone.
        with contextlib.suppress(OSError):
            for _ in range(20):
                captured.sendall(SECRET)
        # A new connection has no agent either, and fails or hangs; it does not go out as it is.
        with contextlib.closing(client.netns.socket()) as fresh:
            fresh.settimeout(1)
            with contextlib.suppress(OSError):
                fresh.connect((server.v4, 7002))
                fresh.sendall(SECRET)
                assert fresh.recv(10) == b""
    assert load.wait(30) != 0, "the load ended well although its agent died"
    mesh.a.agent.start(wait=False)
    started = time.monotonic()
    wait_for(lambda: echoes(client, server.v4), "a new connection after the restart", 10)
    assert time.monotonic() - started < scaled(2)
    pod_side.stop()
    capture.stop()
    assert not capture.contains(SECRET)
    assert not pod_side.contains(SECRET)
    capture.assert_only_tunnels(client.v4)


def test_a_peer_agent_killed_mid_transfer_is_an_error_and_no_clean_end(mesh):
    """Fault: kill -9 of the server's agent. The client's application must not take what it has for the whole answer."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    transfer = client.start([run.binary("flowtool"), "transfer", server.v4, "7001", "--up", "1", "--down", str(1 << 40), "--io-timeout-ms", "20000"],
                            name="transfer")
    wait_for(lambda: mesh.b.agent.metric("istio_tcp_sent_bytes_total") > 1_000_000, "the transfer to be under way")
    mesh.b.agent.kill()
    assert transfer.wait(30) != 0
    [line] = programs.reports(transfer)
    assert line["received"] > 0
    assert line["end"] == "ECONNRESET", f"the application saw {line['end']}"
    [told] = wait_for(lambda: mesh.a.agent.access_log(), "the line")
    assert "the tunnel ended without close_notify" in told


@pytest.mark.parametrize("transport", ["direct", "hbone"])
def test_a_peer_agent_killed_while_bytes_leave_for_it_is_told_as_a_broken_tunnel(world, transport):
    """Fault: kill -9 of the server's agent under a client that only sends. A send fails first, or a receive: the log says the same."""
    world.tunnel = {"offer": [transport]}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.transfer_server(server)
    transfer = client.start([run.binary("flowtool"), "transfer", server.v4, "7001", "--up", str(1 << 40), "--down", "1", "--io-timeout-ms", "20000"],
                            name="transfer")
    wait_for(lambda: world.b.agent.metric("istio_tcp_received_bytes_total") > 1_000_000, "the transfer to be under way")
    world.b.agent.kill()
    assert transfer.wait(30) != 0
    [told] = wait_for(lambda: world.a.agent.access_log(), "the line")
    assert "the tunnel ended without close_notify" in told


def test_the_link_down_and_up_loses_no_byte(mesh):
    """Fault: TCP rides it out: the transfer stalls and then ends exact."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    transfer = client.start([run.binary("flowtool"), "transfer", server.v4, "7001", "--up", str(80 << 20), "--down", str(80 << 20), "--chunk-max",
                             "50000", "--pause-us-max", "4000"], name="transfer")
    wait_for(lambda: mesh.b.agent.metric("culvert_tunnels_open") >= 1, "the transfer to be under way")
    mesh.set_link(False)
    assert transfer.is_running()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 1.5, "the link to be down for a while", 5, interval=0.1)
    mesh.set_link(True)
    assert transfer.wait(90) == 0, transfer.output()


def test_a_link_that_is_down_when_a_connection_opens_is_an_error_in_time(world):
    world.extra_config = {"tunnel": {"connect_timeout": "2s"}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)
    world.set_link(False)
    started = time.monotonic()
    assert not echoes(client, server.v4)
    assert time.monotonic() - started < scaled(8)
    world.set_link(True)
    wait_for(lambda: echoes(client, server.v4), "the way to work again", 15)


class TestHostilePod:
    """A pod has root and CAP_NET_RAW in its own namespace at worst. It gets no byte out that the agent does not carry."""

    def test_a_forged_mark_does_not_pass_for_the_agents(self, mesh):
        """Fault: SO_MARK with the capture's mark, or any other, is no identity."""
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.echo_server(server)
        capture = mesh.capture()
        for mark in (0x539, 1, 0xFFFFFFFF, 1337):
            with contextlib.closing(client.netns.socket()) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("I", mark))
                connection.settimeout(scaled(3))
                with contextlib.suppress(OSError):
                    connection.connect((server.v4, 7002))
                    connection.sendall(SECRET)
                    connection.recv(100)
        capture.stop()
        assert not capture.contains(SECRET)
        for segment in capture.segments():
            assert 15008 in segment.ports, segment

    def test_tcp_from_a_raw_socket_does_not_leave_the_pod(self, mesh):
        """Fault: a hand-made SYN with data, by a raw IP socket and by a packet socket."""
        client, server = mesh.pods["client"], mesh.pods["server"]
        capture = mesh.capture()
        packet = forge_tcp(client.v4, server.v4, 40000, 7002, SECRET)
        with contextlib.closing(client.netns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
            with contextlib.suppress(OSError):
                raw.sendto(packet, (server.v4, 0))
        with contextlib.closing(client.netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as link:
            link.bind(("eth0", 0x0800))
            own = link.getsockname()[4]
            gateway = wait_for(lambda: neighbour(client, mesh), "the gateway's address on the link")
            with contextlib.suppress(OSError):
                link.send(gateway + own + b"\x08\x00" + packet)
        # Something that surely comes after it on the same way: when this is seen, the other would have been, too.
        with contextlib.closing(client.netns.socket(socket.AF_INET, socket.SOCK_DGRAM)) as marker:
            marker.sendto(b"last-of-all", (server.v4, 9999))
        wait_for(lambda: b"last-of-all" in capture.path.read_bytes(), "the marker in the capture")
        capture.stop()
        assert not capture.contains(SECRET)

    @pytest.mark.parametrize("port", [15001, 15006])
    def test_the_agents_own_ports_are_closed_to_the_pod(self, mesh, port):
        """Fault: reached directly they would make the agent connect to itself, or pass for captured traffic."""
        client = mesh.pods["client"]
        for host in ("127.0.0.1", client.v4, "::1", client.v6):
            try:
                with contextlib.closing(connect(client, host, port, 2)) as connection:
                    connection.sendall(SECRET)
                    answer = connection.recv(100)
            except OSError:
                continue
            assert answer == b"", f"{host}:{port} answered {answer!r}"
        assert mesh.a.agent.is_running()
        assert echoes_after(mesh)

    def test_the_agents_ports_are_closed_to_other_nodes_but_the_tunnel(self, mesh):
        server = mesh.pods["server"]
        for port in (15001, 15006):
            with pytest.raises(OSError), contextlib.closing(connect(mesh.pods["client"], server.v4, port, 2)) as connection:
                if connection.recv(1) == b"":
                    raise ConnectionResetError("closed")

    def test_a_pod_cannot_speak_to_a_peers_tunnel_port_as_itself(self, mesh):
        """What the pod sends to 15008 is its own TCP and is captured like any other; garbage ends there, with nothing gained."""
        client, server = mesh.pods["client"], mesh.pods["server"]
        with contextlib.suppress(OSError), contextlib.closing(connect(client, server.v4, 15008, 3)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b"HTTP" not in connection.recv(1000)
        assert echoes_after(mesh)


def echoes_after(mesh) -> bool:
    programs.echo_server(mesh.pods["server"], 7999)
    return bool(wait_for(lambda: echoes(mesh.pods["client"], mesh.pods["server"].v4, 7999), "the mesh to serve on"))


def neighbour(client, mesh) -> bytes:
    client.run(["ping", "-c1", "-W1", mesh.a.v4], check=False)
    for line in client.run(["ip", "-4", "neigh", "show", "dev", "eth0"]).stdout.splitlines():
        if "lladdr" in line:
            return bytes.fromhex(line.split("lladdr ")[1].split()[0].replace(":", ""))
    raise ValueError("no neighbour yet")


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def forge_tcp(source: str, destination: str, source_port: int, destination_port: int, payload: bytes) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    tcp = struct.pack(">HHIIBBHHH", source_port, destination_port, 1000, 0, 5 << 4, 0x02, 65535, 0, 0)
    total = checksum(addresses + struct.pack(">BBH", 0, 6, len(tcp) + len(payload)) + tcp + payload)
    tcp = tcp[:16] + struct.pack(">H", total) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp) + len(payload), 1, 0, 64, 6, 0) + addresses
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return ip + tcp + payload


class TestHostileTunnelPeer:
    """Whoever can reach 15008 without a certificate: gets nothing, costs little, and disturbs nobody."""

    def stranger(self, world):
        world.declare("client", "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.declare("stranger", "a", namespace="outside")
        world.namespaces["outside"] = {"enrol": False}
        world.start_agents()
        programs.echo_server(world.add("server"))
        world.add("client")
        return world.add("stranger", chain="plain")

    def test_ten_thousand_bad_handshakes_leave_traffic_served_and_memory_flat(self, world):
        """Fault: garbage, silence and oversize at 15008."""
        stranger = self.stranger(world)
        client, server = world.pods["client"], world.pods["server"]
        assert echoes(client, server.v4)
        wrong = [b"\x16\x03\x01\xff\xff" + os.urandom(3000), os.urandom(200), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"",
                 b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + b"\0" * 16380, b"\x15\x03\x03\x00\x02\x02\x28"]

        def attack(index: int) -> None:
            with contextlib.suppress(OSError), contextlib.closing(stranger.netns.socket()) as connection:
                connection.settimeout(scaled(10))
                connection.connect((server.v4, 15008))
                connection.sendall(wrong[index % len(wrong)])
                if index % 3:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(4096)

        count = 1000 if SLOW else 10_000
        attack(0)
        before = world.b.agent.rss_kib()
        served = 0
        with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool:
            jobs = [pool.submit(attack, index) for index in range(count)]
            while not all(job.done() for job in jobs):
                assert echoes(client, server.v4), "other traffic was not served during the attack"
                served += 1
        assert served >= 3
        after = wait_for(lambda: (now := world.b.agent.rss_kib()) < before + 8 * 1024 and now, "memory to be as before", 20)
        assert after

    def test_slow_handshakes_are_closed_in_time(self, world):
        """Fault: a peer that sends a byte a second holds its place for the handshake's time limit and no longer."""
        world.extra_config = {"tunnel": {"handshake": {"timeout": "1s"}}}
        stranger = self.stranger(world)
        server = world.pods["server"]
        held = [connect(stranger, server.v4, 15008) for _ in range(50)]
        for connection in held:
            connection.sendall(b"\x16\x03\x01")
        assert echoes(world.pods["client"], server.v4)
        for connection in held:
            with contextlib.closing(connection):
                connection.settimeout(scaled(5))
                try:
                    assert connection.recv(100)[:1] in (b"", b"\x15")
                except ConnectionResetError:
                    pass


class TestResources:
    def test_a_namespace_removed_while_connections_live_is_cleaned_away(self, mesh):
        """Fault: the runtime tears the pod down without DEL first."""
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.echo_server(server)
        held = client.start([run.binary("flowtool"), "many", server.v4, "7002", "--count", "50", "--hold-seconds", "600"], name="many")
        wait_for(lambda: '"open"' in held.output(), "the connections")
        held.kill()
        client.netns.kill_all()
        client.netns.delete()
        client.cni_delete(with_netns=False)
        wait_for(lambda: not mesh.a.agent.ctl("pods"), "the pod to be gone", 20)
        wait_for(lambda: not mesh.a.agent.ctl("connections"), "its connections to be gone", 20)
        wait_for(lambda: not mesh.b.agent.ctl("connections"), "the peer's side to be gone", 20)
        assert mesh.a.agent.is_running()

    def test_a_namespace_that_vanishes_without_any_del_is_noticed(self, mesh):
        client = mesh.pods["client"]
        client.netns.kill_all()
        client.netns.delete()
        mesh.a.agent.kill()
        mesh.a.agent.start()
        wait_for(lambda: not mesh.a.agent.ctl("pods"), "the pod to be gone", 20)

    @pytest.mark.parametrize("how", ["full", "read-only"])
    def test_a_state_directory_that_takes_no_writes_fails_add_with_a_reason(self, world, how):
        """Fault: the pod would be forgotten at a restart, so it does not start at all; those that run are served."""
        mount = world.directory / "mount"
        mount.mkdir()
        run.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)])
        world.a.agent.extra_config = {"state_dir": str(mount)}
        world.a.chains["mesh"] = world.a.chain("mesh", meshed=True, plugin={"state_dir": str(mount)})
        for name, node in (("client", "a"), ("late", "a"), ("server", "b")):
            world.declare(name, node, namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        if how == "read-only":
            run.run(["mount", "-o", "remount,ro", str(mount)])
        else:
            with contextlib.suppress(OSError), (mount / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(b"\0" * 4096)
        late = world.make_pod("late")
        with pytest.raises(CniError) as caught:
            late.cni_add()
        assert "culvert" in caught.value.plugin
        assert ("No space" if how == "full" else "Read-only") in str(caught.value)
        assert echoes(client, server.v4)
        run.run(["mount", "-o", "remount,rw", str(mount)])
        (mount / "filler").unlink(missing_ok=True)
        late.cni_add()
        assert echoes(late, server.v4)

    def test_five_thousand_connections_at_once(self, mesh):
        """Fault: each carries its own bytes at the start and after all are open."""
        client, server = mesh.pods["client"], mesh.pods["server"]
        programs.echo_server(server)
        count = 300 if SLOW else 5000
        lines = client.flowtool("many", server.v4, 7002, "--count", count, "--threads", 32, "--hold-seconds", 1, "--timeout-ms", 60_000,
                                timeout=180)
        assert lines[0]["count"] == count, lines
        assert lines[-1]["ok"], lines
        wait_for(lambda: not mesh.a.agent.ctl("connections"), "all to be closed", 30)

    def test_descriptors_exhausted_is_survived(self, world):
        """Fault: an agent that may open 200 descriptors. Connections beyond are refused; when some end, new ones work."""
        world.a.agent.command_prefix = ["prlimit", "--nofile=200:200"]
        world.a.agent.extra_config = {"workers": 1}
        world.declare("client", "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        held = client.start([run.binary("flowtool"), "many", server.v4, "7002", "--count", "300", "--threads", "8", "--timeout-ms", "3000",
                             "--hold-seconds", "1"], name="many")
        cpu = world.a.agent.cpu_seconds()
        assert held.wait(90) != 0, "300 connections on 200 descriptors cannot all have worked"
        assert world.a.agent.cpu_seconds() - cpu < scaled(5), "the agent spins when it has no descriptors"
        assert world.a.agent.is_running()
        wait_for(lambda: echoes(client, server.v4), "new connections to work again", 20)

    def test_connections_take_no_descriptor_that_the_agent_is_controlled_by(self, world):
        """Fault: a pod holds as many connections as it gets. Metrics are read, a pod joins by CNI and a socket of the agent is asked all the same."""
        agent = world.a.agent
        agent.command_prefix = ["prlimit", "--nofile=200:200"]
        agent.extra_config = {"workers": 1}
        for name, node in (("client", "a"), ("late", "a"), ("server", "b")):
            world.declare(name, node, namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        with contextlib.ExitStack() as stack:
            for _ in range(250):
                held = stack.enter_context(contextlib.closing(client.netns.socket()))
                held.settimeout(scaled(5))
                with contextlib.suppress(OSError):  # refused
                    held.connect((server.v4, 7002))
                    held.sendall(b"x")
                    held.recv(1)
            assert agent.metric("culvert_accept_errors_total") > 0, "descriptors did not run out"
            assert len(agent.ctl("connections")) > 30
            late = world.add("late")
            assert agent.metric("culvert_accept_errors_total") > 0
        wait_for(lambda: echoes(late, server.v4), "the new pod's connections to work", 20)
