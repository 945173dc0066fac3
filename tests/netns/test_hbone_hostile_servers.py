# SPDX-License-Identifier: Apache-2.0
"""Culvert as the client of HBONE peers that are odd, broken or hostile. The application must see what happened: its bytes, a clean end
or a reset; and where nothing of its connection was touched by the peer, nothing at all.
"""

import concurrent.futures
import contextlib
import socket
import threading

import pytest
from culvert_harness import Authority, frames, h2peer, programs, scaled, tls13, wait_for
from culvert_harness.traffic import no_further_tunnels
from test_fidelity import connect, reset
from test_peers import RECORDS

engines = pytest.mark.engines


def found(world, **tunnel):
    """client behind Culvert; server is a pod on the other node where the test plays the HBONE peer, with server's certificate."""
    world.tunnel = {"offer": ["direct", "hbone"], "handshake": {"timeout": "2s"}, "connect_timeout": "2s"} | tunnel
    for name, node in (("client", "a"), ("server", "b"), ("other", "b")):
        world.declare(name, node, namespace="shop")
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("other"))
    server = world.add("server", chain="plain")
    world.credentials = Authority.of(world).credentials(server.identity)
    return world


@pytest.fixture
def town(world):
    return found(world)


@contextlib.contextmanager
def playing(town, script, *, streams: int = 100, **options):
    """`script(wire, number)` is each connection's peer, its preface read and ours sent."""
    def whole(wire: frames.Wire, number: int) -> None:
        wire.read_preface()
        wire.greet({frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_CONCURRENT_STREAMS: streams})
        with contextlib.suppress(frames.Closed):
            script(wire, number)

    with h2peer.Scripted(town.pods["server"], tls13.Context(town.credentials, **options), whole) as peer:
        try:
            yield peer
        finally:
            print("the peer's errors:", peer.errors)  # shown with a failed test


def echo(wire: frames.Wire, *, first: tuple[frames.Frame, dict] | None = None) -> None:
    """Well-behaved: 200 to every CONNECT, and back what comes, until the client goes."""
    with contextlib.suppress(frames.Closed):
        if first:
            wire.respond(first[0].stream)
        while True:
            frame = wire.next(60)
            if frame.kind == frames.HEADERS and frame.flags & frames.END_HEADERS:
                wire.decoder.decode(frame.payload)
                wire.respond(frame.stream)
            elif frame.kind == frames.DATA:
                if frame.payload:
                    wire.window(0, len(frame.payload))
                    wire.window(frame.stream, len(frame.payload))
                wire.data(frame.stream, frame.data, end=frame.is_end)


def only_the_first(script):
    """For `playing`: `script(wire, frame)` is the first connection's, once that has asked for a stream; later ones are served."""
    def whole(wire: frames.Wire, number: int) -> None:
        if number > 1:
            echo(wire)
        else:
            script(wire, wire.wait_headers()[0])
    return whole


class AlreadyReset:
    """A connection that was answered and reset before connect() had looked at it; its calls say so as those of a later one do."""

    def recv(self, _count: int) -> bytes:
        raise ConnectionResetError

    def sendall(self, _data: bytes) -> None:
        raise ConnectionResetError

    def close(self) -> None:
        pass


def dial(town) -> socket.socket:
    try:
        return connect(town.pods["client"], town.pods["server"].v4, 80)
    except ConnectionResetError:
        return AlreadyReset()


def echoes(town) -> None:
    with contextlib.closing(dial(town)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"


def refused(town) -> str:
    """The application's connection must end by a reset before any byte; the access log's line about it."""
    before = len(town.a.agent.access_log_so_far())
    with pytest.raises(ConnectionResetError), contextlib.closing(dial(town)) as connection:
        assert connection.recv(1), "a clean end for a connection that never was"
    return town.a.agent.access_log(count=before + 1)[before]


def others_work(town) -> None:
    with contextlib.closing(connect(town.pods["client"], town.pods["other"].v4, 7002)) as connection:
        connection.sendall(b"other")
        assert connection.recv(5) == b"other"


class TestRequests:
    def test_the_request_says_who_wants_what(self, town):
        seen = []
        with h2peer.Server(town.pods["server"], tls13.Context(town.credentials), refuse=seen.append) as peer:
            programs.echo_server(town.pods["server"], 80)
            echoes(town)
            assert peer.links[0].tls.alpn == "h2"
            settings = peer.links[0].h2.remote_settings
            assert settings.enable_push == 0 and settings.initial_window_size >= 1 << 20 and settings.max_frame_size >= 1 << 18
        [fields] = seen
        assert fields[":method"] == "CONNECT" and fields[":authority"] == f"{town.pods['server'].v4}:80"
        assert not {":scheme", ":path", ":protocol"} & set(fields)
        assert "k8s.namespace.name=shop" in fields["baggage"] and "service.name=client" in fields["baggage"]
        assert fields["forwarded"].startswith(f'for="{town.pods["client"].v4}:')
        assert len(fields["traceparent"]) == 55

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 502, 503, 504])
    def test_each_refusal_is_a_reset_before_any_byte_and_is_logged(self, town, status):
        with h2peer.Server(town.pods["server"], tls13.Context(town.credentials), refuse=lambda _fields: status):
            assert str(status) in refused(town)

    def test_nghttpd_which_knows_no_connect_is_a_refusal_once_it_answers(self, town):
        server = town.pods["server"]
        root = town.directory / "htdocs"
        root.mkdir()
        server.start(["nghttpd", "--verify-client", "-d", str(root), "15008", town.credentials.key, town.credentials.certificate], name="nghttpd")
        server.netns.wait_listening(15008)
        with pytest.raises(ConnectionResetError), contextlib.closing(dial(town)) as connection:
            connection.shutdown(1)  # it waits for the end of the request
            assert connection.recv(1)
        others_work(town)

    def test_the_peers_stream_limit_is_kept(self, town):
        """MAX_CONCURRENT_STREAMS 10; what comes before the client knows it is refused as unprocessed, and all applications are served."""
        most, late = [0], []

        def script(wire, _number):
            live, is_known = set(), False
            while True:
                frame = wire.next(60)
                if frame.kind == frames.SETTINGS and frame.flags & frames.ACK:
                    is_known = True
                if frame.kind == frames.HEADERS:
                    wire.decoder.decode(frame.payload)
                    if len(live) < 10:
                        live.add(frame.stream)
                        wire.respond(frame.stream)
                    else:
                        late.extend([frame.stream] if is_known else [])
                        wire.reset(frame.stream, frames.REFUSED_STREAM)
                    most[0] = max(most[0], len(live))
                elif frame.kind == frames.DATA and frame.stream in live:
                    wire.data(frame.stream, frame.data, end=frame.is_end)
                    if frame.is_end:
                        live.discard(frame.stream)
                elif frame.kind == frames.RST_STREAM:
                    live.discard(frame.stream)

        with playing(town, script, streams=10) as peer:
            lines = town.pods["client"].flowtool("many", town.pods["server"].v4, 80, "--count", 300, "--threads", 8, "--timeout-ms", 30_000)
            assert lines[-1]["ok"], lines
            assert peer.accepted >= 30 and most == [10]
            assert not late, "streams above a limit that was acknowledged"


class TestGoAway:
    """At every point of a stream's life."""

    @pytest.mark.parametrize("when", ["at once", "for the stream, which was not processed", "twice"])
    def test_what_the_peer_has_not_processed_is_tried_again_elsewhere(self, town, when):
        def script(wire, number):
            if number > 1:
                echo(wire)
            elif when == "at once":
                wire.go_away(0)
                wire.until_closed()
            else:
                wire.wait_headers()
                if when == "twice":
                    wire.go_away((1 << 31) - 1)
                wire.go_away(0)
                wire.until_closed()

        with playing(town, script) as peer:
            echoes(town)
            assert peer.accepted == 2

    @pytest.mark.parametrize("code", [frames.NO_ERROR, frames.ENHANCE_YOUR_CALM])
    def test_a_refused_stream_is_tried_again_and_the_application_notices_nothing(self, town, code):
        def script(wire, number):
            if number == 1 and code == frames.NO_ERROR:
                frame, _ = wire.wait_headers()
                wire.reset(frame.stream, frames.REFUSED_STREAM)
            elif number == 1:
                wire.wait_headers()
                wire.go_away(0, code)
                return
            echo(wire)

        with playing(town, script):
            echoes(town)

    def test_a_peer_that_refuses_every_stream_is_not_asked_for_ever(self, town):
        asked = []

        def script(wire, _number):
            while True:
                frame, fields = wire.wait_headers()
                asked.append(fields)
                wire.reset(frame.stream, frames.REFUSED_STREAM)

        with playing(town, script):
            refused(town)
            assert 1 <= len(asked) <= 10

    def test_what_waits_for_a_stream_goes_elsewhere_when_the_peer_says_goaway(self, world):
        """The peer takes one stream on a connection, and when the second was wanted no other connection could be made."""
        world.a.agent.extra_config = {"workers": 1}
        town, may_go_away = found(world), threading.Event()

        @only_the_first
        def script(wire, frame):
            wire.respond(frame.stream)
            assert wire.read_data(frame.stream, 1) == b"1"
            wire.data(frame.stream, b"1")
            assert may_go_away.wait(scaled(10))
            wire.go_away(frame.stream)
            wire.until_closed(scaled(30))

        with playing(town, script, streams=1) as peer, contextlib.closing(dial(town)) as first, contextlib.ExitStack() as stack:
            first.sendall(b"1")
            assert first.recv(1) == b"1"
            with no_further_tunnels(town.pods["client"]):
                second = stack.enter_context(contextlib.closing(dial(town)))
                second.sendall(b"2")
                second.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    second.recv(1)
            assert peer.accepted == 1
            may_go_away.set()
            second.settimeout(scaled(8))
            assert second.recv(1) == b"2"

    @pytest.mark.parametrize("when", ["before the answer", "after the answer", "between data", "after its end"])
    def test_a_stream_that_is_processed_goes_on_and_new_ones_go_elsewhere(self, town, when):
        @only_the_first
        def script(wire, frame):
            if when == "before the answer":
                wire.go_away(frame.stream)
            wire.respond(frame.stream)
            if when == "after the answer":
                wire.go_away(frame.stream)
            assert wire.read_data(frame.stream, 1) == b"1"
            wire.data(frame.stream, b"1")
            if when == "between data":
                wire.go_away(frame.stream)
            wire.read_data(frame.stream, 1)
            wire.data(frame.stream, b"2", end=when == "after its end")
            if when == "after its end":
                wire.go_away(frame.stream)
            while not wire.wait(frames.DATA, frame.stream).is_end:
                pass
            if when != "after its end":
                wire.data(frame.stream, b"3", end=True)
            wire.until_closed()

        with playing(town, script) as peer, contextlib.closing(dial(town)) as first:
            first.sendall(b"1")
            assert first.recv(1) == b"1"
            first.sendall(b"2")
            assert first.recv(1) == b"2"
            if when == "after its end":
                assert first.recv(1) == b""
            echoes(town)
            assert peer.accepted == 2
            first.shutdown(1)
            if when != "after its end":
                assert first.recv(1) == b"3" and first.recv(1) == b""
            assert not peer.errors, peer.errors

    @pytest.mark.parametrize("code", [code for code in frames.CODES if code])
    def test_goaway_with_an_error_resets_what_lives_on_the_connection(self, town, code):
        @only_the_first
        def script(wire, frame):
            wire.respond(frame.stream)
            wire.data(frame.stream, b"1")
            wire.read_data(frame.stream, 1)
            wire.go_away(frame.stream, code)

        with playing(town, script):
            with contextlib.closing(dial(town)) as connection:
                assert connection.recv(1) == b"1"
                connection.sendall(b"x")
                with pytest.raises(ConnectionResetError):
                    assert connection.recv(1)
            echoes(town)


class TestStreams:
    @pytest.mark.parametrize("code", [code for code in frames.CODES if code not in (frames.NO_ERROR, frames.REFUSED_STREAM)])
    @pytest.mark.parametrize("when", ["before the answer", "after the answer"])
    def test_rst_stream_of_each_code_is_a_reset(self, town, code, when):
        is_first = threading.Event()

        def script(wire, _number):
            if not is_first.is_set():  # later streams may come here or on another tunnel
                is_first.set()
                frame, _ = wire.wait_headers()
                if when == "after the answer":
                    wire.respond(frame.stream)
                    wire.data(frame.stream, b"1")
                    wire.read_data(frame.stream, 1)
                wire.reset(frame.stream, code)
            echo(wire)

        with playing(town, script):
            with contextlib.closing(dial(town)) as connection:
                if when == "after the answer":
                    assert connection.recv(1) == b"1"
                    connection.sendall(b"x")
                with pytest.raises(ConnectionResetError):
                    assert connection.recv(1), "a clean end"
            echoes(town)

    @pytest.mark.parametrize("first", ["application", "peer", "both at once"])
    def test_half_closes_in_each_order_end_cleanly(self, town, first):
        go = threading.Event()

        def script(wire, _number):
            frame, _ = wire.wait_headers()
            wire.respond(frame.stream)
            if first == "application":
                while not wire.wait(frames.DATA, frame.stream).is_end:
                    pass
                wire.data(frame.stream, b"answer")
                wire.data(frame.stream, end=True)
            else:
                go.wait(10)
                wire.data(frame.stream, b"answer", end=True)
                while not wire.wait(frames.DATA, frame.stream).is_end:
                    pass
            wire.until_closed(60)

        with playing(town, script) as peer, contextlib.closing(dial(town)) as connection:
            connection.sendall(b"question")
            if first == "peer":
                go.set()
                assert connection.recv(6) == b"answer" and connection.recv(1) == b""
                connection.sendall(b"more")
                connection.shutdown(1)
            else:
                connection.shutdown(1)
                go.set()
                got = b""
                while part := connection.recv(100):
                    got += part
                assert got == b"answer"
            wait_for(lambda: not town.a.agent.ctl("connections"), "the connection to have ended")
            assert not peer.errors, peer.errors
        [line] = town.a.agent.access_log()
        assert "error=" not in line

    def test_all_is_delivered_and_ends_cleanly_before_a_reset_that_only_says_no_more_is_read(self, town):
        """END_STREAM, then RST_STREAM with NO_ERROR (RFC 9113 section 8.1); the application reads late."""
        sent = threading.Event()

        def script(wire, _number):
            frame, _ = wire.wait_headers()
            wire.respond(frame.stream)
            for number in range(40):
                wire.data(frame.stream, bytes([number]) * 10_000, end=number == 39)
            wire.reset(frame.stream, frames.NO_ERROR)
            sent.set()
            wire.until_closed(60)

        with playing(town, script), contextlib.closing(dial(town)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            assert sent.wait(scaled(10))
            got = b""
            while part := connection.recv(7000):
                got += part
            assert got == b"".join(bytes([number]) * 10_000 for number in range(40))

    @engines
    def test_an_applications_reset_is_rst_stream_cancel(self, town):
        codes = []

        def script(wire, _number):
            frame, _ = wire.wait_headers()
            wire.respond(frame.stream)
            wire.data(frame.stream, b"1")
            while (frame := wire.next()).kind != frames.RST_STREAM:
                assert not frame.is_end
            codes.append(frame.code)

        with playing(town, script):
            connection = dial(town)
            assert connection.recv(1) == b"1"
            reset(connection)
            wait_for(lambda: codes, "RST_STREAM")
        assert codes == [frames.CANCEL]

    @pytest.mark.parametrize("how", ["data before the answer", "two answers", "no status", "an answer with the end of the stream"])
    def test_an_answer_that_is_none_is_a_reset(self, town, how):
        def script(wire, _number):
            frame, _ = wire.wait_headers()
            if how == "data before the answer":
                wire.data(frame.stream, b"x")
            elif how == "two answers":
                wire.respond(frame.stream)
                wire.respond(frame.stream)
            elif how == "no status":
                wire.headers(frame.stream, [("server", "x")])
            else:
                wire.headers(frame.stream, [(":status", "503")], end=True)
            wire.until_closed(5)

        with playing(town, script):
            with contextlib.closing(dial(town)) as connection:
                with pytest.raises(ConnectionResetError):
                    while True:
                        assert connection.recv(1), "a clean end"
            others_work(town)

    def test_a_window_that_never_opens_holds_only_its_own_application(self, town):
        def script(wire, _number):
            wire.settings({frames.INITIAL_WINDOW_SIZE: 0})
            while True:
                frame, fields = wire.wait_headers()
                wire.respond(frame.stream)

        with playing(town, script), contextlib.closing(dial(town)) as connection:
            before = town.a.agent.rss_kib()
            connection.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 64 << 20:
                    sent += connection.send(b"s" * 65536)
            assert sent < 32 << 20
            others_work(town)
            assert town.a.agent.rss_kib() - before < 16 * 1024


class TestRecords:
    @pytest.mark.parametrize("how", [*RECORDS, "padded frames", "unknown frames", "informational"])
    def test_records_and_frames_as_nobody_else_makes_them_are_understood(self, town, how):
        def script(wire, _number):
            frame, _ = wire.wait_headers()
            if how == "informational":
                wire.headers(frame.stream, [(":status", "103")])
            wire.respond(frame.stream)
            for number in range(20):
                wire.odd_data(how, frame.stream, number)
            assert wire.read_data(frame.stream, 4) == b"done"
            wire.data(frame.stream, b"!", end=True)
            wire.until_closed(60)

        with playing(town, script, padding=16384 if how == "padded records" else 0), contextlib.closing(dial(town)) as connection:
            expected = b"".join(bytes([number]) * frames.ODD_SIZE for number in range(20))
            got = b""
            while len(got) < len(expected):
                part = connection.recv(len(expected) - len(got))
                assert part, "an early end"
                got += part
            assert got == expected
            connection.sendall(b"done")
            assert connection.recv(1) == b"!" and connection.recv(1) == b""

    def test_a_peer_killed_in_the_middle_is_a_reset(self, town):
        def script(wire, number):
            frame, _ = wire.wait_headers()
            wire.respond(frame.stream)
            wire.data(frame.stream, b"1")
            if number == 1:
                wire.read_data(frame.stream, 1)
                wire.tls.kill()
            else:
                echo(wire)

        with playing(town, script):
            with contextlib.closing(dial(town)) as connection:
                assert connection.recv(1) == b"1"
                connection.sendall(b"x")
                with pytest.raises(ConnectionResetError):
                    assert connection.recv(1)
            with contextlib.closing(dial(town)) as connection:
                assert connection.recv(1) == b"1"

    @pytest.mark.parametrize("how", ["close_notify", "FIN alone"])
    def test_a_connection_that_ends_under_a_stream_is_a_reset_not_an_end(self, town, how):
        def script(wire, _number):
            frame, _ = wire.wait_headers()
            wire.respond(frame.stream)
            wire.data(frame.stream, b"1")
            wire.read_data(frame.stream, 1)
            wire.tls.close(politely=how == "close_notify")

        with playing(town, script), contextlib.closing(dial(town)) as connection:
            assert connection.recv(1) == b"1"
            connection.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                assert connection.recv(1), "a clean end"

    @pytest.mark.parametrize("what", ["nothing", "garbage", "half a preface", "goaway and nothing", "settings and no answer"])
    def test_a_peer_that_takes_the_handshake_and_then_does_no_http2_is_an_error_in_time(self, town, what):
        def script(wire, _number):
            wire.read_preface()
            if what == "garbage":
                wire.raw(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)
            elif what == "half a preface":
                wire.raw(b"\0\0\0")
            elif what == "goaway and nothing":
                wire.go_away(0, frames.INTERNAL_ERROR)
            elif what == "settings and no answer":
                wire.greet()
            wire.answers = False
            wire.until_closed(60)

        with h2peer.Scripted(town.pods["server"], tls13.Context(town.credentials), script):
            refused(town)
            others_work(town)

    @pytest.mark.parametrize("how", ["settings", "pings", "empty data", "window updates", "continuation", "headers", "compressed bomb",
                                     "informational", "resets"])
    def test_a_flood_from_a_server_is_a_reset_is_counted_and_ends_that_connection_alone(self, town, how):
        codes = []

        def script(wire, _number):
            frame, _ = wire.wait_headers()
            if how != "informational":
                wire.respond(frame.stream)
                wire.data(frame.stream, b"1")
                wire.read_data(frame.stream, 1)
            field = b"\0\1x\x7e" + b"v" * 126
            flood = {"settings": frames.pack(frames.SETTINGS, 0, 0, b"\0\4\0\0\xff\xff"), "pings": frames.pack(frames.PING, 0, 0, b"12345678"),
                     "empty data": frames.pack(frames.DATA, 0, frame.stream), "window updates": frames.pack(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
                     "continuation": frames.pack(frames.CONTINUATION, 0, frame.stream),
                     "headers": frames.pack(frames.CONTINUATION, 0, frame.stream, field * 30),
                     "compressed bomb": frames.pack(frames.HEADERS, frames.END_HEADERS, frame.stream, frames.bomb(b"")),
                     "informational": frames.pack(frames.HEADERS, frames.END_HEADERS, frame.stream, b"\x08\x03103"),
                     "resets": frames.pack(frames.RST_STREAM, 0, 1, b"\0\0\0\x08")}[how]
            if how in ("continuation", "headers"):
                wire.frame(frames.HEADERS, 0, frame.stream)
            wire.answers = False
            with contextlib.suppress(OSError):
                for _ in range(300):
                    wire.raw(flood * (1000 if len(flood) < 1000 else 1))
            wire.until_closed()  # TCP resets what it did not take; GOAWAY came before
            codes.extend(wire.go_aways)

        agent = town.a.agent
        before, ended = agent.rss_kib(), agent.metric("culvert_hbone_sessions_abused_total")
        with playing(town, script) as peer, contextlib.closing(dial(town)) as connection:
            if how != "informational":
                assert connection.recv(1) == b"1"
                connection.sendall(b"x")
            for _ in range(5):
                others_work(town)
            connection.settimeout(scaled(20))
            with pytest.raises(ConnectionResetError):
                assert connection.recv(1), "a clean end"
            wait_for(lambda: codes or peer.errors, "the end of the connection")
            assert codes == [frames.ENHANCE_YOUR_CALM]
            assert agent.metric("culvert_hbone_sessions_abused_total") == ended + 1
        wait_for(lambda: town.a.agent.rss_kib() < before + 16 * 1024, "memory to be as before", 20)
        others_work(town)


def test_silence_is_asked_and_then_noticed(world):
    """A tunnel whose peer says nothing for PING's times, here made short, is closed, and its streams are reset."""
    town = found(world, hbone={"ping_interval": "1s", "ping_timeout": "2s"})
    pings = []

    def script(wire, number):
        if number > 1:
            echo(wire)
            return
        frame, _ = wire.wait_headers()
        wire.respond(frame.stream)
        wire.data(frame.stream, b"1")
        wire.answers = False
        with contextlib.suppress(frames.Closed):
            while True:
                if wire.next(60).kind == frames.PING:
                    pings.append(1)

    with playing(town, script), contextlib.closing(dial(town)) as connection:
        assert connection.recv(1) == b"1"
        with pytest.raises(ConnectionResetError):
            assert connection.recv(1)
        assert pings
        echoes(town)


def test_two_hundred_peers_come_and_go_and_the_pool_keeps_none_of_them(world, record_property):
    """Two hundred addresses of other nodes, twenty connected to at a time, three times; in the second round every tenth dies under the stream that it
    has just been given. That one may be a reset; the others, and its next one, are served. After the idle time no tunnel and no memory is left."""
    world.tunnel = {"offer": ["hbone"], "pool": {"idle_timeout": "3s"}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    count = 200
    world.more_workloads = [{"name": f"peer-{number}", "namespace": "shop", "service_account": "server", "addresses": [f"10.2.1.{number}"]}
                            for number in range(1, count + 1)]
    world.start_agents()
    client, server = world.add("client"), world.add("server", chain="plain")
    world.b.netns.run(["ip", "route", "add", "10.2.1.0/24", "via", server.v4])
    world.a.netns.run(["ip", "route", "add", "10.2.1.0/24", "via", world.b.v4])
    server.netns.run(["ip", "route", "add", "local", "10.2.1.0/24", "dev", "lo"])
    programs.echo_server(server, 80)

    def visit(number: int) -> bool:
        """False: a reset."""
        with contextlib.closing(connect(client, f"10.2.1.{number}", 80)) as connection:
            try:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x", "a clean end"
            except ConnectionError:
                return False
        return True

    dying: set[str] = set()
    killed: list[str] = []

    def die_or_not(fields: dict) -> None:
        host = fields[":authority"].removesuffix(":80")
        if host in dying:
            dying.remove(host)
            for link in wait_for(lambda: links_of(host), "the stream's own link to be listed"):
                link.tls.kill()
            killed.append(host)

    def links_of(host: str) -> list[h2peer.Link]:
        return [link for link in list(peer.links) if not link.ended and link.tls.sock.getsockname()[0] == f"::ffff:{host}"]

    everyone = range(1, count + 1)
    with h2peer.Server(server, tls13.Context(Authority.of(world).credentials(server.identity)), refuse=die_or_not) as peer, \
            concurrent.futures.ThreadPoolExecutor(max_workers=20) as pool:
        assert visit(1)
        before = world.a.agent.rss_kib()
        for doomed in ((), everyone[::10], ()):
            dying.update(f"10.2.1.{number}" for number in doomed)
            unserved = [number for number, is_served in zip(everyone, pool.map(visit, everyone)) if not is_served]
            assert set(unserved) <= set(doomed)
        assert not dying and len(killed) == len(everyone[::10])
        record_property("tunnels", peer.accepted)
        wait_for(lambda: world.a.agent.metric("culvert_tunnels_open") == 0, "the tunnels to be given up", 20)
        wait_for(lambda: world.a.agent.rss_kib() < before + 8 * 1024, f"memory to be near {before} KiB", 20)
        assert visit(7)
