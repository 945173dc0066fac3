# SPDX-License-Identifier: Apache-2.0
"""TLS 1.3 with certificates on both sides by OpenSSL's libssl, called directly: Python's own ssl module can neither update keys nor
pad records, and both are what a peer may do to Culvert.

A Connection may be used by several threads: each call of libssl is short and under one lock, waiting happens outside.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import threading
import time

from . import run
from .authority import Credentials

_TLS13, _FILETYPE_PEM = 0x0304, 1
_VERIFY_PEER, _FAIL_WITHOUT = 1, 2
_WANT_READ, _WANT_WRITE, _SYSCALL, _ZERO_RETURN = 2, 3, 5, 6
_CTRL_MODE, _CTRL_MIN_VERSION = 33, 123
_PARTIAL_WRITE, _MOVING_BUFFER = 1, 2
_UPDATE_OURS, _UPDATE_BOTH = 0, 1


class TlsError(ConnectionError):
    """What libssl says, or the peer's alert."""


_P, _I, _L, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p
_SELECT = ctypes.CFUNCTYPE(_I, _P, ctypes.POINTER(_P), ctypes.POINTER(ctypes.c_ubyte), _P, ctypes.c_uint, _P)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL("libssl.so.3", use_errno=True)
    for name, result, *arguments in (
            ("TLS_method", _P), ("SSL_CTX_new", _P, _P), ("SSL_CTX_free", None, _P), ("SSL_CTX_ctrl", _L, _P, _I, _L, _P),
            ("SSL_CTX_use_certificate_chain_file", _I, _P, _S), ("SSL_CTX_use_PrivateKey_file", _I, _P, _S, _I),
            ("SSL_CTX_load_verify_locations", _I, _P, _S, _S), ("SSL_CTX_set_verify", None, _P, _I, _P),
            ("SSL_CTX_set_alpn_protos", _I, _P, _S, ctypes.c_uint), ("SSL_CTX_set_alpn_select_cb", None, _P, _SELECT, _P),
            ("SSL_set_block_padding", _I, _P, ctypes.c_size_t), ("SSL_CTX_set_session_id_context", _I, _P, _S, ctypes.c_uint),
            ("SSL_new", _P, _P), ("SSL_free", None, _P), ("SSL_set_fd", _I, _P, _I), ("SSL_set_accept_state", None, _P),
            ("SSL_set_connect_state", None, _P), ("SSL_do_handshake", _I, _P), ("SSL_read", _I, _P, _P, _I), ("SSL_write", _I, _P, _S, _I),
            ("SSL_get_error", _I, _P, _I), ("SSL_shutdown", _I, _P), ("SSL_key_update", _I, _P, _I), ("SSL_pending", _I, _P),
            ("SSL_get0_alpn_selected", None, _P, ctypes.POINTER(_P), ctypes.POINTER(ctypes.c_uint)), ("SSL_get_version", _S, _P),
            ("SSL_get1_peer_certificate", _P, _P)):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Context:
    """One end's credentials. `alpn`: offered by a client, chosen from by a server, in order of preference. `padding`: every record
    after the handshake is padded up to a multiple of it."""

    def __init__(self, credentials: Credentials, *, alpn: tuple[str, ...] = ("h2",), padding: int = 0):
        self.library = _load()
        library = self.library
        self.pointer = library.SSL_CTX_new(library.TLS_method())
        self.alpn = alpn
        library.SSL_CTX_ctrl(self.pointer, _CTRL_MIN_VERSION, _TLS13, None)
        library.SSL_CTX_ctrl(self.pointer, _CTRL_MODE, _PARTIAL_WRITE | _MOVING_BUFFER, None)
        for worked, what in (
                (library.SSL_CTX_use_certificate_chain_file(self.pointer, credentials.certificate.encode()), credentials.certificate),
                (library.SSL_CTX_use_PrivateKey_file(self.pointer, credentials.key.encode(), _FILETYPE_PEM), credentials.key),
                (library.SSL_CTX_load_verify_locations(self.pointer, credentials.ca.encode(), None), credentials.ca)):
            if worked != 1:
                raise TlsError(f"{what}: {_reasons()}")
        library.SSL_CTX_set_verify(self.pointer, _VERIFY_PEER | _FAIL_WITHOUT, None)
        library.SSL_CTX_set_session_id_context(self.pointer, b"peer", 4)
        self.padding = padding
        wire = b"".join(bytes([len(name)]) + name.encode() for name in alpn)
        if alpn:
            library.SSL_CTX_set_alpn_protos(self.pointer, wire, len(wire))
        self._chosen = {name: ctypes.create_string_buffer(name.encode()) for name in alpn}
        self._select = _SELECT(self._choose)  # must live as long as libssl may call it
        library.SSL_CTX_set_alpn_select_cb(self.pointer, self._select, None)

    def _choose(self, _ssl, out, out_length, offered, offered_length, _argument) -> int:
        names = ctypes.string_at(offered, offered_length)
        listed, at = [], 0
        while at < len(names):
            listed.append(names[at + 1:at + 1 + names[at]].decode())
            at += 1 + names[at]
        for name in self.alpn:
            if name in listed:
                out[0], out_length[0] = ctypes.addressof(self._chosen[name]), len(name)
                return 0
        return 2  # a fatal alert: no protocol in common

    def __del__(self) -> None:
        self.library.SSL_CTX_free(self.pointer)


class Connection:
    """Over a connected socket, which it owns. Raises TlsError, ConnectionError or TimeoutError."""

    def __init__(self, context: Context, sock: socket.socket, *, is_server: bool, timeout: float = 10.0):
        self.context, self.sock, self.timeout = context, sock, run.scaled(timeout)
        self._library, self._lock = context.library, threading.Lock()
        self._waiting, self._no_one_waits = 0, threading.Condition(self._lock)
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ssl = self._library.SSL_new(context.pointer)
        self._library.SSL_set_fd(self._ssl, sock.fileno())
        (self._library.SSL_set_accept_state if is_server else self._library.SSL_set_connect_state)(self._ssl)
        try:
            self._until_done(lambda ssl: self._library.SSL_do_handshake(ssl))
            if context.padding:
                self._library.SSL_set_block_padding(self._ssl, context.padding)
        except BaseException:
            self.close(politely=False)
            raise

    def _until_done(self, call, timeout: float | None = None) -> int:
        """The call's positive result; 0 at the peer's close_notify."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            with self._lock:
                if self._ssl is None:
                    raise TlsError("closed here")
                _clear()
                ctypes.set_errno(0)
                result = call(self._ssl)
                error = 0 if result > 0 else self._library.SSL_get_error(self._ssl, result)
                number, reasons = ctypes.get_errno(), _reasons() if error not in (0, _WANT_READ, _WANT_WRITE, _ZERO_RETURN) else ""
                self._waiting += error in (_WANT_READ, _WANT_WRITE)
            if error == 0:
                return result
            if error == _ZERO_RETURN:
                return 0
            if error == _SYSCALL and number:
                raise OSError(number, os.strerror(number))  # the fitting subclass: ConnectionResetError and so on
            if error not in (_WANT_READ, _WANT_WRITE):
                raise TlsError(reasons or "the connection ended without close_notify")
            try:
                self._wait(select.POLLIN if error == _WANT_READ else select.POLLOUT, deadline)
            finally:
                with self._lock:
                    self._waiting -= 1
                    self._no_one_waits.notify_all()

    def _wait(self, event: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(self.sock.fileno(), event)
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise TimeoutError("the peer is silent" if event == select.POLLIN else "the peer takes nothing")

    # Bytes.
    def recv(self, size: int = 65536, timeout: float | None = None) -> bytes:
        """Of one record at most; b"" at close_notify."""
        buffer = ctypes.create_string_buffer(size)
        count = self._until_done(lambda ssl: self._library.SSL_read(ssl, buffer, size), timeout)
        return buffer[:count]

    def send(self, data: bytes, timeout: float | None = None) -> None:
        while data:
            part = data[:16384]
            data = data[self._until_done(lambda ssl: self._library.SSL_write(ssl, part, len(part)), timeout):]

    def send_in_records_of(self, size: int, data: bytes) -> None:
        for at in range(0, len(data), size):
            self.send(data[at:at + size])

    def update_keys(self, *, ask: bool = False) -> None:
        """KeyUpdate goes out with the next record; `ask`: the peer must do it, too."""
        with self._lock:
            assert self._library.SSL_key_update(self._ssl, _UPDATE_BOTH if ask else _UPDATE_OURS) == 1, _reasons()

    @property
    def alpn(self) -> str:
        name, length = _P(), ctypes.c_uint()
        with self._lock:
            self._library.SSL_get0_alpn_selected(self._ssl, ctypes.byref(name), ctypes.byref(length))
        return ctypes.string_at(name, length.value).decode() if length.value else ""

    @property
    def peer_serial(self) -> str:
        """Of the other side's certificate, in decimal, as `culvertctl certificates` has it."""
        with self._lock:
            certificate = self._library.SSL_get1_peer_certificate(self._ssl)
        number = _crypto.ASN1_INTEGER_to_BN(_crypto.X509_get0_serialNumber(certificate), None)
        text = _crypto.BN_bn2dec(number)
        try:
            return ctypes.string_at(text).decode()
        finally:
            _crypto.CRYPTO_free(text, None, 0)
            _crypto.BN_free(number)
            _crypto.X509_free(certificate)

    # The end.
    def close(self, *, politely: bool = True) -> None:
        """close_notify and FIN, or only FIN."""
        with self._lock:
            if self._ssl is None:
                return
            if politely:
                self._library.SSL_shutdown(self._ssl)
            self._library.SSL_free(self._ssl)
            self._ssl = None
        self._close(socket.SHUT_RDWR)

    def kill(self) -> None:
        """RST, as when the process dies with data unread."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with self._lock:
            if self._ssl is not None:
                self._library.SSL_free(self._ssl)
                self._ssl = None
        self._close(socket.SHUT_RD)

    def _close(self, how: int) -> None:
        """Once the other threads have left poll(), which holds the socket, and would go on with the next one that has its number."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(how)
        with self._lock:
            self._no_one_waits.wait_for(lambda: not self._waiting, 5)
        self.sock.close()


_crypto = ctypes.CDLL("libcrypto.so.3")
_crypto.ERR_get_error.restype = ctypes.c_ulong
_crypto.ERR_error_string_n.argtypes = [ctypes.c_ulong, _S, ctypes.c_size_t]
for _name, _result, *_arguments in (("X509_get0_serialNumber", _P, _P), ("ASN1_INTEGER_to_BN", _P, _P, _P), ("BN_bn2dec", _P, _P), ("BN_free", None, _P),
                                    ("X509_free", None, _P), ("CRYPTO_free", None, _P, _S, _I)):
    getattr(_crypto, _name).restype, getattr(_crypto, _name).argtypes = _result, _arguments


def _clear() -> None:
    _crypto.ERR_clear_error()


def _reasons() -> str:
    """Empties this thread's queue of errors."""
    found = []
    while code := _crypto.ERR_get_error():
        text = ctypes.create_string_buffer(256)
        _crypto.ERR_error_string_n(code, text, 256)
        found.append(text.value.decode().split(":")[-1])
    return "; ".join(found)
