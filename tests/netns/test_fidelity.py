# SPDX-License-Identifier: Apache-2.0
"""TCP as the applications know it: a connection through the mesh ends, stalls, hurries and fails as a plain one does."""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest
from culvert_harness import programs, run, scaled, wait_for

core = pytest.mark.core


def connect(pod, host: str, port: int, timeout: float = 10) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = pod.netns.socket(family)
    connection.settimeout(scaled(timeout))
    connection.connect((host, port))
    return connection


def accept_one(pod, port: int):
    """A listener in the pod; the function it gives waits for one connection."""
    listener = pod.netns.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(16)
    listener.settimeout(scaled(10))

    def accept() -> socket.socket:
        with contextlib.closing(listener):
            connection, _ = listener.accept()
        connection.settimeout(scaled(10))
        return connection

    return accept


@pytest.fixture
def pair(mesh):
    """A connection from client to server: (client side, server side)."""
    accept = accept_one(mesh.pods["server"], 7100)
    near = connect(mesh.pods["client"], mesh.pods["server"].v4, 7100)
    far = accept()
    yield near, far
    near.close()
    far.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(near: socket.socket, far: socket.socket) -> None:
    """One ends its side after a question; the answer still comes, whole and with a clean end."""
    with contextlib.closing(near), contextlib.closing(far):
        near.sendall(b"question")
        near.shutdown(socket.SHUT_WR)
        assert far.recv(100) == b"question"
        assert far.recv(100) == b""
        for part in (b"answer ", b"in ", b"parts"):
            far.sendall(part)
        far.close()
        got = b""
        while piece := near.recv(100):
            got += piece
        assert got == b"answer in parts"


@pytest.mark.parametrize("who", ["client", "server"])
def test_half_close_leaves_the_other_direction_open(pair, who):
    half_close(*(pair if who == "client" else reversed(pair)))


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_arrives_as_a_reset(pair, who):
    near, far = pair if who == "client" else reversed(pair)
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    reset(near)
    with pytest.raises(ConnectionResetError):
        while far.recv(100):
            pass


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_into_a_stream_of_bytes_is_told_at_both_agents_as_what_it_was(mesh, who):
    """The sender is at full speed: its agent meets the end of the tunnel as a send that fails, and must still say who reset."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    for done in range(1, 7):
        accept = accept_one(server, 7100)
        near = connect(client, server.v4, 7100)
        far = accept()
        resets, sends = (near, far) if who == "client" else (far, near)
        with contextlib.closing(sends):
            started = threading.Event()

            def send_until_it_fails(connection=sends, started=started):
                with contextlib.suppress(ConnectionError):
                    while True:
                        connection.sendall(b"x" * 300_000)
                        started.set()

            sender = threading.Thread(target=send_until_it_fails)
            sender.start()
            assert resets.recv(1 << 20), "the first of it: the connection is open on all its way"
            while not started.is_set():
                resets.recv(1 << 20)
            reset(resets)
            sender.join(scaled(10))
            assert not sender.is_alive()
        for node in (mesh.a, mesh.b):
            lines = node.agent.access_log(count=done)
            assert len(lines) == done and f"the {who} application reset the connection" in lines[-1]


@core
@pytest.mark.parametrize("splice", ["always", "never"])
@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_behind_many_bytes_is_not_taken_for_an_end(world, who, splice):
    """Who crashed in the middle of a file has not sent the whole of it."""
    world.extra_config = {"records": {"splice": splice}}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    for _ in range(4):
        accept = accept_one(server, 7100)
        near = connect(client, server.v4, 7100)
        far = accept()
        sends, reads = (near, far) if who == "client" else (far, near)

        def send_and_reset(connection=sends):
            connection.sendall(b"x" * 4_000_000)
            reset(connection)

        sender = threading.Thread(target=send_and_reset)
        sender.start()
        with contextlib.closing(reads), pytest.raises(ConnectionResetError):
            while True:
                assert reads.recv(1 << 20), "a clean end"
        sender.join(scaled(10))


def test_a_connection_that_its_client_has_reset_does_not_wait_for_ever_for_a_server_that_does_not_read(mesh):
    """What was sent before the RST goes first, and may have nowhere to go."""
    accept = accept_one(mesh.pods["server"], 7100)
    near = connect(mesh.pods["client"], mesh.pods["server"].v4, 7100)
    with contextlib.closing(accept()):
        near.settimeout(scaled(1))
        with pytest.raises(TimeoutError):
            while True:
                near.sendall(b"x" * 100_000)
        reset(near)
        for node in (mesh.a, mesh.b):
            wait_for(lambda n=node: not n.agent.ctl("connections"), f"{node.name} to give it up", 30)
    [line] = mesh.a.agent.access_log()
    assert "the client application reset the connection" in line


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_after_the_others_half_close_arrives_as_a_reset(pair, who):
    near, far = pair if who == "client" else reversed(pair)
    far.shutdown(socket.SHUT_WR)
    assert near.recv(1) == b""
    reset(near)
    far.settimeout(scaled(5))
    with pytest.raises(ConnectionResetError):
        assert far.recv(1), "a clean end"


@pytest.mark.parametrize("ending", ["half-close", "server-resets", "client-resets", "server-closes"])
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_each_ending_looks_to_both_sides_as_without_a_mesh(mesh, ending, family):
    client, server = mesh.pods["client"], mesh.pods["server"]
    serve = programs.transfer_server(server)
    amounts = () if ending == "server-closes" else ("--up", 500_000, "--down", 700_000)
    [line] = client.flowtool("transfer", getattr(server, family), 7001, *amounts, "--ending", ending)
    assert line["ok"], line
    [seen] = wait_for(lambda: programs.reports(serve), "the server's report")
    assert seen["ok"], seen
    assert client.v4 in seen["peer"] or client.v6 in seen["peer"]


@core
def test_all_endings_one_after_the_other_over_the_same_tunnels(mesh):
    """Each ending must leave the tunnel usable, or closed, for the next connection."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    for ending in ("half-close", "server-resets", "half-close", "client-resets", "half-close"):
        for host in (server.v4, server.v6):
            [line] = client.flowtool("transfer", host, 7001, "--up", 300_000, "--down", 200_000, "--ending", ending)
            assert line["ok"], (ending, line)


def test_a_server_that_speaks_first_is_heard(pair):
    near, far = pair
    far.sendall(b"220 ready\r\n")
    assert near.recv(100) == b"220 ready\r\n"


def test_small_writes_are_not_delayed(mesh):
    """One byte at a time, each answered: Nagle against delayed ACK would cost 40 ms a round trip."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    [line] = client.flowtool("latency", server.v4, 7002, "--size", 1, "--count", 500)
    assert line["p90"] < scaled(10) * 1000, line


def test_a_refused_connection_ends_at_once_and_without_data(mesh):
    """The agent has accepted by the time the peer says no; the application sees a reset, soon."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    started = time.monotonic()
    with pytest.raises(ConnectionError), contextlib.closing(connect(client, server.v4, 7199)) as connection:
        if connection.recv(1) == b"":
            raise AssertionError("a clean end for a connection that never was")
    assert time.monotonic() - started < scaled(3)
    [line] = mesh.b.agent.access_log()
    assert "refused" in line


@pytest.mark.parametrize("sizes", [(1, 1), (0, 1_000_000), (1_000_000, 0), (0, 0), (16384, 16385)])
def test_edge_sizes_are_exact(mesh, sizes):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    [line] = client.flowtool("transfer", server.v4, 7001, "--up", sizes[0], "--down", sizes[1])
    assert line["ok"], line


def test_a_client_that_half_closes_before_the_server_answers_gets_its_answer(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    [line] = client.flowtool("transfer", server.v4, 7001, "--up", 100_000, "--down", 5_000_000, "--server-waits-for-eof")
    assert line["ok"], line


def test_random_sizes_and_pauses_of_sixteen_connections_at_once_are_exact(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    lines = client.flowtool("transfer", server.v4, 7001, "--up", 3_000_000, "--down", 3_000_000, "--chunk-max", 40_000, "--pause-us-max", 3000,
                            "--parallel", 16)
    assert len(lines) == 16 and all(line["ok"] for line in lines), lines


def engines() -> list[str]:
    """What can carry records here; the kernel only where it has TLS (the guests), so that nothing is skipped."""
    found = ["user-evp"]
    with open("/proc/cpuinfo", encoding="ascii") as stream:
        if " aes " in stream.read() and not run.SLOW:
            found.append("user-ipsec-mb")
    with contextlib.closing(socket.socket()) as listener, contextlib.closing(socket.socket()) as near:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near.connect(listener.getsockname())
        try:
            near.setsockopt(socket.IPPROTO_TCP, 31, b"tls")  # TCP_ULP
            found.append("kernel")
        except OSError as error:
            if os.environ.get("CULVERT_KERNEL_TLS") == "required":
                raise AssertionError(f"this kernel has to have TLS: {error}") from None
    return found


def by_kernel(engine_names: tuple[str, ...]):
    """What a guest is for: combinations with kernel TLS."""
    return pytest.param(engine_names if len(engine_names) > 1 else engine_names[0], marks=core if "kernel" in engine_names else ())


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("splice", ["never", "always"])
@pytest.mark.parametrize("engine", [by_kernel((name,)) for name in engines()])
def test_every_combination_of_records_copy_or_splice_and_family_moves_bytes_exactly(world, engine, splice, family):
    """Random sizes and pauses, both ways at once. Only kernel records can be spliced into; elsewhere `always` must do no harm."""
    world.extra_config = {"records": {"tx": engine, "rx": engine, "splice": splice}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.transfer_server(server)
    size = (2 if run.SLOW else 24) << 20
    lines = client.flowtool("transfer", getattr(server, family), 7001, "--up", size, "--down", size, "--chunk-max", 200_000, "--pause-us-max",
                            500, "--parallel", 2)
    assert all(line["ok"] for line in lines), lines
    for ending in ("half-close", "client-resets"):
        [line] = client.flowtool("transfer", getattr(server, family), 7001, "--up", 400_000, "--down", 300_000, "--chunk-max", 3_000, "--ending",
                                 ending)
        assert line["ok"], line
    for node in world.nodes.values():
        spliced = node.agent.metric("culvert_splice_bytes_total")
        if engine == "kernel" and splice == "always":
            assert spliced >= size, "all but the first bytes of a connection go by splice"
        else:
            assert spliced == 0
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        [row] = wait_for(lambda: len(rows := world.a.agent.ctl("connections")) == 1 and rows, "the one that was reset to be gone from the list")
        assert {row["tx_engine"], row["rx_engine"]} == {engine}


@pytest.mark.parametrize("sides", [by_kernel((a, b)) for a in engines() for b in engines() if a != b])
def test_different_engines_on_the_two_nodes_understand_each_other(world, sides):
    world.a.agent.extra_config = {"records": {"tx": sides[0], "rx": sides[1]}}
    world.b.agent.extra_config = {"records": {"tx": sides[0], "rx": sides[1]}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.transfer_server(server)
    size = (2 if run.SLOW else 24) << 20
    for host in (server.v4, server.v6):
        [line] = client.flowtool("transfer", host, 7001, "--up", size, "--down", size, "--chunk-max", 100_000)
        assert line["ok"], line


@pytest.mark.parametrize("option", ["tcx", "connect_hook", "big_segments"])
def test_the_datapath_works_without_each_of_its_shortcuts(world, option):
    """What an older kernel lacks is switched off here: clsact for tcx, redirection for steering, plain segments on lo."""
    world.extra_config = {"bpf": {option: False}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.transfer_server(server)
    for host in (server.v4, server.v6):
        [line] = client.flowtool("transfer", host, 7001, "--up", 5_000_000, "--down", 5_000_000)
        assert line["ok"], line


def test_real_programs_work(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    blob = bytes(range(256)) * 40_000
    programs.nginx(server, {"blob": blob})
    got = run.run(client.netns.command(["curl", "-sS", f"http://{server.v4}/blob"]), text=False).stdout
    assert got == blob
    programs.redis(server)
    assert client.run(["redis-cli", "-h", server.v4, "set", "key", "value"]).stdout.strip() == "OK"
    assert client.run(["redis-cli", "-h", server.v4, "get", "key"]).stdout.strip() == "value"
    client.run(["redis-benchmark", "-h", server.v4, "-n", "2000", "-c", "20", "-P", "4", "-q", "-t", "set,get"], timeout=60)
    programs.iperf3_server(server)
    answer = programs.iperf3(client, server.v4, seconds=1, flows=4)
    assert answer["end"]["sum_received"]["bytes"] > 1_000_000


@pytest.mark.parametrize("reader, seconds", [("server", 30), ("client", 10)])
def test_a_reader_that_stops_for_thirty_seconds_bounds_the_agents_memory(mesh, record_property, reader, seconds):
    """Fault: the sender has 1 GB. Nothing of it may pile up in an agent, and then every byte arrives."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    before = {node.name: node.agent.rss_kib() for node in mesh.nodes.values()}
    lines: list[dict] = []
    amounts = ("--up", 1 << 30, "--down", 0) if reader == "server" else ("--up", 0, "--down", 1 << 30)
    worker = threading.Thread(target=lambda: lines.extend(client.flowtool(
        "transfer", server.v4, 7001, *amounts, f"--{reader}-stall-ms", seconds * 1000, "--io-timeout-ms", 110_000,
        "--chunk-max", 1_000_000, timeout=150)))
    worker.start()
    highest = dict(before)
    while worker.is_alive():
        for node in mesh.nodes.values():
            highest[node.name] = max(highest[node.name], node.agent.rss_kib())
        worker.join(0.2)
    assert lines and lines[0]["ok"], lines
    assert lines[0]["seconds"] >= seconds
    for name, value in highest.items():
        record_property(f"{name}_rss_growth_kib", value - before[name])
        assert value - before[name] < 16 * 1024, f"{name} grew from {before[name]} to {value} KiB"
