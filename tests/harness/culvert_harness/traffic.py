# SPDX-License-Identifier: Apache-2.0
"""What an application notices: one connection that lives, new ones all the time, against flowtool's echo server."""

import contextlib
import re
import socket
import threading
import time

from .pod import Pod
from .run import WaitTimeout, scaled, wait_for


def connect(pod: Pod, host: str, port: int = 7002, timeout: float = 10) -> socket.socket:
    connection = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.settimeout(scaled(timeout))
    try:
        connection.connect((host, port))
    except OSError:
        connection.close()
        raise
    return connection


def echoes(connection: socket.socket) -> bool:
    connection.sendall(b"y")
    return connection.recv(1) == b"y"


def talks(pod: Pod, host: str, port: int = 7002, timeout: float = 5) -> bool:
    """Whether one new connection carries a byte there and back."""
    with contextlib.suppress(OSError), contextlib.closing(connect(pod, host, port, timeout)) as connection:
        return echoes(connection)
    return False


def tunnel_ports(pod: Pod) -> list[str]:
    """The pod's own ports of its tunnels."""
    return re.findall(r":(\d+)\s+\S+:15008", pod.run(["ss", "-Htn", "state", "established", "dport", "=", ":15008"]).stdout)


@contextlib.contextmanager
def no_further_tunnels(pod: Pod):
    """While the block runs the pod's node refuses tunnels but those that the pod has; what waits for another one has been told when it ends."""
    netns = pod.node.netns
    rules = [["pref", "2", "ipproto", "tcp", "sport", port, "dport", "15008", "lookup", "main"] for port in tunnel_ports(pod)]
    rules.append(["pref", "3", "ipproto", "tcp", "dport", "15008", "prohibit"])
    for rule in rules:
        netns.run(["ip", "rule", "add", *rule])
    try:
        yield
        wait_for(lambda: not pod.run(["ss", "-Htn", "state", "syn-sent"]).stdout, "the other tunnels to be refused")
    finally:
        for rule in rules:
            netns.run(["ip", "rule", "del", *rule])


def refused(pod: Pod, host: str, port: int = 7002) -> float:
    """After how many seconds a new connection ends without a byte. The end may be a reset that comes before connect() has returned."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionError), contextlib.closing(connect(pod, host, port)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"", "a byte on a connection that is to be refused"
    return time.monotonic() - began


class Traffic:
    """While the block runs: a live connection that says something every few milliseconds, and new connections one after the other."""

    def __init__(self, pod: Pod, host: str, port: int = 7002, pause_s: float = 0.005):
        self.pod, self.host, self.port, self.pause_s = pod, host, port, pause_s
        self.faults: list[str] = []
        self.rounds = self.connections = 0
        self.slowest_s = 0.0
        self._stop = threading.Event()

    def __enter__(self) -> "Traffic":
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._live, self._fresh)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_exc) -> None:
        if kind is None:  # a short block on a busy machine: some of both there shall have been
            with contextlib.suppress(WaitTimeout):
                wait_for(lambda: self.faults or min(self.rounds, self.connections) >= 5, "some traffic", 20)
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def assert_undisturbed(self, *, rounds: int = 5) -> None:
        """Nothing failed, and there was something to fail."""
        assert not self.faults, self.faults[:5]
        assert self.rounds >= rounds and self.connections >= rounds, (self.rounds, self.connections)

    def _fault(self, what: str, error: object) -> None:
        self.faults.append(f"{what} after {time.monotonic() - self._began:.2f} s: {error!r}")

    def _live(self) -> None:
        try:
            with contextlib.closing(connect(self.pod, self.host, self.port)) as connection:
                while not self._stop.wait(self.pause_s):
                    if not echoes(connection):
                        return self._fault("the live connection", "closed")
                    self.rounds += 1
        except OSError as error:
            self._fault("the live connection", error)

    def _fresh(self) -> None:
        while not self._stop.wait(self.pause_s):
            began = time.monotonic()
            try:
                with contextlib.closing(connect(self.pod, self.host, self.port)) as connection:
                    if not echoes(connection):
                        self._fault("a new connection", "closed")
            except OSError as error:
                self._fault("a new connection", error)
            self.connections += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
