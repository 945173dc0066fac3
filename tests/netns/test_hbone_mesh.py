# SPDX-License-Identifier: Apache-2.0
"""Two Culverts that speak HBONE with each other: TCP as the applications know it, negotiation, pooling, certificates, drain."""

import concurrent.futures
import contextlib
import time

import pytest
from culvert_harness import SLOW, Authority, h2peer, programs, run, scaled, tls13, wait_for
from test_fidelity import (  # noqa: F401: the same promises, over HBONE
    accept_one, by_kernel, connect, engines, pair, reset, test_a_client_that_half_closes_before_the_server_answers_gets_its_answer,
    test_a_reader_that_stops_for_thirty_seconds_bounds_the_agents_memory, test_a_refused_connection_ends_at_once_and_without_data,
    test_a_reset_after_the_others_half_close_arrives_as_a_reset, test_a_reset_arrives_as_a_reset,
    test_a_reset_into_a_stream_of_bytes_is_told_at_both_agents_as_what_it_was, test_a_server_that_speaks_first_is_heard,
    test_all_endings_one_after_the_other_over_the_same_tunnels, test_different_engines_on_the_two_nodes_understand_each_other,
    test_each_ending_looks_to_both_sides_as_without_a_mesh, test_edge_sizes_are_exact,
    test_half_close_leaves_the_other_direction_open, test_random_sizes_and_pauses_of_sixteen_connections_at_once_are_exact,
    test_real_programs_work, test_small_writes_are_not_delayed)

core = pytest.mark.core


@pytest.fixture
def world(world):
    world.tunnel = {"offer": ["hbone"]}
    return world


@pytest.fixture
def one_tunnel(world):
    """What starts a mesh of client and server, with more configuration, in which all connections between two pods share one tunnel."""
    def start(**config):
        world.extra_config = {"workers": 1, "tunnel": {"hbone": {"connections_per_peer": 1}}} | config
        world.start_with(client="a", server="b")
        return world
    return start


def protocol_of(agent, client) -> set[str]:
    """The tunnels' protocols of this pod's open outbound connections."""
    return {row["transport"] for row in agent.ctl("connections") if row["direction"] == "outbound" and row["source"]["address"].startswith(client.v4)}


@pytest.mark.parametrize("engine", [by_kernel((name,)) for name in engines()])
def test_every_record_engine_carries_streams_exactly(world, engine):
    world.extra_config = {"records": {"tx": engine, "rx": engine}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.transfer_server(server)
    size = (2 if SLOW else 24) << 20
    for host in (server.v4, server.v6):
        lines = client.flowtool("transfer", host, 7001, "--up", size, "--down", size, "--chunk-max", 200_000, "--pause-us-max", 500, "--parallel", 3)
        assert all(line["ok"] for line in lines), lines
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        [row] = world.a.agent.ctl("connections")
        assert row["transport"] == "hbone" and {row["tx_engine"], row["rx_engine"]} == {engine}


def test_both_sides_show_hbone_and_the_link_carries_nothing_else(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    capture = mesh.capture()
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as connection:
        connection.sendall(b"readable-if-not-encrypted")
        assert connection.recv(100) == b"readable-if-not-encrypted"
        for agent in (mesh.a.agent, mesh.b.agent):
            [row] = agent.ctl("connections")
            assert row["transport"] == "hbone", row
    capture.stop().assert_only_tunnels()
    assert not capture.contains(b"readable-if-not-encrypted")


def test_connections_of_one_pod_to_one_peer_share_tunnels(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(contextlib.closing(connect(client, server.v4, 7002)))
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        # One for each worker is what is to be expected, and a second one where the first is busy.
        assert 1 <= mesh.a.agent.metric("culvert_tunnels_open") <= 8
    wait_for(lambda: not mesh.a.agent.ctl("connections"), "all to be closed")
    with contextlib.closing(connect(client, server.v4, 7002)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    assert mesh.a.agent.metric("culvert_tls_handshakes_client_total") <= 8, "streams that have ended leave room for others"


def test_sixteen_flows_to_one_peer_use_both_workers_of_both_agents(world):
    """Which of its workers gets a connection, an application's or a tunnel, is the kernel's hash: not every set of tunnels has both of them at the far
    end, and then another one is made."""
    world.tunnel |= {"pool": {"idle_timeout": "1s"}}
    world.start_with(client="a", server="b")
    client, server = world.pods["client"], world.pods["server"]
    programs.transfer_server(server)
    size = 1_000_000 if SLOW else 8_000_000

    def shares() -> list[float]:
        """Of each agent's busier worker in what sixteen flows cost."""
        before = {node: node.agent.worker_cpu_seconds() for node in world.nodes.values()}
        made = world.b.agent.metric("culvert_tls_handshakes_server_total")
        lines = client.flowtool("transfer", server.v4, 7001, "--up", size, "--down", size, "--parallel", 16)
        assert len(lines) == 16 and all(line["ok"] for line in lines), lines
        assert 2 <= world.b.agent.metric("culvert_tls_handshakes_server_total") - made <= 8
        spent = [[now - then for now, then in zip(node.agent.worker_cpu_seconds(), old)] for node, old in before.items()]
        assert all(len(one) == 2 for one in spent), spent
        return [max(one) / sum(one) for one in spent]

    for _ in range(6):
        found = shares()
        if max(found) < 0.9:
            break
        wait_for(lambda: world.b.agent.metric("culvert_tunnels_open") == 0, "the tunnels to be given up")
    assert max(found) < 0.9, found


@pytest.mark.engines
def test_bytes_both_ways_and_each_ending_leave_the_tunnel_to_the_next(one_tunnel):
    world = one_tunnel()
    client, server = world.pods["client"], world.pods["server"]
    programs.transfer_server(server)
    for ending in ("half-close", "server-resets", "client-resets", "half-close"):
        [line] = client.flowtool("transfer", server.v4, 7001, "--up", 3_000_000, "--down", 2_000_000, "--ending", ending)
        assert line["ok"], (ending, line)
    assert world.b.agent.metric("culvert_tls_handshakes_server_total") == 1


def test_more_connections_than_a_peer_allows_streams_all_work(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    count = 250 if SLOW else 1000
    lines = client.flowtool("many", server.v4, 7002, "--count", count, "--threads", 16, "--hold-seconds", 1, "--timeout-ms", 60_000, timeout=120)
    assert lines[0]["count"] == count and lines[-1]["ok"], lines


def test_a_peer_that_changes_its_protocols_is_followed_without_a_failed_connection(world):
    """culvert/1 is preferred where both know it; a peer that no longer does is spoken to in h2, and the other way round."""
    world.tunnel = {"offer": ["direct", "hbone"]}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)
    for offer, expected in ((["direct", "hbone"], "direct"), (["hbone"], "hbone"), (["direct", "hbone"], "direct"), (["hbone"], "hbone")):
        world.b.agent.stop()
        world.b.agent.extra_config = {"tunnel": {"offer": offer}}
        world.b.agent.start()
        for attempt in range(5):
            with contextlib.closing(connect(client, server.v4, 7002)) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x", (offer, attempt)
                assert protocol_of(world.a.agent, client) == {expected}, (offer, attempt)


def test_two_agents_without_a_protocol_in_common_refuse_and_say_so(world):
    world.a.agent.extra_config = {"tunnel": {"offer": ["direct"]}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)
    with pytest.raises(ConnectionResetError), contextlib.closing(connect(client, server.v4, 7002)) as connection:
        connection.recv(1)
    [line] = world.a.agent.access_log()
    assert "error=" in line


def test_a_drained_agent_ends_its_streams_and_takes_no_new_ones(mesh):
    """SIGTERM at the server's agent: what is open goes on until it ends, then the agent does."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with contextlib.closing(connect(client, server.v4, 7002)) as connection:
            connection.sendall(b"before")
            assert connection.recv(100) == b"before"
            ending = pool.submit(mesh.b.agent.stop)
            wait_for(lambda: 15008 not in server.netns.listeners(), "the listener to be closed")
            for number in range(20):
                connection.sendall(b"during %d" % number)
                assert connection.recv(100) == b"during %d" % number
        assert ending.result(scaled(30)) == 0


def test_certificates_rotate_while_a_tunnel_is_pooled_and_used(one_tunnel):
    """Connections begin and end all the time over three rotations at both ends, on the tunnel of the beginning; none fails. New tunnels of the
    client's agent to a peer, and of a peer to the server's agent, show the new certificates."""
    world = one_tunnel(identity={"embedded": {"lifetime": "12s"}})
    client, server = world.pods["client"], world.pods["server"]
    for name in ("far", "stranger"):
        world.declare(name, "b", namespace="shop")
    world.reload()
    far, stranger = world.add("far", chain="plain"), world.add("stranger", chain="plain")
    authority = Authority.of(world)
    contexts = {pod: tls13.Context(authority.credentials(pod.identity)) for pod in (far, stranger)}
    programs.echo_server(far)
    programs.echo_server(server)
    dialled = 0

    def serial(agent, pod) -> str:
        return next(row["serial"] for row in agent.ctl("certificates") if row["identity"] == pod.identity)

    def shown_by_client() -> str:
        with h2peer.Server(far, contexts[far]) as peer, contextlib.closing(connect(client, far.v4, 7002)) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            return peer.links[0].tls.peer_serial

    def shown_by_server() -> str:
        nonlocal dialled
        dialled += 1
        with h2peer.Link.dial(stranger, server.v4, contexts[stranger]) as link:
            assert link.open(f"{server.v4}:7002").status == 200
            return link.tls.peer_serial

    ends = ((world.a.agent, client, shown_by_client), (world.b.agent, server, shown_by_server))
    with contextlib.closing(connect(client, server.v4, 7002)) as held:
        for _ in range(3):
            before = [serial(agent, pod) for agent, pod, _ in ends]

            def have_rotated(before=before) -> bool:
                [line] = client.flowtool("rate", server.v4, 7002, "--threads", 4, "--seconds", 0.3)
                assert line["ok"], line
                return all(serial(agent, pod) != old for (agent, pod, _), old in zip(ends, before))

            deadline = time.monotonic() + scaled(20)
            while not have_rotated():
                assert time.monotonic() < deadline, "no new certificates at half of the lifetime"
            for agent, pod, shown in ends:
                known = {serial(agent, pod), shown(), serial(agent, pod)}  # the next one may come meanwhile
                assert len(known) <= 2 and not known & set(before), known
            held.sendall(b"still here")
            assert held.recv(100) == b"still here"
    assert world.b.agent.metric("culvert_tls_handshakes_server_total") == 1 + dialled


def test_the_servers_agent_restarted_leaves_no_dead_tunnel_to_be_tried(mesh):
    """What is pooled to an agent that has gone is replaced before an application meets it."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    for how in ("stop", "kill", "stop"):
        for _ in range(4):
            with contextlib.closing(connect(client, server.v4, 7002)) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x", how
        getattr(mesh.b.agent, how)()
        mesh.b.agent.start()


def test_one_stalled_stream_among_ninety_nine_busy_ones_stalls_alone(one_tunnel, record_property):
    """On one tunnel. What its reader does not take waits with its sender, but for the stream's window of 4 MiB at the far agent."""
    mesh = one_tunnel()
    client, server = mesh.pods["client"], mesh.pods["server"]
    accept = accept_one(server, 7100)
    stalled = connect(client, server.v4, 7100)
    far = accept()
    before = {node.name: node.agent.rss_kib() for node in mesh.nodes.values()}
    stalled.setblocking(False)
    sent = 0

    def fill() -> int:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            while sent < 64 << 20:
                sent += stalled.send(b"s" * 65536)
        return sent

    def assert_bounded(when: str) -> None:
        for node, most in ((mesh.a, 512 << 10), (mesh.b, (4 << 20) + (512 << 10))):
            lent, growth = node.agent.metric("culvert_buffers_lent_bytes"), node.agent.rss_kib() - before[node.name]
            record_property(f"{node.name}_{when}", f"lent {lent} bytes, grown by {growth} KiB")
            assert lent <= most, f"{when}: {node.name} holds {lent} bytes"
            assert growth < 8 * 1024, f"{when}: {node.name} grew by {growth} KiB"

    wait_for(lambda: fill() == fill() and mesh.b.agent.metric("culvert_buffers_lent_bytes") >= 4 << 20, "the stream's window to be used up")
    assert_bounded("stalled")
    programs.transfer_server(server)
    count, size = (20, 100_000) if SLOW else (99, 2_000_000)
    lines = client.flowtool("transfer", server.v4, 7001, "--up", size, "--down", size, "--parallel", count, timeout=120)
    assert len(lines) == count and all(line["ok"] for line in lines), lines
    assert fill() < 40 << 20, "somebody buffers for the stalled reader"
    assert_bounded("after the others")
    assert [agent.metric("culvert_tunnels_open") for agent in (mesh.a.agent, mesh.b.agent)] == [1, 1]
    assert mesh.b.agent.metric("culvert_tls_handshakes_server_total") == 1
    far.settimeout(scaled(20))
    got = 0
    while got < sent:
        part = far.recv(1 << 20)
        assert part and not part.strip(b"s")
        got += len(part)
    stalled.close()
    far.close()


def test_ten_thousand_streams_opened_and_reset_leave_memory_flat(mesh):
    """By applications: connect, a byte, RST. Ten thousand in a row, over pooled tunnels."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server, threads=2)
    count = 1000 if SLOW else 10_000

    def some(number: int) -> None:
        for _ in range(number):
            connection = connect(client, server.v4, 7002)
            connection.sendall(b"x")
            reset(connection)

    some(200)
    wait_for(lambda: not mesh.a.agent.ctl("connections") and not mesh.b.agent.ctl("connections"), "the first to be gone")
    before = {node.name: node.agent.rss_kib() for node in mesh.nodes.values()}
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        for job in [pool.submit(some, count // 8) for _ in range(8)]:
            job.result()
    for node in mesh.nodes.values():
        wait_for(lambda n=node: not n.agent.ctl("connections"), f"{node.name} to have closed all", 30)
        wait_for(lambda n=node: n.agent.rss_kib() < before[n.name] + 8 * 1024, f"{node.name}'s memory to be as before", 20)
    [line] = client.flowtool("latency", server.v4, 7002, "--count", 3)
    assert line["ok"]


def test_a_peer_agent_killed_mid_stream_is_a_reset_and_the_next_connection_works(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.transfer_server(server)
    transfer = client.start([run.binary("flowtool"), "transfer", server.v4, "7001", "--up", str(1 << 40), "--down", str(1 << 40), "--io-timeout-ms",
                             "20000"], name="transfer")
    wait_for(lambda: mesh.b.agent.metric("istio_tcp_sent_bytes_total") > 1_000_000, "the transfer to be under way")
    mesh.b.agent.kill()
    assert transfer.wait(30) != 0
    [line] = programs.reports(transfer)
    # Either of its two threads gets the error; the other then sees the end.
    assert "ECONNRESET" in (line["end"], line["send_error"]), line
    mesh.b.agent.start()
    [line] = client.flowtool("transfer", server.v4, 7001, "--up", 1000, "--down", 1000)
    assert line["ok"], line
