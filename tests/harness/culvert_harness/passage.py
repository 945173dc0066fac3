# SPDX-License-Identifier: Apache-2.0
"""Passage: a unix socket that leads to a TCP address as a namespace sees it, for clients that can only be told a name (gRPC's channel)."""

import contextlib
import os
import socket
import threading

from .netns import Netns


class Passage:
    """While the block runs, `target` names it for gRPC."""

    def __init__(self, netns: Netns, address: tuple[str, int], path: str):
        self.netns, self.address, self.path = netns, address, path

    @property
    def target(self) -> str:
        return f"unix:{self.path}"

    def __enter__(self) -> "Passage":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_exc) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(near,), daemon=True).start()

    def _lead(self, near: socket.socket) -> None:
        far = self.netns.socket()
        try:
            far.connect(self.address)
        except OSError:
            near.close()
            far.close()
            return
        other = threading.Thread(target=_copy, args=(far, near), daemon=True)
        other.start()
        _copy(near, far)
        other.join()
        near.close()
        far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
