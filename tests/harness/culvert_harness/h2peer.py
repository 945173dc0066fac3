# SPDX-License-Identifier: Apache-2.0
"""An HBONE peer by another HTTP/2 implementation, Debian's python3-h2, in both roles: Link is a connection, Stream a tunnel in it
that is used like a socket, Server an HBONE server in a pod, and Scripted one that a test's function plays frame by frame.
"""

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from . import frames, run, tls13
from .pod import Pod

WINDOW, FRAME = 1 << 20, 1 << 18


class StreamReset(ConnectionResetError):
    def __init__(self, code: int):
        super().__init__(f"RST_STREAM, code {code}")
        self.code = code


class Stream:
    """One CONNECT. `fields` is what the other side's HEADERS said."""

    def __init__(self, link: "Link", number: int):
        self.link, self.number = link, number
        self.fields: dict[str, str] = {}
        self.inbox, self.is_ended, self.code = bytearray(), False, None

    @property
    def status(self) -> int:
        """Of the answer, once it is here."""
        self.link.until(lambda: ":status" in self.fields or self.code is not None)
        if self.code is not None and ":status" not in self.fields:
            raise StreamReset(self.code)
        return int(self.fields[":status"])

    def recv(self, size: int = 1 << 20) -> bytes:
        """b"" at END_STREAM. What is read here is what flow control gives back."""
        self.link.until(lambda: self.inbox or self.is_ended or self.code is not None)
        with self.link.changed:
            got = bytes(self.inbox[:size])
            del self.inbox[:size]
            if got:
                self.link.give_back(self.number, len(got))
                return got
            if self.code is not None:
                raise StreamReset(self.code)
            return b""

    def recv_exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size and (part := self.recv(size - len(got))):
            got += part
        return got

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self.link.until(lambda: self.code is not None or self.link.window(self.number) > 0)
            if self.code is not None:
                raise StreamReset(self.code)
            size = min(len(view), self.link.window(self.number))
            self.link.do(lambda h, part=bytes(view[:size]): h.send_data(self.number, part))
            view = view[size:]

    def shutdown(self) -> None:
        """END_STREAM."""
        self.link.do(lambda h: h.end_stream(self.number))

    def reset(self, code: int = frames.CANCEL) -> None:
        self.link.do(lambda h: h.reset_stream(self.number, code))

    def respond(self, status: int = 200, *fields: tuple[str, str]) -> None:
        self.link.do(lambda h: h.send_headers(self.number, [(":status", str(status)), *fields], end_stream=status != 200))


class Link:
    """One connection: a thread reads, another writes; streams are used from any thread."""

    def __init__(self, tls: tls13.Connection, *, is_client: bool, on_stream: Callable[[Stream], None] | None = None, window: int = WINDOW,
                 streams: int = 1000, into: list["Link"] | None = None):
        """It is in the list `into` before it answers anything."""
        self.tls, self.on_stream = tls, on_stream
        # The library takes only requests with scheme and path for good ones; CONNECT has neither, and is checked by `_request`.
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=is_client, header_encoding="utf-8", validate_inbound_headers=False,
                                                                       validate_outbound_headers=False))
        codes = h2.settings.SettingCodes
        self.h2.local_settings = h2.settings.Settings(client=is_client, initial_values={
            codes.INITIAL_WINDOW_SIZE: window, codes.MAX_FRAME_SIZE: FRAME, codes.MAX_CONCURRENT_STREAMS: streams})
        self.h2.max_inbound_frame_size = FRAME
        self.changed = threading.Condition(threading.RLock())
        self.streams: dict[int, Stream] = {}
        self.ended: BaseException | str = ""
        self._out: queue.SimpleQueue = queue.SimpleQueue()
        self.do(lambda h: (h.initiate_connection(), h.increment_flow_control_window(1 << 24)))
        if into is not None:
            into.append(self)
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    @classmethod
    def dial(cls, pod: Pod, host: str, context: tls13.Context, *, port: int = 15008, **options) -> "Link":
        sock = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock.settimeout(run.scaled(10))
            sock.connect((host, port))
            return cls(tls13.Connection(context, sock, is_server=False), is_client=True, **options)
        except BaseException:
            sock.close()
            raise

    def open(self, authority: str, *fields: tuple[str, str]) -> Stream:
        """A client's CONNECT; the answer is the stream's `status`."""
        with self.changed:
            number = self.h2.get_next_available_stream_id()
            stream = self.streams[number] = Stream(self, number)
            self.do(lambda h: h.send_headers(number, [(":method", "CONNECT"), (":authority", authority), *fields]))
        return stream

    def do(self, act: Callable) -> None:
        with self.changed:
            try:
                act(self.h2)
            except h2.exceptions.ProtocolError as error:  # mostly: the stream is gone already
                raise ConnectionResetError(str(error)) from error
            finally:
                self._out.put(self.h2.data_to_send())

    def window(self, number: int) -> int:
        with self.changed:
            try:
                return min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            except h2.exceptions.ProtocolError:
                return 1 if self.streams[number].code is not None else 0

    def give_back(self, number: int, size: int) -> None:
        with contextlib.suppress(ConnectionResetError):
            self.do(lambda h: h.acknowledge_received_data(size, number))

    def until(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended or condition(), run.scaled(timeout)):
                raise TimeoutError("the peer did not do it in time")
            if self.ended and not condition():
                raise ConnectionResetError(f"the connection has ended: {self.ended}")

    def close(self) -> None:
        with self.changed:
            self.ended = self.ended or "closed here"
            self.changed.notify_all()
        self._out.put(None)
        self.tls.close()

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while (data := self._out.get()) is not None:
                self.tls.send(data, 3600)

    def _read(self) -> None:
        try:
            while data := self.tls.recv(1 << 16, 3600):
                with self.changed:
                    events = self.h2.receive_data(data)
                    self._out.put(self.h2.data_to_send())
                    for event in events:
                        self._handle(event)
                    self.changed.notify_all()
            end: BaseException | str = "close_notify"
        except (OSError, h2.exceptions.ProtocolError) as error:
            end = error
        with self.changed:
            self._out.put(self.h2.data_to_send())
            self.ended = self.ended or end
            self.changed.notify_all()

    def _handle(self, event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = Stream(self, event.stream_id)
            stream.fields = dict(event.headers)
            if self.on_stream:
                threading.Thread(target=self.on_stream, args=(stream,), daemon=True).start()
        elif isinstance(event, h2.events.ResponseReceived) and stream:
            stream.fields = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived) and stream:
            stream.inbox += event.data
            if padding := event.flow_controlled_length - len(event.data):
                self.give_back(event.stream_id, padding)
        elif isinstance(event, h2.events.StreamEnded) and stream:
            stream.is_ended = True
        elif isinstance(event, h2.events.StreamReset) and stream:
            stream.code = int(event.error_code)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ended = self.ended or f"GOAWAY, code {int(event.error_code)}"


class Acceptor:
    """A listener on the pod's tunnel port; a thread for each connection. What a thread raises is kept in `errors`."""

    def __init__(self, pod: Pod, context: tls13.Context, *, port: int = 15008):
        self.pod, self.context = pod, context
        self.errors: list[BaseException] = []
        self.accepted = 0
        self.listener = pod.netns.socket(socket.AF_INET6)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.listener.bind(("::", port))
        self.listener.listen(512)
        self.open: list[tls13.Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.accepted += 1
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        try:
            connection = tls13.Connection(self.context, sock, is_server=True)
            self.open.append(connection)
            self.serve(connection)
        except BaseException as error:  # told by the test that looks at `errors`
            self.errors.append(error)

    def serve(self, connection: tls13.Connection) -> None:
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            connection.close()

    def __enter__(self) -> "Acceptor":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()


class Scripted(Acceptor):
    """`script(wire, number)` is the whole of connection `number` (from 1), from the client's preface on; it closes when it returns."""

    def __init__(self, pod: Pod, context: tls13.Context, script: Callable[[frames.Wire, int], None], *, port: int = 15008):
        self.script = script
        super().__init__(pod, context, port=port)

    def serve(self, connection: tls13.Connection) -> None:
        number = self.accepted
        with frames.Wire(connection, is_client=False) as wire:
            self.script(wire, number)


class Server(Acceptor):
    """Terminates CONNECT to TCP inside its pod. `refuse(fields)` may name another status than 200. `requests` is what was asked."""

    def __init__(self, pod: Pod, context: tls13.Context, *, refuse: Callable[[dict], int | None] | None = None, window: int = WINDOW,
                 streams: int = 1000):
        self.refuse, self.window, self.limit = refuse, window, streams
        self.requests: list[dict[str, str]] = []
        self.links: list[Link] = []
        super().__init__(pod, context)

    def serve(self, connection: tls13.Connection) -> None:
        Link(connection, is_client=False, on_stream=self._stream, window=self.window, streams=self.limit, into=self.links)

    def _stream(self, stream: Stream) -> None:
        self.requests.append(stream.fields)
        try:
            assert stream.fields[":method"] == "CONNECT" and not {":scheme", ":path"} & set(stream.fields), stream.fields
            refused = self.refuse(stream.fields) if self.refuse else None
            if refused:
                stream.respond(refused)
                return
            host, _, port = stream.fields[":authority"].rpartition(":")
            application = self.pod.netns.socket(socket.AF_INET6 if "[" in host else socket.AF_INET)
            with contextlib.closing(application):
                try:
                    application.connect((host.strip("[]"), int(port)))
                except OSError:
                    stream.respond(503)
                    return
                stream.respond(200)
                relay(stream, application)
        except (OSError, AssertionError) as error:
            self.errors.append(error)


def relay(stream: Stream, application: socket.socket) -> None:
    """Until both directions have ended; a reset goes on as a reset."""
    def outwards() -> None:
        try:
            while data := application.recv(1 << 16):
                stream.sendall(data)
            stream.shutdown()
        except OSError as error:
            with contextlib.suppress(OSError):
                if not isinstance(error, StreamReset):
                    stream.reset(frames.CANCEL)

    thread = threading.Thread(target=outwards, daemon=True)
    thread.start()
    try:
        while data := stream.recv():
            application.sendall(data)
        application.shutdown(socket.SHUT_WR)
    except OSError:
        application.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # close() alone waits for the other thread's recv, which holds the socket.
        with contextlib.suppress(OSError):
            application.shutdown(socket.SHUT_RD)
        with contextlib.suppress(OSError):
            stream.reset(frames.CANCEL)
    thread.join()
