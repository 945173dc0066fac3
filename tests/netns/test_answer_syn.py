# SPDX-License-Identifier: Apache-2.0
"""capture.answer_syn: after_connect: connect() of the application ends as it would without a mesh, whatever the far end says, and as the
default where it cannot."""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import struct
import threading
import time

import pytest
from culvert_harness import programs, scaled, wait_for

core = pytest.mark.core
DIRECT, HBONE = {}, {"offer": ["hbone"]}
CLOSED_PORT = 7199


def make_mesh(world, tunnel: dict, more: dict | None = None, **mesh):
    world.extra_config = {"capture": {"answer_syn": "after_connect"}} | (more or {})
    world.tunnel = tunnel
    world.mesh.update(mesh)
    for name, node in (("client", "a"), ("server", "b")):
        world.declare(name, node, namespace="shop")
    world.start_agents()
    world.add("client")
    world.add("server")
    return world


@pytest.fixture(params=[DIRECT, HBONE], ids=["direct", "hbone"])
def held(world, request):
    """Both agents answer after the connect."""
    return make_mesh(world, request.param)


@pytest.fixture
def slow(world):
    """As `held`, and a connect under way is given a minute."""
    return make_mesh(world, {"connect_timeout": "60s"})


def new_socket(pod, host: str, timeout: float = 10) -> socket.socket:
    made = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.settimeout(scaled(timeout))
    return made


def allow_descriptors(request, count: int) -> None:
    """This process may open so many until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count)), hard))


def ends(made: socket.socket, within_s: float) -> bool:
    """Whether its connect() has come to an end, whichever."""
    poll = select.poll()
    poll.register(made, select.POLLOUT)
    return bool(poll.poll(1000 * within_s))


def connect_error(pod, host: str, port: int, timeout: float = 10) -> int:
    """The errno of connect(); 0: it succeeded."""
    with contextlib.closing(new_socket(pod, host, timeout)) as made:
        made.setblocking(False)
        error = made.connect_ex((host, port))
        if error != errno.EINPROGRESS:
            return error
        assert ends(made, scaled(timeout)), "connect() did not end"
        return made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def echoes(made: socket.socket) -> bool:
    made.sendall(b"x")
    return made.recv(1) == b"x"


@contextlib.contextmanager
def unanswered(world):
    """What the server's pod says to the client's pod is lost, on the way out."""
    server, client = world.pods["server"], world.pods["client"]
    routes = [["-4", "route", "{}", "blackhole", f"{client.v4}/32"], ["-6", "route", "{}", "blackhole", f"{client.v6}/128"]]

    def change(verb: str) -> None:
        for route in routes:
            server.netns.run(["ip", *[part.format(verb) for part in route]])
    change("add")
    yield lambda: change("del")


def start_connects(pod, host: str, port: int, count: int) -> list[socket.socket]:
    started = []
    for _ in range(count):
        made = new_socket(pod, host)
        made.setblocking(False)
        assert made.connect_ex((host, port)) == errno.EINPROGRESS
        started.append(made)
    return started


def is_pending(made: socket.socket) -> bool:
    return not ends(made, 0)


def held_total(node) -> float:
    return node.agent.metric("culvert_syns_held_total")


def live(node) -> list:
    return [row for row in node.agent.ctl("connections") if row["direction"] == "outbound"]


@core
def test_a_connection_that_the_application_refuses_is_refused_to_connect(held):
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    for host in (server.v4, server.v6):
        assert connect_error(client, host, CLOSED_PORT) == errno.ECONNREFUSED
        with contextlib.closing(new_socket(client, host)) as made:
            made.connect((host, 7002))
            assert echoes(made)
    assert held_total(held.a) == 4
    assert held.a.agent.metric("culvert_syns_unheld_total") == 0


def test_so_is_one_that_goes_to_no_workload(slow):
    """Plain to the node itself, which is not in the mesh."""
    client = slow.pods["client"]
    for host in (slow.b.v4, slow.b.v6):
        assert connect_error(client, host, CLOSED_PORT) == errno.ECONNREFUSED
        listener = slow.b.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        with contextlib.closing(listener), contextlib.closing(new_socket(client, host)) as made:
            listener.bind((host, 7300))
            listener.listen(1)
            made.connect((host, 7300))
            far, _ = listener.accept()
            far.sendall(b"220 ready")
            assert made.recv(100) == b"220 ready"
            far.close()
            assert made.recv(1) == b""


def test_so_is_one_that_tc_has_redirected(world):
    """Without the connect hook each packet takes the pod's device first."""
    mesh = make_mesh(world, DIRECT, {"bpf": {"connect_hook": False}})
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    for host in (server.v4, server.v6):
        assert connect_error(client, host, CLOSED_PORT) == errno.ECONNREFUSED
        with contextlib.closing(new_socket(client, host)) as made:
            made.connect((host, 7002))
            assert echoes(made)
    assert held_total(mesh.a) == 4


def test_so_is_one_that_a_policy_denies(world):
    deny = {"name": "nobody", "namespace": "shop", "action": "DENY", "rules": [{}]}
    mesh = make_mesh(world, DIRECT, policies=[deny])
    programs.echo_server(mesh.pods["server"])
    assert connect_error(mesh.pods["client"], mesh.pods["server"].v4, 7002) == errno.ECONNREFUSED
    mesh.a.agent.access_log("policy rejection")


@pytest.mark.parametrize("tunnel", [DIRECT, HBONE], ids=["direct", "hbone"])
def test_a_far_end_that_does_not_answer_is_unreachable(world, tunnel):
    mesh = make_mesh(world, tunnel | {"connect_timeout": "1s"})
    client, server = mesh.pods["client"], mesh.pods["server"]
    with unanswered(mesh):
        for host in (server.v4, server.v6):
            started = time.monotonic()
            assert connect_error(client, host, 7002) == errno.EHOSTUNREACH
            assert time.monotonic() - started < scaled(5)


def test_applications_of_others_notice_nothing(held):
    client, server = held.pods["client"], held.pods["server"]
    programs.nginx(server, {"index.html": b"hello", "big": os.urandom(3_000_000)})
    programs.redis(server)
    programs.iperf3_server(server)
    capture = held.capture()
    for host in (server.v4, f"[{server.v6}]"):
        assert programs.curl(client, f"http://{host}/").stdout == "hello"
        assert len(programs.curl(client, f"http://{host}/big", "-o", "/dev/null", "-w", "%{size_download}").stdout) == 7
    assert client.run(["redis-cli", "-h", server.v4, "ping"]).stdout.strip() == "PONG"
    assert programs.iperf3(client, server.v4, seconds=1)["end"]["sum_received"]["bytes"] > 0
    capture.stop().assert_only_tunnels()
    assert programs.curl(client, f"http://{server.v4}:{CLOSED_PORT}/", check=False).returncode == 7
    assert held.a.agent.metric("culvert_syns_unheld_total") == 0


def test_an_answer_comes_without_delay(held):
    """The far agent holds its answer back for the application's first bytes, 16 ms, unless the client waits for it."""
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    [line] = client.flowtool("connects", server.v4, 7002, "--count", 50)
    assert line["ok"] and line["connect_p50"] < scaled(12_000), line


@pytest.mark.parametrize("ending", ["half-close", "server-resets", "client-resets", "server-closes"])
def test_each_ending_looks_to_both_sides_as_without_a_mesh(held, ending):
    client, server = held.pods["client"], held.pods["server"]
    serve = programs.transfer_server(server)
    amounts = () if ending == "server-closes" else ("--up", 500_000, "--down", 700_000)
    [line] = client.flowtool("transfer", server.v4, 7001, *amounts, "--ending", ending)
    assert line["ok"], line
    [seen] = wait_for(lambda: programs.reports(serve), "the server's report")
    assert seen["ok"], seen


def test_a_thousand_connects_at_once(held):
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    started = start_connects(client, server.v4, 7002, 500) + start_connects(client, server.v6, 7002, 500)
    for made in started:
        made.settimeout(scaled(60))
        assert ends(made, scaled(60))
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert echoes(made)
    assert held_total(held.a) + held.a.agent.metric("culvert_syns_unheld_total") == 1_000
    for made in started:
        made.close()
    wait_for(lambda: not live(held.a), "all of them to end")


def test_copies_of_syns_that_wait_for_a_busy_agent_open_nothing(held, request):
    """The first ask again after a second. When the agent comes to their copies, behind many others, their connections are open."""
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    count = 100 + 1_200
    allow_descriptors(request, 2 * count)
    with contextlib.closing(new_socket(client, server.v4)) as first:
        first.connect((server.v4, 7002))
        os.kill(held.a.agent.pid, signal.SIGSTOP)
        try:
            started = start_connects(client, server.v4, 7002, 100)
            time.sleep(0.7)
            started += start_connects(client, server.v4, 7002, 1_200)
            time.sleep(0.4)
        finally:
            os.kill(held.a.agent.pid, signal.SIGCONT)
        for made in started:
            made.settimeout(scaled(60))
            assert ends(made, scaled(60))
            assert echoes(made)
    assert held_total(held.a) + held.a.agent.metric("culvert_syns_unheld_total") == 1 + count
    for made in started:
        made.close()
    wait_for(lambda: not live(held.a), "all of them to end")


def test_the_same_ports_again_and_again(held):
    """The agent's end of the last connection is still in TIME_WAIT, or has just gone."""
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    for _ in range(20):
        with contextlib.closing(new_socket(client, server.v4)) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            made.bind((client.v4, 33_333))
            made.connect((server.v4, 7002))
            assert echoes(made)
    assert connect_error(client, server.v4, CLOSED_PORT) == errno.ECONNREFUSED


def test_an_application_that_gave_up_leaves_nothing_behind(slow):
    client, server = slow.pods["client"], slow.pods["server"]
    programs.echo_server(server)
    with unanswered(slow) as heal:
        [made] = start_connects(client, server.v4, 7002, 1)
        wait_for(lambda: live(slow.a), "the connection to be under way")
        made.close()
        heal()
    wait_for(lambda: not live(slow.a), "the connection to end", 30)
    slow.a.agent.access_log("had gone")
    [made] = start_connects(client, server.v4, 7002, 1)
    made.settimeout(scaled(10))
    assert ends(made, scaled(10)) and echoes(made)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_pending_connect_outlives_the_agent(slow, how):
    """Its SYN is lost with the agent; the next copy comes to the next agent. Between them nothing is answered and nothing leaves."""
    client, server = slow.pods["client"], slow.pods["server"]
    programs.echo_server(server)
    with unanswered(slow) as heal:
        pending = start_connects(client, server.v4, 7002, 20)
        wait_for(lambda: held_total(slow.a) == 20, "the SYNs to be held")
        capture = slow.capture()
        getattr(slow.a.agent, how)()
        assert all(is_pending(made) for made in pending)
        heal()
    slow.a.agent.start()
    for made in pending:
        assert ends(made, scaled(30)), "the connect was forgotten"
        made.settimeout(scaled(10))
        assert echoes(made)
    capture.stop().assert_only_tunnels()


def test_a_pod_that_leaves_has_its_pending_connects_refused(slow):
    client = slow.pods["client"]
    with unanswered(slow):
        pending = start_connects(client, slow.pods["server"].v4, 7002, 20)
        wait_for(lambda: held_total(slow.a) == 20, "the SYNs to be held")
        slow.a.agent.ctl("leave", client.container_id)
        for made in pending:
            assert ends(made, scaled(5))
            assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_more_than_may_wait_are_answered_at_once(slow, request):
    """The rest is as by default; nobody is turned away, and another pod's connects are held as before."""
    client, server = slow.pods["client"], slow.pods["server"]
    programs.echo_server(server)
    count = 2_300  # a worker holds 1,024 of a pod
    allow_descriptors(request, 2 * count)
    with unanswered(slow) as heal:
        started = start_connects(client, server.v4, 7002, count)
        wait_for(lambda: sum(not is_pending(made) for made in started) >= count - 2_048, "the surplus to be answered", 30)
        assert held_total(slow.a) <= 2_048
        slow.declare("other", "a", namespace="shop")
        slow.reload()
        other = slow.add("other")
        assert connect_error(other, slow.b.v4, CLOSED_PORT) == errno.ECONNREFUSED
        heal()
    for made in started:
        assert ends(made, scaled(90))
        made.settimeout(scaled(60))
        assert echoes(made)
    for made in started:
        made.close()


def syn(source: str, destination: str, port: int, sequence: int = 1) -> bytes:
    """An IPv4 packet; its checksums are left to whoever takes it."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, socket.inet_aton(source), socket.inet_aton(destination))
    return ip + struct.pack("!HHIIBBHHH", 40_000 + sequence % 1000, port, sequence, 0, 5 << 4, 0x02, 1000, 0, 0)


def checked(packet: bytes) -> bytes:
    def total(data: bytes) -> int:
        value = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while value >> 16:
            value = (value & 0xFFFF) + (value >> 16)
        return ~value & 0xFFFF
    ip, tcp = packet[:20], packet[20:]
    ip = ip[:10] + struct.pack("!H", total(ip)) + ip[12:]
    tcp = tcp[:16] + struct.pack("!H", total(ip[12:20] + struct.pack("!HH", 6, len(tcp)) + tcp)) + tcp[18:]
    return ip + tcp


def test_forged_syns_open_nothing_in_anothers_name(held):
    """A pod that may open raw sockets says that it is somebody else, over its own device."""
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    with contextlib.closing(client.netns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)) as raw:
        for number in range(200):
            raw.sendto(checked(syn("10.9.9.9", server.v4, 7002, number)), (server.v4, 0))
    wait_for(lambda: held.a.agent.metric("culvert_capture_total", pod="client", decision="outbound_taken") >= 200, "the SYNs to arrive")
    assert connect_error(client, server.v4, 7002) == 0
    assert held_total(held.a) == 1
    wait_for(lambda: not live(held.a), "the one connection to end")
    assert "10.9.9.9" not in "".join(held.b.agent.access_log_so_far())


def test_the_option_changes_while_the_agent_runs(mesh):
    client, server = mesh.pods["client"], mesh.pods["server"]

    def answer(how: str, expected: int) -> None:
        mesh.extra_config = {"capture": {"answer_syn": how}}
        mesh.a.agent.reload()
        wait_for(lambda: connect_error(client, server.v4, CLOSED_PORT) == expected, f"answers {how}")

    programs.echo_server(server)
    with contextlib.closing(new_socket(client, server.v4)) as made:
        made.connect((server.v4, 7002))
        answer("after_connect", errno.ECONNREFUSED)
        with contextlib.closing(new_socket(client, server.v4)) as between:
            between.connect((server.v4, 7002))
            answer("at_once", 0)
            assert echoes(between)
        assert echoes(made)


def test_many_threads_that_connect_and_close(held):
    client, server = held.pods["client"], held.pods["server"]
    programs.echo_server(server)
    failures = []

    def work() -> None:
        try:
            for _ in range(50):
                with contextlib.closing(new_socket(client, server.v4, 30)) as made:
                    made.connect((server.v4, 7002))
                    assert echoes(made)
                assert connect_error(client, server.v6, CLOSED_PORT, 30) == errno.ECONNREFUSED
        except (OSError, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    wait_for(lambda: not live(held.a), "all of them to end")
