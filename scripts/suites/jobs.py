# SPDX-License-Identifier: Apache-2.0
"""Starts programs with a log file and a time limit, and runs several side by side. Kills only what it started."""

import concurrent.futures
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
TIMED_OUT = 124


def run(command: list[str], log: pathlib.Path, timeout: float, cwd: pathlib.Path | None = None,
        env: dict[str, str] | None = None, on_line: Callable[[str], None] | None = None) -> int:
    """The command's exit status (negative: the signal that ended it), or 124. Its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, cwd=cwd,
                                   env={**os.environ, **(env or {})}, start_new_session=True)
        with log.open("r", errors="replace") as reader:
            try:
                while True:
                    try:
                        status = process.wait(timeout=1.0)
                        ended = True
                    except subprocess.TimeoutExpired:
                        ended = False
                        status = 0
                    if on_line:
                        for line in reader.read().splitlines():
                            on_line(line)
                    if ended:
                        return status
                    if time.monotonic() > deadline:
                        stream.write(f"\ntimed out after {timeout:.0f} s\n".encode())
                        return TIMED_OUT
            finally:
                end_group(process)


def end_group(process: subprocess.Popen) -> None:
    """Ends the process and what is left of its session, gently first."""
    for sig, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, sig)
        except ProcessLookupError:
            break
        except PermissionError:
            break
        limit = time.monotonic() + patience
        while time.monotonic() < limit:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except (ProcessLookupError, PermissionError):
                break
            time.sleep(0.05)
    process.wait()


def side_by_side(work: Iterable[Callable[[], T]], width: int) -> list[T]:
    """Runs the callables `width` at a time; results in their order."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, width)) as pool:
        return [future.result() for future in [pool.submit(item) for item in work]]
