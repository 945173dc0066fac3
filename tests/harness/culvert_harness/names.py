# SPDX-License-Identifier: Apache-2.0
"""A DNS server for tests: answers A and AAAA out of a table that the test changes, and remembers what it was asked."""

import contextlib
import ipaddress
import socket
import struct
import threading

from .netns import Netns

A, AAAA = 1, 28


class NameServer:
    """UDP on `address`:53 inside a namespace. `table`: name without the last dot -> addresses. Unknown names do not exist."""

    def __init__(self, netns: Netns, address: str = "127.0.0.1", *, ttl_s: int = 1):
        self.table: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.ttl_s = ttl_s
        self.socket = netns.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, client = self.socket.recvfrom(1500)
                with contextlib.suppress(IndexError, struct.error):
                    self.socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name = ".".join(labels).lower()
        (kind,) = struct.unpack_from(">H", query, at + 1)
        question = query[12:at + 5]
        self.asked.append(name)
        found = [ipaddress.ip_address(text) for text in self.table.get(name, ())]
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, self.ttl_s, len(ip.packed)) + ip.packed for ip in found
                           if ip.version == {A: 4, AAAA: 6}.get(kind))
        count = sum(1 for ip in found if ip.version == {A: 4, AAAA: 6}.get(kind))
        code = 0 if name in self.table else 3
        return query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, count, 0, 0) + question + records

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "NameServer":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()
