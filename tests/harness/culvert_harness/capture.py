# SPDX-License-Identifier: Apache-2.0
"""Packet capture by tcpdump, and a reader of its files: Ethernet, IPv4, IPv6, TCP, and the framing of TLS records."""

import contextlib
import dataclasses
import ipaddress
import pathlib
import signal
import socket
import struct
from collections.abc import Iterator

from . import run
from .netns import Netns

TUNNEL_PORT = 15008
TLS_TYPES = {20, 21, 22, 23}
# Of our own: an ethertype for experiments (IEEE 802), from and to nobody.
END_TYPE = 0x88B5
END_WORD = b"culvert: the end of this capture"
END_MARK = bytes(12) + END_TYPE.to_bytes(2, "big") + END_WORD.ljust(46, b".")


@dataclasses.dataclass(frozen=True)
class Segment:
    source: str
    source_port: int
    destination: str
    destination_port: int
    sequence: int
    flags: int
    payload: bytes

    SYN, FIN, RST = 0x02, 0x01, 0x04

    @property
    def flow(self) -> tuple[str, int, str, int]:
        return self.source, self.source_port, self.destination, self.destination_port

    @property
    def ports(self) -> tuple[int, int]:
        return self.source_port, self.destination_port


class Capture:
    def __init__(self, netns: Netns, interface: str, path: pathlib.Path, expression: str = ""):
        self.netns, self.interface, self.path, self.expression = netns, interface, path, expression
        self.daemon: run.Daemon | None = None

    def start(self) -> None:
        command = ["tcpdump", "-i", self.interface, "-w", str(self.path), "-U", "--immediate-mode", "-B", "16384", "-s", "0", "-n",
                   "-Z", "root"]
        if self.expression:
            command.append(f"({self.expression}) or ether proto {END_TYPE:#x}")
        self.daemon = run.Daemon(self.netns.command(command), self.path.with_suffix(".log"))
        daemon = self.daemon
        run.wait_for(lambda: "listening on" in daemon.output(), f"tcpdump on {self.interface}")

    def stop(self) -> "Capture":
        """Ends the capture, with everything up to now in the file: tcpdump leaves behind what it has not read when it is told to end."""
        if self.daemon is not None:
            if self.daemon.is_running():
                self._mark_end()
                self.daemon.signal(signal.SIGINT)
                self.daemon.wait(10)
            self.daemon = None
        return self

    def _mark_end(self) -> None:
        """A frame that no stack looks at, and that comes behind everything else; sent until it is in the file, since a full ring takes
        none. An interface that is down, or gone, takes none either, and is silent."""
        with contextlib.suppress(OSError), self.netns.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender, self.path.open("rb") as reader:
            sender.bind(("lo" if self.interface == "any" else self.interface, 0))
            sender.send(END_MARK)
            tail = b""

            def is_marked() -> bool:
                nonlocal tail
                tail = tail[-len(END_WORD):] + reader.read()
                if END_WORD in tail:
                    return True
                sender.send(END_MARK)
                return False
            run.wait_for(is_marked, "tcpdump to have read all that was captured")

    # Reading.
    def packets(self) -> Iterator[bytes]:
        return (packet for packet in self._all_packets() if END_WORD not in packet)

    def _all_packets(self) -> Iterator[bytes]:
        data = self.path.read_bytes()
        magic = data[:4]
        order = "<" if magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        offset = 24
        while offset + 16 <= len(data):
            (kept,) = struct.unpack_from(order + "I", data, offset + 8)
            yield data[offset + 16:offset + 16 + kept]
            offset += 16 + kept

    def segments(self) -> Iterator[Segment]:
        for packet in self.packets():
            segment = parse_tcp(packet)
            if segment:
                yield segment

    def contains(self, needle: bytes) -> bool:
        """Whether these bytes stand in any packet, whatever its protocol, or across the segments of a TCP stream."""
        if any(needle in packet for packet in self.packets()):
            return True
        return any(needle in stream for stream in self.streams().values())

    def streams(self) -> dict[tuple[str, int, str, int], bytes]:
        """Each direction's bytes in order, from its first SYN on and up to the first gap."""
        start: dict[tuple, int] = {}
        parts: dict[tuple, dict[int, bytes]] = {}
        for segment in self.segments():
            if segment.flags & Segment.SYN:
                start[segment.flow] = (segment.sequence + 1) & 0xFFFFFFFF
                parts[segment.flow] = {}
            elif segment.payload and segment.flow in start:
                at = (segment.sequence - start[segment.flow]) & 0xFFFFFFFF
                if at < 0x80000000:
                    known = parts[segment.flow].get(at, b"")
                    if len(segment.payload) > len(known):
                        parts[segment.flow][at] = segment.payload
        joined = {}
        for flow, pieces in parts.items():
            stream = bytearray()
            for at in sorted(pieces):
                if at > len(stream):
                    break
                stream[at:at + len(pieces[at])] = pieces[at]
            joined[flow] = bytes(stream)
        return joined

    # What a capture of the link between two nodes must look like.
    def assert_only_tunnels(self, *addresses: str) -> None:
        """All TCP of these addresses (of all, when none is given) goes to or from 15008, and all of it is TLS records."""
        wanted = set(addresses)
        seen = 0
        for segment in self.segments():
            if wanted and not {segment.source, segment.destination} & wanted:
                continue
            seen += 1
            assert TUNNEL_PORT in segment.ports, f"TCP beside the tunnel on the link: {segment.flow} flags {segment.flags:#x} " \
                f"payload {segment.payload[:80]!r}"
        assert seen, "the capture holds no TCP of these addresses at all"
        for flow, stream in self.streams().items():
            if not wanted or {flow[0], flow[2]} & wanted:
                assert_tls_records(stream, flow)


def assert_tls_records(stream: bytes, flow: object) -> None:
    at = 0
    while at + 5 <= len(stream):
        kind, version, length = stream[at], stream[at + 1], int.from_bytes(stream[at + 3:at + 5], "big")
        assert kind in TLS_TYPES and version == 3 and length <= 16384 + 256, \
            f"no TLS record at byte {at} of {flow}: {stream[at:at + 40]!r}"
        at += 5 + length


def parse_tcp(packet: bytes) -> Segment | None:
    if len(packet) < 14:
        return None
    kind = int.from_bytes(packet[12:14], "big")
    ip = packet[14:]
    if kind == 0x0800 and len(ip) >= 20 and ip[9] == 6:
        header = (ip[0] & 15) * 4
        total = int.from_bytes(ip[2:4], "big") or len(ip)  # 0: a segment for offloading, longer than the field can say
        source, destination = str(ipaddress.IPv4Address(ip[12:16])), str(ipaddress.IPv4Address(ip[16:20]))
        tcp = ip[header:total]
    elif kind == 0x86DD and len(ip) >= 40 and ip[6] == 6:
        length = int.from_bytes(ip[4:6], "big")
        source, destination = str(ipaddress.IPv6Address(ip[8:24])), str(ipaddress.IPv6Address(ip[24:40]))
        tcp = ip[40:40 + length] if length else ip[40:]
    else:
        return None
    if len(tcp) < 20:
        return None
    source_port, destination_port, sequence = struct.unpack_from(">HHI", tcp)
    return Segment(source, source_port, destination, destination_port, sequence, tcp[13], tcp[(tcp[12] >> 4) * 4:])
