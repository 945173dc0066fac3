# SPDX-License-Identifier: Apache-2.0
"""What both benches do around their measurements: the release build, the commit, and that one bench runs at a time."""

import fcntl
import os
import subprocess
import sys
import typing

from culvert_harness.run import ROOT, build_dir


def say(text: str) -> None:
    print(text, flush=True)


def build(who: str, programs: list[str]) -> None:
    """Brings these programs of the release build up to date, unless CULVERT_BUILD names one."""
    if "CULVERT_BUILD" not in os.environ:
        commands = [["ninja", "-C", str(build_dir()), *programs]]
        if not (build_dir() / "build.ninja").exists():
            commands.insert(0, ["cmake", "--preset", "release"])
        for command in commands:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"{who}: the release build failed: {' '.join(command)}\n{(done.stdout + done.stderr)[-4000:]}")
    missing = [name for name in programs if not (build_dir() / "bin" / name).exists()]
    if missing:
        sys.exit(f"{who}: {build_dir()}/bin lacks {', '.join(missing)}: run cmake --preset release && ninja -C build/release")


def commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def only_one(who: str) -> typing.IO:
    """Two benches would measure each other, and their namespaces have the same names. To be kept open as long as it counts."""
    lock = open(__file__, "rb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{who}: another bench is running")
    return lock
