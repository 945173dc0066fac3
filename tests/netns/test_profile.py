# SPDX-License-Identifier: Apache-2.0
"""/debug/pprof of the local port: a profile under load that the field's own tools read, and what it does to whom."""

import contextlib
import http.client
import re
import shutil
import socket
import threading
import time

import pytest

from culvert_harness import programs, run, scaled, wait_for
from culvert_harness.agent import LOCAL_PORT

ECHO = 7002


@pytest.fixture
def profiled(world):
    """As `mesh`, with the local port and an echo server."""
    world.extra_config = {"admin": {"local_port": LOCAL_PORT}}
    world.start_with(client="a", server="b")
    programs.echo_server(world.pods["server"])
    return world


@contextlib.contextmanager
def load(world):
    """Bytes there and back for as long as it lasts, each compared. Gives a function: how many came back so far."""
    connection = world.pods["client"].netns.socket()
    connection.settimeout(scaled(10))
    connection.connect((world.pods["server"].v4, ECHO))
    chunk, count, is_done = b"0123456789abcdef" * 2048, [0], threading.Event()

    def work():
        while not is_done.is_set():
            connection.sendall(chunk)
            left = len(chunk)
            while left:
                part = connection.recv(left)
                start = len(chunk) - left
                assert part == chunk[start:start + len(part)] != b""
                left -= len(part)
            count[0] += len(chunk)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        is_done.set()
        thread.join()
        connection.close()


class Request:
    """GET of the local port, not waited for."""

    def __init__(self, node, path: str):
        self.connection = http.client.HTTPConnection("localhost", LOCAL_PORT)
        self.connection.sock = node.netns.socket()
        self.connection.sock.settimeout(scaled(60))
        self.connection.sock.connect(("127.0.0.1", LOCAL_PORT))
        self.connection.request("GET", path)

    def answer(self) -> tuple[int, bytes]:
        with contextlib.closing(self.connection):
            answer = self.connection.getresponse()
            return answer.status, answer.read()


def get(node, path: str) -> tuple[int, str]:
    status, body = Request(node, path).answer()
    return status, body.decode()


def top(tool: list[str], world, profile: bytes) -> str:
    """What this tool makes of it, its functions by what they took together with what they called."""
    path = world.directory / "profile"
    path.write_bytes(profile)
    return run.run([*tool, run.binary("culvertd"), str(path)], timeout=240).stdout


def samples_in(words) -> int:
    """Behind five words of head: samples of {count, depth, depth program counters}, and a count of 0 at the end."""
    at = 5
    samples = 0
    while words[at] != 0:
        samples += words[at]
        at += 2 + words[at + 1]
    assert list(words[at:at + 3]) == [0, 1, 0]
    return samples


def tools() -> list[list[str]]:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    return [["google-pprof", "--text", "--cum"], *([[go, "tool", "pprof", "-top", "-cum", "-nodecount=300"]] if go else [])]


@pytest.mark.parametrize("tool", tools(), ids=lambda tool: tool[0].rpartition("/")[2])
def test_a_profile_under_load_names_what_the_agent_did(profiled, tool):
    programs.iperf3_server(profiled.pods["server"])
    made = []
    thread = threading.Thread(target=lambda: made.append(programs.iperf3(profiled.pods["client"], profiled.pods["server"].v4, seconds=7, flows=4)))
    thread.start()
    agent = profiled.a.agent
    wait_for(lambda: len(agent.ctl("connections")) >= 5, "the flows")
    cpu, began = agent.cpu_seconds(), time.monotonic()
    status, profile = Request(profiled.a, "/debug/pprof/profile?seconds=4").answer()
    took, used = time.monotonic() - began, agent.cpu_seconds() - cpu
    thread.join()
    assert made[0]["end"]["sum_received"]["bytes"] > 0
    assert status == 200
    assert 4 <= took < scaled(10)
    words = memoryview(profile[:len(profile) // 8 * 8]).cast("Q")
    assert list(words[:5]) == [0, 3, 0, 10_000, 0]
    assert samples_in(words) >= 20 * used, f"a hundred for each of {used} seconds of CPU time, if nobody else were here"
    text = top(tool, profiled, profile)
    if tool[0] != "google-pprof":  # Go's own pprof has names for Go's functions only; samples and mappings it reads as any pprof does
        assert "100%" in text and "[culvertd]" in text, text[:4000]
        return
    # Where a flow's bytes go by: the worker's loop, the relay, the tunnel.
    for name in ("culvert::proxy::Worker::Loop::run", "culvert::proxy::Relay::run", "culvert::tls::TunnelSocket::"):
        assert name in text, text[:4000]


def test_an_idle_agent_is_not_woken_and_has_little_to_tell(profiled):
    status, profile = Request(profiled.b, "/debug/pprof/profile?seconds=1").answer()
    assert status == 200
    assert b"culvertd" in profile, "the mappings follow the samples"
    assert samples_in(memoryview(profile[:len(profile) // 8 * 8]).cast("Q")) < 30


def test_the_file_is_whole_over_http_1_0_too(profiled):
    with contextlib.closing(profiled.a.netns.socket()) as connection:
        connection.settimeout(scaled(20))
        connection.connect(("127.0.0.1", LOCAL_PORT))
        connection.sendall(b"GET /debug/pprof/profile?seconds=1 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert list(memoryview(body[:40]).cast("Q")) == [0, 3, 0, 10_000, 0]
    assert re.search(rb"/ld-linux[^/\n]*\n$", body), "the last mapping of code"
    for private in (b"[stack]", b"[heap]", b" rw-p "):
        assert private not in body


@pytest.mark.parametrize("query", ["seconds=0", "seconds=301", "seconds=x", "seconds=", "seconds=-1", "seconds=1.5", "frequency=0", "frequency=1001",
                                   "seconds=1&frequency=fast"])
def test_what_cannot_be_read_is_answered_with_how_to_ask(profiled, query):
    status, text = get(profiled.a, f"/debug/pprof/profile?{query}")
    assert status == 400
    assert text.startswith("usage: /debug/pprof/profile?seconds=N&frequency=N; seconds is a number from 1 to 300")


def test_one_at_a_time_and_a_client_that_goes_makes_room(profiled):
    first = Request(profiled.a, "/debug/pprof/profile?seconds=300")
    wait_for(lambda: get(profiled.a, "/debug/pprof/profile?seconds=1")[0] == 409, "the first one to be taken")
    status, text = get(profiled.a, "/debug/pprof/profile?seconds=1")
    assert (status, text) == (409, "another profile is being taken: try again when it has ended\n")
    assert profiled.a.agent.local("/config_dump")[0] == 200, "everything else is answered"
    first.connection.close()
    wait_for(lambda: get(profiled.a, "/debug/pprof/profile?seconds=1")[0] == 200, "room for the next one")


def test_a_client_that_is_reset_makes_room(profiled):
    first = Request(profiled.a, "/debug/pprof/profile?seconds=300")
    wait_for(lambda: get(profiled.a, "/debug/pprof/profile?seconds=1")[0] == 409, "the first one to be taken")
    first.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    first.connection.close()
    wait_for(lambda: get(profiled.a, "/debug/pprof/profile?seconds=1")[0] == 200, "room for the next one")


def test_it_goes_on_while_the_agent_drains(profiled):
    profiled.a.agent.extra_config = {"drain": {"timeout": "30s"}}
    profiled.a.agent.write_config()
    with contextlib.closing(profiled.pods["client"].netns.socket()) as live:
        live.settimeout(scaled(10))
        live.connect((profiled.pods["server"].v4, ECHO))
        live.sendall(b"x")
        assert live.recv(1) == b"x"
        request = Request(profiled.a, "/debug/pprof/profile?seconds=3")
        wait_for(lambda: get(profiled.a, "/debug/pprof/profile?seconds=1")[0] == 409, "it to begin")
        profiled.a.agent.daemon.signal(15)
        wait_for(lambda: "draining:" in profiled.a.agent.log(), "the drain")
        status, profile = request.answer()
        assert status == 200 and b"culvertd" in profile
        live.sendall(b"y")
        assert live.recv(1) == b"y"
    assert profiled.a.agent.daemon.wait(scaled(40)) == 0


def test_profiles_in_a_row_under_load_lose_no_connection_and_no_memory(profiled):
    """Signals reach every thread at every moment: system calls are interrupted, bytes are not."""
    with load(profiled) as count:
        wait_for(lambda: count() > 0, "the first bytes")
        Request(profiled.a, "/debug/pprof/profile?seconds=1&frequency=1000").answer()
        before, bytes_before = profiled.a.agent.rss_kib(), count()
        for _ in range(4):
            assert Request(profiled.a, "/debug/pprof/profile?seconds=1&frequency=1000").answer()[0] == 200
        assert count() > bytes_before
        wait_for(lambda: profiled.a.agent.rss_kib() < before + 2048, "the memory of the samples to be given back")
    assert profiled.a.agent.metric("culvert_connections_closed_total", reason="internal") == 0


def test_heap_profiles_are_refused_with_the_reason(profiled):
    for path in ("/debug/pprof/heap", "/debug/pprof/heap/profiling?activate=true"):
        status, text = get(profiled.a, path)
        assert status == 501
        assert "records no call stacks" in text and "\nin use: " in text
