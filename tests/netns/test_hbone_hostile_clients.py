# SPDX-License-Identifier: Apache-2.0
"""Culvert as the server of HBONE peers that are odd, broken or hostile, with a good certificate: each gets what it deserves, and
nobody else notices. The peer is python3-h2, or frames made by hand; either way another implementation than Culvert's.
"""

import concurrent.futures
import contextlib
import struct
import time

import pytest
from culvert_harness import SLOW, Authority, frames, h2peer, programs, scaled, tls13, wait_for
from test_fidelity import accept_one, connect, reset
from test_peers import RECORDS

core, engines = pytest.mark.core, pytest.mark.engines


def found(world, **tunnel):
    """server (and an honest client) behind Culvert; stranger is a pod beside it on node a, with a certificate of its own."""
    world.tunnel = {"offer": ["direct", "hbone"]} | tunnel
    for name, node in (("client", "a"), ("server", "b"), ("stranger", "a")):
        world.declare(name, node, namespace="shop")
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("server"))
    stranger = world.add("stranger", chain="plain")
    world.credentials = Authority.of(world).credentials(stranger.identity)
    world.target = f"{world.pods['server'].v4}:7002"
    return world


@pytest.fixture
def town(world):
    return found(world)


@pytest.fixture
def hasty(world):
    """A town that asks after a second of silence and gives up after two more."""
    return found(world, hbone={"ping_interval": "1s", "ping_timeout": "2s"})


def dial(town, *, settings: dict[int, int] | None = None, greets: bool = True, **options) -> frames.Wire:
    return frames.Wire.dial(town.pods["stranger"], town.pods["server"].v4, tls13.Context(town.credentials, **options), settings=settings, greets=greets)


def link(town, **options) -> h2peer.Link:
    return h2peer.Link.dial(town.pods["stranger"], town.pods["server"].v4, tls13.Context(town.credentials), **options)


def echoes(stream: h2peer.Stream, data: bytes = b"echo") -> bool:
    stream.sendall(data)
    return stream.recv_exactly(len(data)) == data


@contextlib.contextmanager
def nobody_else_notices(town):
    """An honest connection of another pod, and an honest stream of the same peer on another connection, work before, during and after;
    memory is as before."""
    with contextlib.closing(connect(town.pods["client"], town.pods["server"].v4, 7002)) as other, link(town) as own:
        stream = own.open(town.target)
        assert stream.status == 200

        def check() -> None:
            other.sendall(b"other")
            assert other.recv(5) == b"other"
            assert echoes(stream)

        check()
        before = town.b.agent.rss_kib()
        yield check
        check()
        assert town.b.agent.is_running()
        wait_for(lambda: town.b.agent.rss_kib() < before + 8 * 1024, f"memory to be near {before} KiB", 20)


class TestGoodPeers:
    @core
    @engines
    def test_streams_of_another_implementation_are_carried_exactly(self, town):
        with link(town) as peer:
            assert peer.tls.alpn == "h2"
            streams = [peer.open(town.target, ("baggage", "k8s.namespace.name=shop")) for _ in range(20)]
            assert {stream.status for stream in streams} == {200}
            for number, stream in enumerate(streams):
                stream.sendall(bytes([number]) * 200_000)
            for number, stream in enumerate(streams):
                assert stream.recv_exactly(200_000) == bytes([number]) * 200_000
                stream.shutdown()
                assert stream.recv() == b""

    def test_the_answer_says_who_answers(self, town):
        """Baggage of the destination, in the order of docs/hbone.md, in 200 alone."""
        with link(town) as peer:
            stream = peer.open(town.target, ("baggage", "k8s.namespace.name=shop"))
            assert stream.status == 200
            said = [pair.split("=") for pair in stream.fields["baggage"].split(",")]
            assert said == [["k8s.cluster.name", "Kubernetes"], ["k8s.namespace.name", "shop"], ["k8s.pod.name", "server"],
                            ["service.name", "server"], ["service.version", "latest"]]
            assert set(stream.fields) == {":status", "baggage"}
            refused = peer.open(f"{town.pods['server'].v4}:7999")
            assert refused.status == 503 and set(refused.fields) == {":status"}

    def test_settings_are_those_of_an_ambient_mesh(self, town):
        with dial(town) as wire:
            wire.wait(frames.SETTINGS)
            assert wire.peer_settings[frames.INITIAL_WINDOW_SIZE] >= 1 << 20
            assert wire.peer_settings[frames.MAX_FRAME_SIZE] >= 1 << 18
            assert wire.peer_settings[frames.MAX_CONCURRENT_STREAMS] == 200
            assert frames.ENABLE_PUSH not in wire.peer_settings

    @pytest.mark.parametrize("authority, status", [
        ("{v4}:7002", 200), ("[{v6}]:7002", 400), ("{v4}:7999", 503), ("{v4}:15008", 503), ("{v4}:15001", 503), ("{v4}:15006", 503),
        ("{v4}:15000", 503), ("{v4}:15020", 503), ("{v4}:15021", 503), ("{v4}:15080", 503), ("127.0.0.1:15000", 400),
        ("10.9.9.9:7002", 400), ("{v4}", 400), (":7002", 400), ("{v4}:0", 400), ("{v4}:65536", 400), ("", 400),
        ("nowhere.shop.svc.cluster.local:80", 503)])
    def test_an_authority_is_answered_with(self, town, authority, status):
        server = town.pods["server"]
        with link(town) as peer:
            assert peer.open(authority.format(v4=server.v4, v6=server.v6)).status == status
            assert echoes(peer.open(town.target)), "one refusal leaves the connection as it was"

    @pytest.mark.parametrize("fields", [
        [(":method", "GET"), (":authority", "{target}"), (":scheme", "https"), (":path", "/")],
        [(":method", "CONNECT"), (":authority", "{target}"), (":scheme", "https"), (":path", "/"), (":protocol", "websocket")],
        [(":method", "POST"), (":authority", "{target}")], [(":method", "CONNECT")]])
    def test_what_is_no_connect_is_refused(self, town, fields):
        """By status 400, or, where it is malformed, by RST_STREAM; other streams go on."""
        with dial(town) as wire:
            wire.headers(1, [(name, value.format(target=town.target)) for name, value in fields], end=True)
            while (frame := wire.next()).kind not in (frames.HEADERS, frames.RST_STREAM):
                pass
            assert frame.stream == 1
            if frame.kind == frames.HEADERS:
                assert dict(wire.decoder.decode(frame.payload))[":status"] == "400"
            wire.connect(3, town.target)
            wire.data(3, b"x")
            while (frame := wire.next()).kind != frames.DATA or frame.stream != 3:
                if frame.kind == frames.HEADERS:
                    wire.decoder.decode(frame.payload)
            assert frame.data == b"x"

    def test_policy_is_asked_before_the_upstream_is(self, world):
        """STRICT has nothing against a certificate; a pod whose certificate is of another trust domain gets no handshake at all."""
        world.tunnel = {"offer": ["hbone"]}
        world.declare("server", "b", namespace="shop", peer_authentication="STRICT")
        world.declare("stranger", "a", namespace="shop")
        world.start_agents()
        server, stranger = world.add("server"), world.add("stranger", chain="plain")
        programs.echo_server(server)
        authority = Authority.of(world)
        with h2peer.Link.dial(stranger, server.v4, tls13.Context(authority.credentials(stranger.identity))) as peer:
            assert peer.open(f"{server.v4}:7002").status == 200
        with pytest.raises(OSError), h2peer.Link.dial(stranger, server.v4, tls13.Context(authority.credentials("spiffe://elsewhere.org/ns/a/sa/b"))) as peer:
            peer.open(f"{server.v4}:7002").status

    @pytest.mark.parametrize("who", [pytest.param("peer", marks=engines), "server"])
    def test_half_close_leaves_the_other_direction_open(self, town, who):
        accept = accept_one(town.pods["server"], 7100)
        with link(town) as peer:
            stream = peer.open(f"{town.pods['server'].v4}:7100")
            application = accept()
            assert stream.status == 200
            if who == "peer":
                stream.sendall(b"question")
                stream.shutdown()
                assert application.recv(100) == b"question" and application.recv(100) == b""
                application.sendall(b"answer")
                application.close()
                assert stream.recv_exactly(6) == b"answer" and stream.recv() == b""
            else:
                application.sendall(b"question")
                application.shutdown(1)
                assert stream.recv_exactly(8) == b"question" and stream.recv() == b""
                stream.sendall(b"answer")
                stream.shutdown()
                assert application.recv(100) == b"answer" and application.recv(100) == b""
                application.close()

    def test_half_closes_of_both_at_once_are_a_clean_end(self, town):
        """Each has said everything before it hears of the other's end."""
        accept = accept_one(town.pods["server"], 7100)
        with link(town) as peer:
            stream = peer.open(f"{town.pods['server'].v4}:7100")
            with contextlib.closing(accept()) as application:
                assert stream.status == 200
                application.sendall(b"answer")
                stream.sendall(b"question")
                application.shutdown(1)
                stream.shutdown()
                assert stream.recv_exactly(6) == b"answer" and stream.recv() == b""
                assert application.recv(8) == b"question" and application.recv(1) == b""
            [line] = town.b.agent.access_log()
            assert "error=" not in line
            assert echoes(peer.open(town.target))

    @engines
    def test_an_applications_reset_is_rst_stream_cancel(self, town):
        accept = accept_one(town.pods["server"], 7100)
        with link(town) as peer:
            stream = peer.open(f"{town.pods['server'].v4}:7100")
            application = accept()
            assert stream.status == 200
            stream.sendall(b"x")
            assert application.recv(1) == b"x"
            reset(application)
            with pytest.raises(h2peer.StreamReset) as caught:
                stream.recv()
            assert caught.value.code == frames.CANCEL
            assert echoes(peer.open(town.target))

    @pytest.mark.parametrize("code", [code for code in frames.CODES if code != frames.NO_ERROR])
    def test_rst_stream_of_each_code_is_a_reset_to_the_application(self, town, code):
        accept = accept_one(town.pods["server"], 7100)
        with link(town) as peer:
            stream = peer.open(f"{town.pods['server'].v4}:7100")
            application = accept()
            assert stream.status == 200
            stream.sendall(b"x")
            assert application.recv(1) == b"x"
            stream.reset(code)
            with pytest.raises(ConnectionResetError):
                application.recv(1)
            application.close()
            assert echoes(peer.open(town.target))

    def test_a_ping_is_answered_with_its_own_bytes(self, town):
        with dial(town) as wire:
            wire.frame(frames.PING, 0, 0, b"12345678")
            while (frame := wire.next()).kind != frames.PING or not frame.flags & frames.ACK:
                pass
            assert frame.payload == b"12345678"

    def test_a_peer_that_answers_no_ping_is_gone_and_one_that_does_stays(self, hasty):
        """With a stream, so that nobody takes it for idle."""
        accept = accept_one(hasty.pods["server"], 7100)
        with nobody_else_notices(hasty), dial(hasty) as wire:
            assert wire.open(1, f"{hasty.pods['server'].v4}:7100") == 200
            application = accept()
            wire.answers = False
            assert wire.wait(frames.PING).payload
            with contextlib.closing(application), pytest.raises(ConnectionResetError):
                assert application.recv(1)
            wire.until_closed()
            hasty.b.agent.access_log("no answer to PING")

    def test_a_peers_goaway_lets_its_streams_end_and_then_the_connection(self, town):
        with dial(town) as wire:
            for stream in (1, 3):
                assert wire.open(stream, town.target) == 200
            wire.go_away(0)
            for stream in (1, 3):
                wire.data(stream, b"still")
                assert wire.read_data(stream, 5) == b"still"
            for stream in (1, 3):
                wire.data(stream, end=True)
            ended = wire.until_closed()
            assert {frame.stream for frame in ended if frame.is_end} == {1, 3}
            assert not [frame for frame in ended if frame.kind == frames.RST_STREAM]
        lines = town.b.agent.access_log(count=2)
        assert len(lines) == 2 and not any("error=" in line for line in lines), lines

    @pytest.mark.parametrize("code", [frames.INTERNAL_ERROR, frames.ENHANCE_YOUR_CALM])
    def test_a_peers_goaway_with_an_error_resets_its_applications_at_once(self, town, code):
        accept = accept_one(town.pods["server"], 7100)
        with nobody_else_notices(town), dial(town) as wire:
            assert wire.open(1, f"{town.pods['server'].v4}:7100") == 200
            application = accept()
            wire.go_away(0, code)
            with contextlib.closing(application), pytest.raises(ConnectionResetError):
                assert application.recv(1)
            wire.until_closed()


class TestOddPeers:
    """Nothing of this is forbidden."""

    @pytest.mark.parametrize("how", [*RECORDS, "padded frames", "unknown frames", "priority", "empty data"])
    def test_records_and_frames_as_nobody_else_makes_them_are_understood(self, town, how):
        with dial(town, padding=16384 if how == "padded records" else 0) as wire:
            assert wire.open(1, town.target) == 200
            sent = b"".join(wire.odd_data(how, 1, number) for number in range(20))
            assert wire.read_data(1, len(sent)) == sent
        if how == "key updates":  # 20 of ours, and an answer to each of the 10 that asked for one
            wait_for(lambda: town.b.agent.metric("culvert_tls_key_updates_total") >= 20, "the KeyUpdates to be counted")

    def test_a_header_block_in_many_pieces_is_put_together(self, town):
        with dial(town) as wire:
            block = wire.encoder.encode([(":method", "CONNECT"), (":authority", town.target), ("x-long", "v" * 3000)])
            wire.frame(frames.HEADERS, 0, 1, block[:10])
            for at in range(10, len(block), 700):
                wire.frame(frames.CONTINUATION, frames.END_HEADERS if at + 700 >= len(block) else 0, 1, block[at:at + 700])
            assert wire.wait_headers(1)[1][":status"] == "200"

    def test_a_window_of_one_byte_gets_a_byte_at_a_time(self, town):
        with dial(town, settings={frames.INITIAL_WINDOW_SIZE: 1}) as wire:
            assert wire.open(1, town.target) == 200
            wire.data(1, b"abcdefgh")
            got = b""
            while len(got) < 8:
                frame = wire.wait(frames.DATA, 1)
                assert len(frame.data) <= 1
                got += frame.data
                wire.window(1, 1)
            assert got == b"abcdefgh"

    def test_a_window_that_is_made_smaller_than_nothing_is_obeyed(self, town):
        """SETTINGS may take a window below zero (RFC 9113 section 6.9.2)."""
        with dial(town) as wire:
            assert wire.open(1, town.target) == 200
            wire.data(1, b"x" * 1000)
            assert wire.read_data(1, 1000, gives_back=False) == b"x" * 1000
            wire.settings({frames.INITIAL_WINDOW_SIZE: 500})  # now at minus 500
            wire.data(1, b"y" * 10)
            with pytest.raises(TimeoutError):
                wire.wait(frames.DATA, 1, timeout=scaled(1))
            wire.window(1, 510)
            assert wire.read_data(1, 10, gives_back=False) == b"y" * 10

    def test_end_of_the_stream_in_the_first_frame_is_a_half_close(self, town):
        with dial(town) as wire:
            wire.headers(1, [(":method", "CONNECT"), (":authority", town.target)], end=True)
            assert wire.wait_headers(1)[1][":status"] == "200"
            assert wire.read_data(1, 1) == b""

    def test_early_data_is_kept_until_the_upstream_is_there(self, town):
        with dial(town) as wire:
            wire.connect(1, town.target)
            wire.data(1, b"early")
            assert wire.wait_headers(1)[1][":status"] == "200"
            assert wire.read_data(1, 5) == b"early"

    def test_a_window_that_never_opens_holds_only_its_own_stream(self, town):
        """The application has a gigabyte to say; nothing of it may pile up in the agent."""
        server = town.pods["server"]
        accept = accept_one(server, 7100)
        with nobody_else_notices(town) as check, dial(town, settings={frames.INITIAL_WINDOW_SIZE: 0}) as wire:
            assert wire.open(1, f"{server.v4}:7100") == 200
            application = accept()
            application.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 64 << 20:
                    sent += application.send(b"s" * 65536)
            assert sent < 32 << 20
            check()
            application.close()

    def test_a_peer_that_is_killed_in_the_middle_is_a_reset_to_the_application(self, town):
        accept = accept_one(town.pods["server"], 7100)
        wire = dial(town)
        assert wire.open(1, f"{town.pods['server'].v4}:7100") == 200
        application = accept()
        wire.data(1, b"x" * 1000)
        assert application.recv(1000)
        wire.tls.kill()
        with pytest.raises(ConnectionResetError):
            while application.recv(1000):
                pass

    def test_a_connection_that_ends_without_close_notify_is_no_clean_end(self, town):
        accept = accept_one(town.pods["server"], 7100)
        wire = dial(town)
        assert wire.open(1, f"{town.pods['server'].v4}:7100") == 200
        application = accept()
        wire.data(1, b"x" * 1000)
        assert application.recv(1000)
        wire.tls.close(politely=False)
        with pytest.raises(ConnectionResetError):
            while application.recv(1000):
                pass

    def test_streams_beyond_the_limit_that_the_peer_cannot_know_yet_are_refused_one_by_one(self, town):
        """They raced the agent's SETTINGS."""
        limit, more = 200, 10
        with dial(town, greets=False) as wire:
            wire.answers = False
            wire.greet()
            for number in range(limit + more):
                wire.connect(1 + 2 * number, town.target)
            connected, refused = set(), set()
            while len(connected) + len(refused) < limit + more:
                frame = wire.next()
                if frame.kind == frames.HEADERS:
                    assert dict(wire.decoder.decode(frame.payload))[":status"] == "200"
                    connected.add(frame.stream)
                elif frame.kind == frames.RST_STREAM:
                    assert frame.code == frames.REFUSED_STREAM
                    refused.add(frame.stream)
                else:
                    assert frame.kind != frames.GOAWAY, frame
            assert len(connected) == limit

    def test_one_stream_beyond_the_limit_that_the_peer_has_acknowledged_ends_the_connection(self, town):
        with nobody_else_notices(town), dial(town) as wire:
            wire.wait(frames.SETTINGS)  # and the answer to it, which leaves before the first stream
            for number in range(200):
                wire.connect(1 + 2 * number, town.target)
            for _ in range(200):
                assert wire.wait_headers()[1][":status"] == "200"
            failed = town.b.agent.metric("culvert_hbone_sessions_failed_total")
            wire.connect(401, town.target)
            wire.until_closed()
            assert wire.go_aways == [frames.PROTOCOL_ERROR]
        assert town.b.agent.metric("culvert_hbone_sessions_failed_total") == failed + 1

    def test_the_agents_drain_is_told_in_two_steps(self, town):
        with dial(town) as wire, concurrent.futures.ThreadPoolExecutor() as pool:
            assert wire.open(1, town.target) == 200
            ending = pool.submit(town.b.agent.stop)
            assert wire.wait(frames.GOAWAY).last_stream == (1 << 31) - 1
            final = wire.wait(frames.GOAWAY)
            assert final.last_stream == 1 and final.code == frames.NO_ERROR
            wire.data(1, b"still")
            assert wire.read_data(1, 5) == b"still"
            wire.data(1, end=True)
            assert wire.until_closed()[-1].is_end
            assert ending.result(scaled(30)) == 0


# What is forbidden, or costs the peer little and the agent much. The codes: one of them in GOAWAY, and then the connection ends.
P, F, S, C, E = (frames.PROTOCOL_ERROR, frames.FLOW_CONTROL_ERROR, frames.FRAME_SIZE_ERROR, frames.COMPRESSION_ERROR, frames.ENHANCE_YOUR_CALM)


def literal(name: str, value: bytes) -> bytes:
    """A field that leaves the table alone; both shorter than 127."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value


def connect_block(target: str) -> bytes:
    return literal(":method", b"CONNECT") + literal(":authority", target.encode())


# Floods: stream 1 is open, and theirs are others.
def numbered(frame, count: int):
    """A flood of `frame(stream)`, of a new stream each time."""
    def flood(wire, target):
        for first in range(3, 3 + 2 * count, 200):
            wire.raw(b"".join(frame(stream, target) for stream in range(first, first + 200, 2)))
    return flood


def many(frame: bytes, *, thousands: int = 500, first: bytes = b""):
    """A flood of one frame."""
    def flood(wire, _target):
        wire.raw(first)
        for _ in range(thousands):
            wire.raw(frame * 1000)
    return flood


def header_flood(wire, target):
    """A megabyte of fields in one block, and again."""
    for stream in range(3, 43, 2):
        wire.frame(frames.HEADERS, 0, stream, connect_block(target))
        wire.raw(frames.pack(frames.CONTINUATION, 0, stream, literal("x-one", b"v" * 126) * 100) * 80)
        wire.frame(frames.CONTINUATION, frames.END_HEADERS, stream)


def requests_that_are_none(wire, _target):
    """GET and nothing else; never more at once than the agent allows."""
    for first in range(3, 40_003, 300):
        wire.raw(b"".join(frames.pack(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, b"\x82") for stream in range(first, first + 300, 2)))
        for _ in range(150):
            wire.wait(frames.HEADERS)


def tiny_windows(wire, target):
    """A hundred streams whose echo waits, and gets a byte of window each time that it has used up the last one."""
    wire.settings({frames.INITIAL_WINDOW_SIZE: 0})
    streams = range(3, 203, 2)
    for stream in streams:
        wire.connect(stream, target)
        wire.data(stream, b"x" * 100)
    for _ in range(90):
        wire.raw(b"".join(frames.pack(frames.WINDOW_UPDATE, 0, stream, b"\0\0\0\1") for stream in streams))
        for _ in streams:
            wire.wait(frames.DATA)


CALMED = {
    "rapid reset": numbered(lambda stream, target: frames.pack(frames.HEADERS, frames.END_HEADERS, stream, connect_block(target)) +
                            frames.pack(frames.RST_STREAM, 0, stream, b"\0\0\0\x08"), 20_000),
    "requests that are none": requests_that_are_none,
    "resets of streams that are gone": many(frames.pack(frames.RST_STREAM, 0, 1, b"\0\0\0\x08")),
    "continuation flood": many(frames.pack(frames.CONTINUATION, 0, 3, literal("a", b"b")), first=frames.pack(frames.HEADERS, 0, 3, b"\x82")),
    "empty continuation flood": many(frames.pack(frames.CONTINUATION, 0, 3), first=frames.pack(frames.HEADERS, 0, 3)),
    "header flood": header_flood,
    "compressed bomb": numbered(lambda stream, target: frames.pack(frames.HEADERS, frames.END_HEADERS, stream, frames.bomb(connect_block(target))),
                                200),
    "empty data flood": many(frames.pack(frames.DATA, 0, 1)),
    "padding flood": many(frames.pack(frames.DATA, frames.PADDED, 1, b"\xffx" + bytes(255)), thousands=50),
    "settings flood": many(frames.pack(frames.SETTINGS, 0, 0, b"\x00\x04\x00\x00\xff\xff"), thousands=200),
    "many settings in a frame": many(frames.pack(frames.SETTINGS, 0, 0, b"\x00\x04\x00\x00\xff\xff" * 33), thousands=1),
    "ping flood": many(frames.pack(frames.PING, 0, 0, b"12345678"), thousands=200),
    "window update flood": many(frames.pack(frames.WINDOW_UPDATE, 0, 1, b"\0\0\0\1")),
    "tiny windows": tiny_windows,
    "priority flood": many(frames.pack(frames.PRIORITY, 0, 1, b"\0\0\0\0\1")),
    "goaway flood": many(frames.pack(frames.GOAWAY, 0, 0, bytes(8))),
    "unknown frame flood": many(frames.pack(0xEE, 0, 0)),
}

MISTAKES = {
    "preface garbage": ((P,), lambda wire, target: wire.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100))),
    "no settings first": ((P,), lambda wire, target: wire.raw(frames.PREFACE + frames.pack(frames.PING, 0, 0, b"12345678"))),
    "a frame above the size that we announced": ((S,), lambda wire, target: (wire.greet(), wire.raw(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"))),
    "an even stream": ((P,), lambda wire, target: (wire.greet(), wire.connect(2, target))),
    "data on an idle stream": ((P, frames.STREAM_CLOSED), lambda wire, target: (wire.greet(), wire.data(7, b"x"))),
    "data on stream 0": ((P,), lambda wire, target: (wire.greet(), wire.data(0, b"x"))),
    "headers on stream 0": ((P,), lambda wire, target: (wire.greet(), wire.connect(0, target))),
    "a settings frame of five bytes": ((S,), lambda wire, target: (wire.greet(), wire.frame(frames.SETTINGS, 0, 0, b"12345"))),
    "a settings frame on a stream": ((P,), lambda wire, target: (wire.greet(), wire.frame(frames.SETTINGS, 0, 1))),
    "a window of 2^31": ((F,), lambda wire, target: (wire.greet(), wire.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}))),
    "a frame size of 1": ((P,), lambda wire, target: (wire.greet(), wire.settings({frames.MAX_FRAME_SIZE: 1}))),
    "a connection window that overflows": ((F,), lambda wire, target: (wire.greet(), wire.window(0, (1 << 31) - 1), wire.window(0, (1 << 31) - 1))),
    "a window update of 0": ((P,), lambda wire, target: (wire.greet(), wire.window(0, 0))),
    "a ping of seven bytes": ((S,), lambda wire, target: (wire.greet(), wire.frame(frames.PING, 0, 0, b"1234567"))),
    "an index beyond the table": ((C,), lambda wire, target: (wire.greet(), wire.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\x00"))),
    "a header block that another frame interrupts": ((P,), lambda wire, target: (
        wire.greet(), wire.frame(frames.HEADERS, 0, 1, wire.encoder.encode([(":method", "CONNECT")])), wire.data(1, b"x"))),
    "a continuation of nothing": ((P,), lambda wire, target: (wire.greet(), wire.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"\x88"))),
    "a push": ((P,), lambda wire, target: (wire.greet(), wire.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, struct.pack(">I", 2) + b"\x88"))),
    "padding longer than its frame": ((P,), lambda wire, target: (
        wire.greet(), wire.connect(1, target), wire.frame(frames.DATA, frames.PADDED, 1, b"\xffx"))),
}


class TestHostilePeers:
    @pytest.mark.parametrize("name", MISTAKES)
    def test_a_mistake_ends_the_connection_with_its_error(self, town, name):
        codes, act = MISTAKES[name]
        with nobody_else_notices(town), dial(town, greets=False) as wire:
            with contextlib.suppress(OSError):
                act(wire, town.target)
            goaways = [frame for frame in wire.until_closed(15) if frame.kind == frames.GOAWAY]
            assert [frame.code for frame in goaways if frame.code in codes], goaways

    def test_more_data_than_the_window_ends_the_stream_or_the_connection(self, town):
        """The application reads nothing, so no window opens again."""
        accept = accept_one(town.pods["server"], 7100)
        with nobody_else_notices(town), dial(town) as wire:
            assert wire.open(1, f"{town.pods['server'].v4}:7100") == 200
            application = accept()
            with contextlib.suppress(OSError):
                for _ in range((64 << 20) // 16384):
                    wire.data(1, bytes(16384))
            while (frame := wire.next()).kind not in (frames.GOAWAY, frames.RST_STREAM):
                pass
            assert frame.code == F, frame
            with pytest.raises(ConnectionResetError):
                while application.recv(1 << 20):
                    pass
            application.close()

    @pytest.mark.parametrize("name", CALMED)
    def test_a_flood_ends_its_connection_with_enhance_your_calm_and_nobody_else_notices(self, town, name):
        """The agent's socket is full of flood when it closes, so TCP resets: what it said before is still there to be read."""
        cpu, ended = town.b.agent.cpu_seconds(), town.b.agent.metric("culvert_hbone_sessions_abused_total")
        with nobody_else_notices(town) as check, dial(town) as wire:
            assert wire.open(1, town.target) == 200
            wire.answers = False
            began = time.monotonic()
            with contextlib.suppress(OSError):
                CALMED[name](wire, town.target)
            check()
            wire.until_closed()
            assert wire.go_aways == [E]
            assert time.monotonic() - began < scaled(30)
        assert town.b.agent.metric("culvert_hbone_sessions_abused_total") == ended + 1
        assert town.b.agent.cpu_seconds() - cpu < scaled(10)

    def test_ten_thousand_streams_opened_and_reset_over_many_connections_leave_memory_flat(self, town):
        """Each connection stays below what counts as abuse, and closes; or the agent ends it."""
        with nobody_else_notices(town) as check:
            done = 0
            while done < (1000 if SLOW else 10_000):
                with contextlib.suppress(OSError), dial(town) as wire:
                    for number in range(100):
                        wire.connect(1 + 2 * number, town.target)
                        wire.reset(1 + 2 * number)
                        done += 1
                check()

    def test_a_preface_that_takes_too_long_ends_though_a_byte_comes_now_and_then(self, world):
        town = found(world, handshake={"timeout": "2s"})
        with nobody_else_notices(town), dial(town, greets=False) as wire:
            began = time.monotonic()
            with contextlib.suppress(OSError):  # closed while it still speaks
                for byte in frames.PREFACE[:-1]:
                    wire.raw(bytes([byte]))
                    time.sleep(0.2)
            wire.until_closed(1)
            assert wire.go_aways == [frames.SETTINGS_TIMEOUT]
            assert time.monotonic() - began < scaled(8)

    def test_two_hundred_that_fall_silent_after_the_handshake_are_closed_in_time_and_leave_nothing(self, hasty):
        """Without a byte, with half a preface, and with all of it and no SETTINGS. They keep their ends open."""
        agent = hasty.b.agent
        with nobody_else_notices(hasty) as check, contextlib.ExitStack() as stack:
            before = agent.metric("culvert_tunnels_open")
            silent = []
            for number in range(200):
                silent.append(wire := stack.enter_context(dial(hasty, greets=False)))
                wire.answers = False
                wire.raw(frames.PREFACE[:(0, 10, len(frames.PREFACE))[number % 3]])
            last = time.monotonic()
            assert agent.metric("culvert_tls_handshakes_server_total") >= 200
            check()
            wait_for(lambda: agent.metric("culvert_tunnels_open") <= before, "the silent ones to be closed")
            assert time.monotonic() - last < scaled(8)
            for wire in silent:
                assert frames.PING in {frame.kind for frame in wire.until_closed(1)}
