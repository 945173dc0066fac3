# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in life, each with the outcome that is promised. No clear text of a captured connection leaves a pod, ever."""

import concurrent.futures
import contextlib
import errno
import os
import pathlib
import re
import select
import socket
import struct
import time

import pytest
from culvert_harness import SLOW, CniError, programs, run, scaled, wait_for
from test_fidelity import accept_one

SECRET = b"clear-text-that-must-never-leave"
LOAD = b"load-that-must-never-leave-either"


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


def load(connection: socket.socket, *, is_sending: bool = True) -> str:
    """Sends LOAD without an end and reads what comes. How the connection ended: an errno's name, "eof", or "stalled"."""
    with contextlib.closing(connection):
        connection.setblocking(False)
        while True:
            wanted = [connection] if is_sending else []
            readable, writable, _ = select.select([connection], wanted, [], scaled(2))
            if not readable and not writable:
                return "stalled"
            try:
                if readable and not connection.recv(1 << 17):
                    return "eof"
                if writable:
                    connection.send(LOAD * 300)
                    time.sleep(0.05 if SLOW else 0.0005)  # the captures shall keep up
            except OSError as error:
                return errno.errorcode[error.errno]


def stop_captures(pod, host: str, *captures) -> None:
    """Stops them when they have all that was sent up to now: a datagram comes last on the same way."""
    word = os.urandom(16).hex().encode()
    with contextlib.closing(pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)) as last:
        last.sendto(word, (host, 9999))

    def is_last_in(path: pathlib.Path) -> bool:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - (1 << 16)))
            return word in stream.read()

    for capture in captures:
        wait_for(lambda c=capture: is_last_in(c.path), "the datagram in the capture", 30)
        capture.stop()


def write_without_an_agent(pod, host: str) -> None:
    """A new connection fails or hangs; it does not go out as it is."""
    with contextlib.suppress(OSError), contextlib.closing(connect(pod, host, 7002, 1)) as fresh:
        fresh.sendall(SECRET)
        assert fresh.recv(10) == b""


@pytest.mark.parametrize("family", [pytest.param("v4", marks=pytest.mark.core), "v6"])
def test_an_agent_killed_under_load_leaks_nothing_and_serves_again_within_two_seconds(mesh, family):
    """Fault: kill -9 of the client's agent. Captured connections stall or reset; after a restart new ones work within 2 s."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    near, far = getattr(client, family), getattr(server, family)
    programs.echo_server(server)
    capture = mesh.capture()
    pod_side = mesh.capture("a", interface="any", expression=f"host {near}")
    count = 2 if SLOW else 4
    with concurrent.futures.ThreadPoolExecutor(max_workers=count) as pool, contextlib.closing(connect(client, far, 7002, 20)) as captured:
        captured.sendall(b"hello")
        assert captured.recv(5) == b"hello"
        loads = [pool.submit(load, connect(client, far, 7002, 20)) for _ in range(count)]
        wait_for(lambda: mesh.a.agent.metric("istio_tcp_received_bytes_total") > 1_000_000, "load", 30)
        mesh.a.agent.kill()
        # What the application still writes goes nowhere: the kernel has a socket whose agent is gone.
        with contextlib.suppress(OSError):
            for _ in range(20):
                captured.sendall(SECRET)
        write_without_an_agent(client, far)
        for one in loads:
            assert one.result(scaled(10)) in ("ECONNRESET", "EPIPE", "stalled")
    mesh.a.agent.start(wait=False)
    started = time.monotonic()
    wait_for(lambda: echoes(client, far), "a new connection after the restart", 10)
    assert time.monotonic() - started < scaled(2)
    stop_captures(client, far, capture, pod_side)
    for clear_text in (SECRET, LOAD):
        assert not capture.contains(clear_text)
        assert not pod_side.contains(clear_text)
    capture.assert_only_tunnels(near)


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
    [told] = mesh.a.agent.access_log()
    assert "the tunnel ended without close_notify" in told


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_no_reply_leaves_in_clear_text_while_the_servers_agent_is_dead(mesh, family):
    """Fault: kill -9 of the server's agent while its application answers. The peer's application gets a reset, and nobody the rest of the answer."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    near, far = getattr(client, family), getattr(server, family)
    programs.echo_server(client)
    capture = mesh.capture("b")
    pod_side = mesh.capture("b", interface="any", expression=f"host {far}")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        accept = accept_one(server, 7100)
        reader = pool.submit(load, connect(client, far, 7100), is_sending=False)
        answers = pool.submit(load, accept())
        wait_for(lambda: mesh.b.agent.metric("istio_tcp_sent_bytes_total") > 1_000_000, "answers", 30)
        mesh.b.agent.kill()
        assert answers.result(scaled(10)) in ("ECONNRESET", "EPIPE", "stalled")
        assert reader.result(scaled(10)) == "ECONNRESET"
    write_without_an_agent(server, near)
    mesh.b.agent.start()
    wait_for(lambda: echoes(server, near), "a new connection after the restart")
    stop_captures(server, near, capture, pod_side)
    for clear_text in (SECRET, LOAD):
        assert not capture.contains(clear_text)
        assert not pod_side.contains(clear_text)
    capture.assert_only_tunnels(far)


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
    [line] = programs.reports(transfer)
    assert line["send_error"] in ("ECONNRESET", "EPIPE"), line
    [told] = world.a.agent.access_log()
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


def heap_kib(agent) -> int:
    """Anonymous memory: without the program's own pages, which the kernel takes and gives as it likes."""
    status = pathlib.Path(f"/proc/{agent.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


class TestHostilePod:
    """A pod has root and CAP_NET_RAW in its own namespace at worst. It gets no byte out that the agent does not carry."""

    @pytest.mark.parametrize("family", ["v4", "v6"])
    def test_a_forged_mark_does_not_pass_for_the_agents(self, mesh, family):
        """Fault: SO_MARK with the capture's mark, or any other, is no identity."""
        client, server = mesh.pods["client"], mesh.pods["server"]
        host = getattr(server, family)
        programs.echo_server(server)
        capture = mesh.capture()
        for mark in (1337, 1, 0xFFFFFFFF):
            with contextlib.closing(client.netns.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("I", mark))
                connection.settimeout(scaled(3))
                with contextlib.suppress(OSError):
                    connection.connect((host, 7002))
                    connection.sendall(SECRET)
                    connection.recv(100)
        stop_captures(client, host, capture)
        assert not capture.contains(SECRET)
        capture.assert_only_tunnels(host)

    def with_an_outsider(self, world, family: str):
        """Client and server in the mesh, a pod outside it, and a capture of what arrives at the server's node."""
        world.declare("outsider", "a", namespace="outside")
        world.namespaces["outside"] = {"enrol": False}
        world.start_with(client="a", server="b")
        server = world.pods["server"]
        capture = world.capture("b", interface="any", expression=f"host {getattr(server, family)}")
        return world.pods["client"], world.add("outsider", chain="plain"), server, capture

    @pytest.mark.parametrize("family", ["v4", "v6"])
    def test_tcp_from_a_raw_socket_does_not_leave_the_pod(self, world, family):
        """Fault: a hand-made SYN with data, by a raw IP socket and by a packet socket. From a pod outside the mesh both arrive."""
        client, outsider, server, capture = self.with_an_outsider(world, family)
        for pod, ways in ((outsider, (b"control-raw", b"control-link")), (client, (SECRET, SECRET))):
            self.send_raw(pod, world, getattr(pod, family), getattr(server, family), *ways)
        stop_captures(client, getattr(server, family), capture)
        assert capture.contains(b"control-raw") and capture.contains(b"control-link"), "such packets do not arrive from anybody"
        assert not capture.contains(SECRET)

    @pytest.mark.parametrize("family", ["v4", "v6"])
    def test_a_packet_socket_gets_nothing_past_tc_egress(self, world, family):
        """Fault: a frame that is said to be ARP, and options that send without tc. From a pod outside the mesh all of it arrives."""
        client, outsider, server, capture = self.with_an_outsider(world, family)
        for pod, name in ((outsider, b"control"), (client, SECRET)):
            source, destination = getattr(pod, family), getattr(server, family)
            assert self.send_frame(pod, world, source, destination, name + b"-lie", told=0x0806, is_bypassing=False)
            may_bypass = self.send_frame(pod, world, source, destination, name + b"-past", told=0x86DD if family == "v6" else 0x0800, is_bypassing=True)
            assert may_bypass == (pod is outsider)
        stop_captures(client, getattr(server, family), capture)
        assert capture.contains(b"control-lie") and capture.contains(b"control-past"), "such frames do not arrive from anybody"
        assert not capture.contains(SECRET)
        [counters] = [row["counters"] for row in world.a.agent.ctl("drops") if row["name"] == "client"]
        drops = {counter["name"]: counter["value"] for counter in counters}
        assert drops["drop_ethertype"] == 1 and drops["sockopt_refused"] == 1

    def send_frame(self, pod, world, source: str, destination: str, payload: bytes, *, told: int, is_bypassing: bool) -> bool:
        """By a packet socket that tells the kernel a type. False: it may not bypass tc, and nothing was sent."""
        version, ether_type = ("6", 0x86DD) if ":" in source else ("4", 0x0800)
        with contextlib.closing(pod.netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as link:
            if is_bypassing:
                try:
                    link.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
                except PermissionError:
                    return False
            link.bind(("eth0", 0))
            gateway = wait_for(lambda: neighbour(pod, world, version), "the gateway's address on the link")
            header = gateway + link.getsockname()[4] + struct.pack(">H", ether_type)
            with contextlib.suppress(OSError):  # ENOBUFS: dropped
                link.sendto(header + forge_tcp(source, destination, 40002, 7002, payload), ("eth0", told))
        return True

    def send_raw(self, pod, world, source: str, destination: str, by_raw_socket: bytes, by_packet_socket: bytes) -> None:
        family, ether_type = (socket.AF_INET6, 0x86DD) if ":" in source else (socket.AF_INET, 0x0800)
        with contextlib.closing(pod.netns.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
            with contextlib.suppress(OSError):
                raw.sendto(forge_tcp(source, destination, 40000, 7002, by_raw_socket), (destination, 0))
        with contextlib.closing(pod.netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as link:
            link.bind(("eth0", ether_type))
            own = link.getsockname()[4]
            gateway = wait_for(lambda: neighbour(pod, world, "6" if family == socket.AF_INET6 else "4"), "the gateway's address on the link")
            with contextlib.suppress(OSError):
                link.send(gateway + own + struct.pack(">H", ether_type) + forge_tcp(source, destination, 40001, 7002, by_packet_socket))

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


def neighbour(client, mesh, version: str) -> bytes:
    host, family = (mesh.a.v6, socket.AF_INET6) if version == "6" else (mesh.a.v4, socket.AF_INET)
    with contextlib.closing(client.netns.socket(family, socket.SOCK_DGRAM)) as any_packet:
        any_packet.sendto(b"", (host, 9))
    for line in client.run(["ip", f"-{version}", "neigh", "show", "dev", "eth0"]).stdout.splitlines():
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
    """An IP packet: a SYN with data."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    tcp = struct.pack(">HHIIBBHHH", source_port, destination_port, 1000, 0, 5 << 4, 0x02, 65535, 0, 0)
    length = len(tcp) + len(payload)
    total = checksum(addresses + struct.pack(">II", length, 6) + tcp + payload)
    segment = tcp[:16] + struct.pack(">H", total) + tcp[18:] + payload
    if family == socket.AF_INET6:
        return struct.pack(">IHBB", 6 << 28, length, 6, 64) + addresses + segment
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, 6, 0) + addresses
    return ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + segment


# A ClientHello's first bytes, and one of 100,000 bytes in records of full size.
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100
OVERSIZED_HELLO = b"\x16\x03\x01\x40\x00\x01\x01\x86\xa0" + b"\0" * 16380 + (b"\x16\x03\x01\x40\x00" + b"\0" * 16384) * 5


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

    def test_ten_thousand_bad_handshakes_leave_traffic_served_and_memory_flat(self, world, record_property):
        """Fault: garbage, silence, oversize, and bytes that trickle in, at 15008. Other peers' handshakes succeed all the while."""
        world.extra_config = {"tunnel": {"pool": {"max_idle_per_peer": 0}}}  # each connection is a handshake
        stranger = self.stranger(world)
        client, server = world.pods["client"], world.pods["server"]
        agent = world.b.agent
        wrong = [b"\x16\x03\x01\xff\xff" + os.urandom(3000), os.urandom(200), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"",
                 b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + b"\0" * 16380, b"\x15\x03\x03\x00\x02\x02\x28", OVERSIZED_HELLO]

        def attack(index: int) -> None:
            with contextlib.suppress(OSError), contextlib.closing(connect(stranger, server.v4, 15008)) as connection:
                connection.sendall(wrong[index % len(wrong)])
                if index % 3:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(4096)

        def hold(count: int) -> None:
            with contextlib.ExitStack() as stack:
                held = [stack.enter_context(contextlib.closing(connect(stranger, server.v4, 15008))) for _ in range(count)]
                for byte in HELLO[:8]:
                    for connection in held:
                        with contextlib.suppress(OSError):
                            connection.send(bytes([byte]))

        at_once, others = (20, 800) if SLOW else (200, 8000)
        before, highest, served = heap_kib(agent), 0, 0
        with concurrent.futures.ThreadPoolExecutor(max_workers=32) as pool, concurrent.futures.ThreadPoolExecutor(max_workers=1) as holder:
            jobs = [holder.submit(hold, at_once) for _ in range(10)] + [pool.submit(attack, index) for index in range(others)]
            while not all(job.done() for job in jobs):
                assert echoes(client, server.v4), "other traffic was not served during the attack"
                served += 1
                highest = max(highest, heap_kib(agent))
            for job in jobs:
                job.result()
        assert served >= 3
        assert agent.metric("culvert_tls_handshakes_server_total") >= served * 0.9, "others' connections shared tunnels"
        record_property("heap_growth_kib", highest - before)
        assert "more than 65536 bytes and still no end" in agent.log()
        assert highest < before + 32 * 1024, f"{highest} KiB during the attack, {before} KiB before"
        wait_for(lambda: heap_kib(agent) < before + 8 * 1024, "memory to be as before", 20)

    def test_slow_handshakes_are_closed_in_time(self, world):
        """Fault: a peer that sends a byte a second holds its place for the handshake's time limit and no longer."""
        world.extra_config = {"tunnel": {"handshake": {"timeout": "3s"}}}
        stranger = self.stranger(world)
        client, server = world.pods["client"], world.pods["server"]

        def trickle(_: int) -> float:
            began = time.monotonic()
            with contextlib.closing(connect(stranger, server.v4, 15008)) as connection:
                connection.settimeout(1)
                for byte in HELLO:
                    try:
                        connection.send(bytes([byte]))
                        assert connection.recv(100)[:1] in (b"", b"\x15")
                        break
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        break
            return time.monotonic() - began

        with concurrent.futures.ThreadPoolExecutor(max_workers=50) as pool:
            held = [pool.submit(trickle, number) for number in range(50)]
            assert echoes(client, server.v4)
            for one in held:
                assert 2 < one.result() < scaled(8)

    def test_a_silent_peer_gets_half_of_the_places_for_handshakes_and_others_the_rest(self, world):
        """Fault: a peer connects and says nothing, as often as it can. What is beyond its share is reset and counted; others make new tunnels meanwhile."""
        world.extra_config = {"workers": 1, "tunnel": {"handshake": {"concurrency_per_worker": 8, "timeout": "1m"}, "pool": {"max_idle_per_peer": 0}}}
        stranger = self.stranger(world)
        client, server = world.pods["client"], world.pods["server"]
        with contextlib.ExitStack() as stack:
            silent = []
            for _ in range(20):
                with contextlib.suppress(ConnectionResetError):
                    silent.append(stack.enter_context(contextlib.closing(connect(stranger, server.v4, 15008))))
            wait_for(lambda: world.b.agent.metric("culvert_tls_handshakes_refused_total") >= 16, "all beyond the share to be refused")
            wait_for(lambda: len(silent) - len(select.select(silent, [], [], 0)[0]) == 4, "them to be reset, and no other")
            handshakes = world.b.agent.metric("culvert_tls_handshakes_server_total")
            for _ in range(5):
                assert echoes(client, server.v4)
            assert world.b.agent.metric("culvert_tls_handshakes_server_total") >= handshakes + 5
        with contextlib.closing(connect(stranger, server.v4, 15008)) as later:
            later.settimeout(scaled(0.5))
            with pytest.raises(TimeoutError):  # it has a place again, and is listened to
                later.recv(1)

    def test_a_peer_beyond_its_handshake_rate_is_refused_and_others_are_not(self, world):
        """Fault: one address makes handshakes without an end. It gets its rate, and others theirs."""
        world.extra_config = {"workers": 1, "tunnel": {"handshake": {"per_peer_rate": 5}, "pool": {"max_idle_per_peer": 0}}}
        stranger = self.stranger(world)
        client, server = world.pods["client"], world.pods["server"]
        agent = world.b.agent

        def try_once() -> None:
            with contextlib.suppress(OSError), contextlib.closing(connect(stranger, server.v4, 15008)) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
                connection.recv(1)

        wait_for(lambda: [try_once() for _ in range(20)] and agent.metric("culvert_tls_handshakes_refused_total") >= 20, "the rate to be reached")
        for number in range(3):
            assert echoes(client, server.v4)
            assert agent.metric("culvert_tls_handshakes_server_total") > number
        failed = agent.metric("culvert_tls_handshakes_failed_total")
        wait_for(lambda: try_once() or agent.metric("culvert_tls_handshakes_failed_total") > failed, "the peer to be heard again", interval=0.3)


def hold_connections(client, server) -> None:
    """50 connections to the echo server, live until the client's processes end."""
    held = client.start([run.binary("flowtool"), "many", server.v4, "7002", "--count", "50", "--hold-seconds", "600"], name="many")
    wait_for(lambda: '"count":50' in held.output(), "the connections")


def vanish(pod) -> None:
    """The namespace's name first, then all that was started there: nothing has ended before."""
    pod.netns.delete()
    pod.kill_daemons()


class TestResources:
    @pytest.mark.parametrize("how", ["killed", "unplugged"])
    def test_a_namespace_removed_while_connections_live_is_cleaned_away(self, world, how):
        """Fault: the runtime tears the pod down before DEL: its processes, or its link under processes that live on."""
        world.extra_config = {"drain": {"pod_leave_timeout": "1s"}}
        world.start_with(client="a", server="b")
        client, server = world.pods["client"], world.pods["server"]
        programs.echo_server(server)
        hold_connections(client, server)
        if how == "killed":
            vanish(client)
        else:
            client.netns.delete()
            [link] = [interface["name"] for interface in client.result["interfaces"] if not interface.get("sandbox")]
            world.a.netns.run(["ip", "link", "delete", link])
        client.cni_delete(with_netns=False)
        wait_for(lambda: not world.a.agent.ctl("pods"), "the pod to be gone", 20)
        wait_for(lambda: not world.a.agent.ctl("connections"), "its connections to be gone", 20)
        if how == "killed":
            wait_for(lambda: not world.b.agent.ctl("connections"), "the peer's side to be gone", 20)
        assert world.a.agent.is_running()

    def test_a_namespace_that_vanishes_without_any_del_leaves_nothing_and_disturbs_nobody(self, world):
        """Fault: no DEL ever comes. Three pods go that way, each under live connections; a fourth is served all the while."""
        world.extra_config = {"drain": {"pod_leave_timeout": "1s"}}
        for name in ("first", "second", "third"):
            world.declare(name, "a", namespace="shop")
        world.start_with(other="a", server="b")
        other, server = world.pods["other"], world.pods["server"]
        programs.echo_server(server)
        agent = world.a.agent

        def resources() -> tuple[float, ...]:
            """Pods, connections, and descriptors beside those of tunnels, of which the fourth pod may have made more."""
            now = agent.metrics()
            return now["culvert_pods"], agent.metric("istio_tcp_sockets_open"), now["process_open_fds"] - now["culvert_tunnels_open"]

        with contextlib.closing(connect(other, server.v4, 7002)) as live:
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            before, heap = resources(), heap_kib(agent)
            for name in ("first", "second", "third"):
                pod = world.add(name)
                hold_connections(pod, server)
                assert agent.metric("culvert_pods") == 2 and agent.metric("istio_tcp_sockets_open") == 51
                vanish(pod)
                assert echoes(other, server.v4)
                wait_for(lambda: len(agent.ctl("pods")) == 1 and len(agent.ctl("connections")) == 1, "the pod and its connections to be gone", 20)
            wait_for(lambda: resources() == before, "all that they held to be given back", 20)
            assert heap_kib(agent) < heap + 4 * 1024
            live.sendall(b"y")
            assert live.recv(1) == b"y"
        wait_for(lambda: not world.b.agent.ctl("connections"), "the peer's side to be gone", 20)

    def test_a_namespace_that_vanished_while_no_agent_ran_is_noticed(self, mesh):
        client = mesh.pods["client"]
        mesh.a.agent.kill()
        vanish(client)
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

    @pytest.mark.parametrize("node", ["a", "b"])
    def test_descriptors_exhausted_is_survived(self, world, node):
        """Fault: an agent, the client's or the server's, that may open 200 descriptors. Connections beyond are refused; when some end, new ones work."""
        agent = world.nodes[node].agent
        agent.command_prefix = ["prlimit", "--nofile=200:200"]
        agent.extra_config = {"workers": 1}
        world.declare("client", "a", namespace="shop")
        world.declare("server", "b", namespace="shop")
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        held = client.start([run.binary("flowtool"), "many", server.v4, "7002", "--count", "300", "--threads", "8", "--timeout-ms", "3000",
                             "--hold-seconds", "1"], name="many")
        cpu = agent.cpu_seconds()
        assert held.wait(90) != 0, "300 connections on 200 descriptors cannot all have worked"
        assert agent.cpu_seconds() - cpu < scaled(5), "the agent spins when it has no descriptors"
        assert agent.is_running()
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
