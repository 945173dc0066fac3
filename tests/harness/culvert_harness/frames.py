# SPDX-License-Identifier: Apache-2.0
"""Wire: HTTP/2 frame by frame over TLS, for peers that do what no HTTP/2 library lets them do. HPACK is Debian's python3-hpack.

Nothing here is polite by itself, except that SETTINGS and PING of the other side are answered while `answers` is true.
"""

import contextlib
import socket
import struct
import typing

import hpack

from . import run, tls13

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION) = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED = 0x4, 0x8
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL,
 COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED) = range(14)
CODES = range(14)
ODD_SIZE = 100 if run.SLOW else 1000  # in records of one byte, each sealed by Python, 20,000 bytes take half a minute under emulation


class Frame(typing.NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def is_end(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return struct.unpack_from(">I", self.payload, 4 if self.kind == GOAWAY else 0)[0]

    @property
    def last_stream(self) -> int:
        return struct.unpack_from(">I", self.payload)[0]

    @property
    def settings(self) -> dict[int, int]:
        return dict(struct.iter_unpack(">HI", self.payload))

    @property
    def data(self) -> bytes:
        """Of DATA, without padding."""
        return self.payload[1:len(self.payload) - self.payload[0]] if self.flags & PADDED else self.payload


def pack(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def bomb(start: bytes) -> bytes:
    """A header block: 4 KiB in the table, named twelve thousand times by one byte each. 48 MiB of fields out of 16 KiB."""
    return start + b"\x40\x01x\x7f\xb1\x1e" + b"b" * 4016 + b"\xbe" * 12_000


class Closed(ConnectionError):
    """The other side has ended the connection."""


class Wire:
    def __init__(self, tls: tls13.Connection, *, is_client: bool):
        self.tls, self.is_client = tls, is_client
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.answers = True
        self.rest = b""
        self.peer_settings: dict[int, int] = {}
        self.go_aways: list[int] = []  # codes

    @classmethod
    def dial(cls, pod, host: str, context: tls13.Context, *, port: int = 15008, settings: dict[int, int] | None = None,
             greets: bool = True) -> "Wire":
        """A client in `pod`."""
        sock = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            sock.settimeout(run.scaled(10))
            sock.connect((host, port))
            made = cls(tls13.Connection(context, sock, is_server=False), is_client=True)
        except BaseException:
            sock.close()
            raise
        if greets:
            made.greet(settings)
        return made

    def greet(self, settings: dict[int, int] | None = None) -> None:
        self.raw((PREFACE if self.is_client else b"") + pack(SETTINGS, 0, 0, self._settings(settings or {})))

    def read_preface(self) -> None:
        """A server's first act."""
        self._fill(len(PREFACE))
        got, self.rest = self.rest[:len(PREFACE)], self.rest[len(PREFACE):]
        assert got == PREFACE, f"the client's preface is {got!r}"

    # Out.
    def raw(self, data: bytes) -> None:
        self.tls.send(data)

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self.raw(pack(kind, flags, stream, payload))

    @staticmethod
    def _settings(values: dict[int, int]) -> bytes:
        return b"".join(struct.pack(">HI", key, value) for key, value in values.items())

    def settings(self, values: dict[int, int]) -> None:
        self.frame(SETTINGS, 0, 0, self._settings(values))

    def headers(self, stream: int, fields: list[tuple[str, str]], *, end: bool = False) -> None:
        self.frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encoder.encode(fields))

    def connect(self, stream: int, authority: str, *fields: tuple[str, str]) -> None:
        self.headers(stream, [(":method", "CONNECT"), (":authority", authority), *fields])

    def respond(self, stream: int, status: int = 200) -> None:
        self.headers(stream, [(":status", str(status))], end=status != 200)

    def data(self, stream: int, payload: bytes = b"", *, end: bool = False, padding: int | None = None) -> None:
        flags = END_STREAM if end else 0
        if padding is not None:
            payload, flags = bytes([padding]) + payload + bytes(padding), flags | PADDED
        self.frame(DATA, flags, stream, payload)

    def odd_data(self, how: str, stream: int, number: int) -> bytes:
        """DATA number `number` of ODD_SIZE bytes, in a way that is allowed and that nobody else has (the words of the tests that call it).
        The bytes."""
        part = bytes([number]) * ODD_SIZE
        if how == "key updates":
            self.tls.update_keys(ask=number % 2 == 1)
        if how == "unknown frames":
            self.frame(0xEE, 0xFF, 0 if number % 2 else stream, b"nobody knows")
        if how == "priority":
            self.frame(PRIORITY, 0, stream, struct.pack(">IB", 0, number))
        if how == "empty data":
            self.data(stream)
        if how == "tiny records":
            self.tls.send_in_records_of(1, pack(DATA, 0, stream, part))
        else:
            self.data(stream, part, padding=255 if how == "padded frames" else None)
        return part

    def reset(self, stream: int, code: int = CANCEL) -> None:
        self.frame(RST_STREAM, 0, stream, struct.pack(">I", code))

    def window(self, stream: int, increment: int) -> None:
        self.frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))

    def go_away(self, last_stream: int, code: int = NO_ERROR) -> None:
        self.frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code))

    # In.
    def _fill(self, size: int, timeout: float | None = None) -> None:
        while len(self.rest) < size:
            try:
                got = self.tls.recv(65536, timeout)
            except TimeoutError:
                raise
            except OSError as error:
                raise Closed(str(error)) from error
            if not got:
                raise Closed("close_notify")
            self.rest += got

    def next(self, timeout: float | None = None) -> Frame:
        """The next frame, whatever it is. Closed, TimeoutError."""
        self._fill(9, timeout)
        length = int.from_bytes(self.rest[:3], "big")
        self._fill(9 + length, timeout)
        kind, flags = self.rest[3], self.rest[4]
        stream = struct.unpack_from(">I", self.rest, 5)[0] & 0x7FFFFFFF
        frame = Frame(kind, flags, stream, self.rest[9:9 + length])
        self.rest = self.rest[9 + length:]
        if kind == SETTINGS and not flags & ACK:
            self.peer_settings |= frame.settings
        if kind == GOAWAY:
            self.go_aways.append(frame.code)
        if self.answers and kind in (SETTINGS, PING) and not flags & ACK:
            with contextlib.suppress(OSError):  # who has gone away may still have said things that are to be read
                self.frame(kind, ACK, 0, frame.payload if kind == PING else b"")
        return frame

    def wait(self, kind: int, stream: int | None = None, timeout: float | None = None) -> Frame:
        """The next frame of this kind; what comes before it is dropped. A RST_STREAM of the stream in its place fails."""
        while True:
            frame = self.next(timeout)
            if frame.kind == kind and stream in (None, frame.stream) and not (kind in (SETTINGS, PING) and frame.flags & ACK):
                return frame
            if frame.kind == RST_STREAM and stream == frame.stream:
                raise AssertionError(f"stream {stream} was reset with code {frame.code}")

    def wait_headers(self, stream: int | None = None) -> tuple[Frame, dict[str, str]]:
        """The next HEADERS. All that comes before is looked at, since HPACK has state."""
        while True:
            frame = self.next()
            if frame.kind == HEADERS:
                assert frame.flags & END_HEADERS, "header blocks of tests fit a frame"
                fields = dict(self.decoder.decode(frame.payload))
                if stream in (None, frame.stream):
                    return frame, fields
            if frame.kind == RST_STREAM and stream == frame.stream:
                raise AssertionError(f"stream {stream} was reset with code {frame.code}")

    def open(self, stream: int, authority: str, *fields: tuple[str, str]) -> int:
        """CONNECT, and the status of the answer."""
        self.connect(stream, authority, *fields)
        return int(self.wait_headers(stream)[1][":status"])

    def read_data(self, stream: int, size: int, *, gives_back: bool = True) -> bytes:
        """So many bytes of the stream; at its end what there was."""
        got = b""
        while len(got) < size:
            frame = self.wait(DATA, stream)
            got += frame.data
            if gives_back and frame.payload:
                self.window(0, len(frame.payload))
                self.window(stream, len(frame.payload))
            if frame.is_end:
                break
        return got

    def until_closed(self, timeout: float = 10.0) -> list[Frame]:
        """Everything up to the end of the connection, which must come."""
        frames = []
        while True:
            try:
                frames.append(self.next(run.scaled(timeout)))
            except Closed:
                return frames

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.tls.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()
