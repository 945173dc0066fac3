# SPDX-License-Identifier: Apache-2.0
"""Network namespaces by name, entered by a thread or with nsenter: `ip netns exec` would hide bpffs and cgroup2 by remounting /sys."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading

from . import run

RUN_DIR = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MNT_DETACH = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _in_thread(work):
    """Runs `work()` in a thread of its own, which may change its namespace, and gives its result."""
    outcome: dict[str, object] = {}

    def enter() -> None:
        try:
            outcome["value"] = work()
        except BaseException as error:  # handed to the caller below
            outcome["error"] = error

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def _has_run_dir() -> bool:
    """Whether /run/netns is the mount that `ip netns add` makes of it; os.path.ismount does not see a directory bound to itself."""
    return any(line.split()[4] == str(RUN_DIR) for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def _set_lo_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags, = struct.unpack_from("16xh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0)))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


class Netns:
    def __init__(self, name: str):
        self.name = name
        self.cgroup: pathlib.Path | None = None  # what is started by `command` joins it

    @property
    def path(self) -> str:
        return str(RUN_DIR / self.name)

    def create(self) -> "Netns":
        """As `ip netns add`, of which each costs an emulated machine a tenth of a second."""
        if not _has_run_dir():
            run.run(["ip", "netns", "add", self.name])  # makes the directory and what its mounts need
            self.delete()
        with open(self.path, "x"):
            pass

        def make() -> None:
            _must(_libc.unshare(CLONE_NEWNET), "unshare")
            _must(_libc.mount(f"/proc/self/task/{threading.get_native_id()}/ns/net".encode(), self.path.encode(), b"none", MS_BIND, None),
                  f"mount {self.path}")
            _set_lo_up()  # as a container runtime does it
        try:
            _in_thread(make)
        except OSError:
            self.delete()
            raise
        # Without duplicate address detection an IPv6 address works at once.
        self.sysctl({"net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.all.accept_dad": 0})
        return self

    def exists(self) -> bool:
        return (RUN_DIR / self.name).exists()

    def pids(self) -> list[int]:
        """Processes that live in this namespace."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError:
            return []
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if os.stat(f"/proc/{entry}/ns/net").st_ino == inode:
                        found.append(int(entry))
        return found

    def kill_all(self) -> None:
        """Ends what still runs in this namespace: all of it was started for it."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(run.WaitTimeout):
            run.wait_for(lambda: not self.pids(), f"the processes in {self.name} to end", 5)

    def delete(self) -> None:
        """As `ip netns delete`; of one that is not there too."""
        _libc.umount2(self.path.encode(), MNT_DETACH)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def command(self, command: list[str]) -> list[str]:
        entered = ["nsenter", f"--net={self.path}", "--", *map(str, command)]
        if self.cgroup is None:
            return entered
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.cgroup / "cgroup.procs"), *entered]

    def run(self, command: list[str], **options) -> subprocess.CompletedProcess:
        if self.cgroup is None:  # a child lives where the thread lives that started it: nothing is executed in between
            return self.inside(lambda: run.run(list(map(str, command)), **options))
        return run.run(self.command(command), **options)

    def sysctl(self, values: dict[str, object]) -> None:
        """net.* settings of this namespace; those that the kernel lacks are left out."""
        def write() -> None:
            for key, value in values.items():
                with contextlib.suppress(FileNotFoundError):
                    pathlib.Path("/proc/sys", *key.split(".")).write_text(str(value))
        # /proc/sys/net shows the namespace of the thread that opens it.
        self.inside(write)

    def inside(self, work):
        """Runs `work()` in a thread that has entered the namespace, and gives its result."""
        def enter():
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _must(_libc.setns(fd, CLONE_NEWNET), f"setns {self.path}")
            finally:
                os.close(fd)
            return work()
        return _in_thread(enter)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A socket that belongs to this namespace for life, usable from any thread."""
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def listeners(self) -> set[int]:
        """TCP ports in LISTEN, both families."""
        ports = set()
        for table in ("tcp", "tcp6"):
            for line in self.inside(lambda t=table: pathlib.Path(f"/proc/thread-self/net/{t}").read_text()).splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
        return ports

    def wait_listening(self, port: int, timeout: float = 10.0) -> None:
        run.wait_for(lambda: port in self.listeners(), f"a listener on port {port} in {self.name}", timeout)
