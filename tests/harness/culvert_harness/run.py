# SPDX-License-Identifier: Apache-2.0
"""Processes and waiting. Every process that is started here is ended by its own id; nothing waits without a limit."""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ROOT = pathlib.Path(__file__).resolve().parents[3]
# An emulated machine is some ten times slower: limits are longer there, transfers smaller.
SLOW = os.environ.get("CULVERT_SLOW_MACHINE") == "1"


def build_dir() -> pathlib.Path:
    return pathlib.Path(os.environ.get("CULVERT_BUILD") or ROOT / "build" / "release")


def binary(name: str) -> str:
    path = build_dir() / "bin" / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built: cmake --preset release && ninja -C build/release, or set CULVERT_BUILD")
    return str(path)


def scaled(seconds: float) -> float:
    """A time limit, longer on a slow machine."""
    return seconds * 6 if SLOW else seconds


class NotYet(AssertionError):
    """Something of the machine could not be had at this moment: a command failed, an answer was no 200. Whoever waits may try again; a test that does not
    wait has failed. Every other AssertionError ends a wait at once: what is wrong does not come right by being asked again."""


class WaitTimeout(NotYet):
    """A condition did not come true in time."""


def wait_for(condition: Callable[[], T], what: str, timeout: float = 10.0, interval: float = 0.02) -> T:
    """The condition's first true value. `what` says what was waited for; what its programs, files and sockets say no to
    counts as "not yet"; an assertion of its own does not."""
    limit = scaled(timeout)
    deadline = time.monotonic() + limit
    last: Exception | None = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (OSError, ValueError, KeyError, subprocess.SubprocessError, NotYet) as error:
            last = error
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"waited {limit:.0f} s for: {what}" + (f" (last: {last})" if last else ""))
        time.sleep(interval)


def run(command: list[str], *, check: bool = True, timeout: float = 30.0, input: bytes | str | None = None,
        env: dict[str, str] | None = None, text: bool = True) -> subprocess.CompletedProcess:
    """A short command, with its output; a failure's message holds all of it."""
    feed = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(command, capture_output=True, text=text, timeout=scaled(timeout), check=False,
                          env={**os.environ, **env} if env else None, **feed)
    if check and done.returncode != 0:
        raise NotYet(f"{' '.join(map(str, command))} gave {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}")
    return done


def quietly(command: list[str]) -> bool:
    """For cleaning up: whether it worked."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


class MachineLock:
    """Two runs of one test on one machine take turns: an abstract socket's name, which a dead run cannot keep."""

    def __init__(self, name: str):
        self.name = name
        self._socket: socket.socket | None = None

    def acquire(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

        def bind() -> bool:
            self._socket.bind(f"\0culvert-test-{self.name}")
            return True

        wait_for(bind, f"another run with the name {self.name} on this machine to end", 300, interval=0.2)

    def release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Daemon:
    """A long-lived program in its own session, its output in a file."""

    def __init__(self, command: list[str], log: pathlib.Path, *, env: dict[str, str] | None = None, stdin: int | None = None):
        self.command, self.log = command, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL if stdin is None else stdin, stdout=stream,
                                            stderr=subprocess.STDOUT, env={**os.environ, **env} if env else None,
                                            start_new_session=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self, is_ready: Callable[[], bool], what: str, timeout: float, interval: float = 0.02) -> None:
        """Until `what` is ready. A program that has ended will never be; either failure shows the end of its output."""
        def ready() -> bool:
            if not self.is_running():
                raise RuntimeError(f"{what} ended with {self.process.returncode}:\n{self.output()[-4000:]}")
            return is_ready()
        try:
            wait_for(ready, f"{what} to be ready", timeout, interval)
        except WaitTimeout as error:
            raise WaitTimeout(f"{error}\n{self.output()[-4000:]}") from None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        return self.process.wait(timeout=scaled(timeout))

    def stop(self, timeout: float = 5.0) -> int:
        """SIGTERM, then SIGKILL to whatever is left of its session."""
        if self.is_running():
            self.process.terminate()
            try:
                self.process.wait(timeout=scaled(timeout))
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL to the whole session, and reap."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait()
