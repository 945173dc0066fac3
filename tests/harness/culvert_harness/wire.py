# SPDX-License-Identifier: Apache-2.0
"""Wire: a TCP port in a namespace that leads to a unix socket, byte for byte, until a test refuses, holds or cuts it."""

import contextlib
import socket
import struct
import threading

from .netns import Netns

CHUNK = 1 << 18
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of a close that sends RST


class Wire:
    """Listens on 127.0.0.1:`port` of `netns`. `accepted` counts connections."""

    def __init__(self, netns: Netns, path: str, port: int = 0):
        self.netns, self.path, self.port = netns, path, port
        self.accepted = 0
        self.open_ = threading.Event()
        self.open_.set()
        self.lock = threading.Lock()
        self.sockets: set[socket.socket] = set()
        self.listener: socket.socket | None = None
        self.accept()

    # Who asks to connect.
    def accept(self) -> None:
        """Connections are taken (again)."""
        assert self.listener is None
        listener = self.netns.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self.listener = listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """New connections get RST, as where no process listens; those that are open go on."""
        if self.listener is not None:
            # close() alone leaves the thread in accept(), and the socket listening for it.
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None

    # What is open.
    def hold(self) -> None:
        """No byte goes either way any more; connections stay and are taken: a peer that has stopped, or a path that eats everything."""
        self.open_.clear()

    def release(self) -> None:
        self.open_.set()

    def cut(self) -> None:
        """RST to everybody, as a killed process's kernel does it for what it had not read."""
        with self.lock:
            sockets, self.sockets = self.sockets, set()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self.refuse()
        self.cut()
        self.open_.set()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                threading.Thread(target=self._pair, args=(client,), daemon=True).start()

    def _pair(self, client: socket.socket) -> None:
        self.open_.wait()
        server = socket.socket(socket.AF_UNIX)
        with self.lock:
            self.sockets |= {client, server}
        try:
            server.connect(self.path)
        except OSError:
            self._drop(client, server)
            return
        threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
        self._copy(client, server)

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self.open_.wait()
                target.sendall(data)
        self._drop(source, target)

    def _drop(self, *sockets: socket.socket) -> None:
        with self.lock:
            self.sockets -= set(sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
