# SPDX-License-Identifier: Apache-2.0
"""A scripted istio-cni: the server's side of its socket, and the rules that it puts into a pod. Messages are encoded by hand."""

import array
import contextlib
import os
import pathlib
import socket
import threading
import uuid

from . import run
from .pod import Pod

PROBE_V4, PROBE_V6 = "169.254.7.127", "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def add_message(uid: str, name: str, namespace: str, account: str) -> bytes:
    info = field(1, name.encode()) + field(2, namespace.encode()) + field(3, account.encode())
    return field(1, field(1, uid.encode()) + field(2, info))


def delete_message(uid: str) -> bytes:
    return field(2, field(2, uid.encode()))


def keep_message(uid: str) -> bytes:
    return field(5, field(1, uid.encode()))


SNAPSHOT = field(3, b"")


def uid_of(pod: Pod) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, pod.netns.name))


class Refused(run.NotYet):
    """The agent's ack has an error."""


class Peer:
    """One connected agent."""

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self.connection.settimeout(run.scaled(10))
        self.hello = connection.recv(1024)

    def send(self, message: bytes, descriptors: list[int] | None = None) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.connection.sendmsg([message], ancillary)

    def ask(self, message: bytes, descriptors: list[int] | None = None) -> None:
        """Sends and waits for the ack; Refused when it carries an error."""
        self.send(message, descriptors)
        answer = self.connection.recv(1024)
        assert answer[:1] == b"\x0a", answer  # WorkloadResponse.ack
        body = answer[2:] if answer[1] < 0x80 else answer[3:]
        if body:
            raise Refused(body.decode(errors="replace"))

    def add(self, pod: Pod, *, uid: str = "") -> None:
        with netns_fd(pod) as fd:
            self.ask(add_message(uid or uid_of(pod), pod.name, pod.workload.namespace, pod.workload.service_account), [fd])

    def is_closed(self) -> bool:
        try:
            return self.connection.recv(1024) == b""
        except ConnectionError:
            return True


@contextlib.contextmanager
def netns_fd(pod: Pod):
    fd = os.open(pod.netns.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


class IstioCni:
    """Listens where istio-cni listens."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.listener: socket.socket | None = None

    def __enter__(self) -> "IstioCni":
        return self.listen()

    def __exit__(self, *_exc) -> None:
        self.close()

    def listen(self) -> "IstioCni":
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        self.listener.settimeout(run.scaled(20))
        return self

    def accept(self) -> Peer:
        assert self.listener is not None
        return Peer(self.listener.accept()[0])

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None


def iptables(pod: Pod, rules: str, probe: str, loopback: str, command: str, dns: bool) -> None:
    text = rules.format(probe=probe, localhost=loopback, dns=DNS_RULES.format(localhost=loopback) if dns else "")
    text += RAW_RULES if dns else ""
    pod.run([f"{command}-restore", "--noflush"], input=text)


RULES = """*mangle
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -m mark --mark 0x539/0xfff -j CONNMARK --set-xmark 0x111/0xfff
-A ISTIO_OUTPUT -m connmark --mark 0x111/0xfff -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
COMMIT
*nat
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_PRERT -s {probe} -p tcp -j ACCEPT
-A ISTIO_PRERT ! -d {localhost} -p tcp ! --dport 15008 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -d {probe} -p tcp -j ACCEPT
{dns}-A ISTIO_OUTPUT -p tcp -m mark --mark 0x111/0xfff -j ACCEPT
-A ISTIO_OUTPUT ! -d {localhost} -o lo -j ACCEPT
-A ISTIO_OUTPUT ! -d {localhost} -p tcp -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15001
COMMIT
"""


DNS_RULES = """-A ISTIO_OUTPUT ! -o lo -p udp -m mark ! --mark 0x539/0xfff -m udp --dport 53 -j REDIRECT --to-ports 15053
-A ISTIO_OUTPUT ! -d {localhost} -p tcp -m tcp --dport 53 -m mark ! --mark 0x539/0xfff -j REDIRECT --to-ports 15053
"""

RAW_RULES = """*raw
:ISTIO_PRERT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A PREROUTING -j ISTIO_PRERT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -p udp -m mark --mark 0x539/0xfff -m udp --dport 53 -j CT --zone 1
-A ISTIO_PRERT -p udp -m mark ! --mark 0x539/0xfff -m udp --sport 53 -j CT --zone 1
COMMIT
"""


def capture(pod: Pod, *, dns: bool = False) -> None:
    """The rules and routes of an enrolled pod; `dns`: port 53 goes to the agent, too."""
    for family, probe, localhost, command, everything in (("-4", PROBE_V4, "127.0.0.1/32", "iptables-nft", "0.0.0.0/0"),
                                                          ("-6", PROBE_V6, "::1/128", "ip6tables-nft", "::/0")):
        iptables(pod, RULES, probe, localhost, command, dns)
        pod.run(["ip", family, "rule", "add", "fwmark", "0x111/0xfff", "pref", "32764", "lookup", "100"])
        pod.run(["ip", family, "route", "add", "local", everything, "dev", "lo", "table", "100"])


class Follower:
    """Answers an agent that comes back by itself: each connection gets the snapshot of `pods`."""

    def __init__(self, cni: IstioCni, pods: list[Pod]):
        self.cni, self.pods = cni, pods
        self.peers: list[Peer] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self.cni.listener is not None:
            try:
                peer = self.cni.accept()
                for pod in self.pods:
                    peer.add(pod)
                peer.ask(SNAPSHOT)
                self.peers.append(peer)
            except (OSError, AssertionError):
                continue
