# SPDX-License-Identifier: Apache-2.0
"""Runs scripts/demo as a person does, and looks at what it says, how long it takes, and what is there afterwards."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable

from . import jobs, results

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HARNESS = ROOT / "tests/harness"
ENVOY_LIMIT_S = 300
LIMIT_S = 30  # without set-up and build
FORMS = (("two nodes", []), ("Envoy at the other end", ["--peer", "envoy"]), ("a waypoint", ["--waypoint"]))


def traces() -> set[str]:
    """What a demo makes on this machine, of all its forms: namespaces, pins, directories, and processes that were told of them."""
    if str(HARNESS) not in sys.path:
        sys.path.insert(0, str(HARNESS))
    from demo_steps.__main__ import SHOWS  # needs the harness
    worlds = [make().world for make, _ in SHOWS.values()]
    found = {str(path) for world in worlds for top in ("/run/netns", "/sys/fs/bpf") for path in pathlib.Path(top).glob(f"{world.prefix}*")}
    found |= {str(world.directory) for world in worlds if world.directory.exists()}
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            found |= {f"process {entry.parent.name}: {command}" for world in worlds if str(world.directory) in command or f"{world.prefix}a" in command}
    return found


def run(elevated: Callable[[list[str]], list[str]], reports: pathlib.Path, say: Callable[[str], None]) -> list[results.Case]:
    cases = []

    def judge(name: str, log: pathlib.Path, wrong: str) -> None:
        say(f"demo: {name}: {wrong or 'ok'}")
        cases.append(results.Case("demo", name, results.FAILED if wrong else results.PASSED, f"{wrong}\n{results.tail(log)}" if wrong else ""))

    def demo(log: pathlib.Path, *arguments: str) -> int:
        return jobs.run(elevated([str(ROOT / "scripts/demo"), "--no-setup", "--no-build", *arguments]), log, 10 * LIMIT_S, cwd=ROOT)

    # Fetched the first time: that is set-up, and not the demo's time.
    envoy = reports / "envoy.log"
    if jobs.run([str(ROOT / "scripts/envoy")], envoy, ENVOY_LIMIT_S, cwd=ROOT) != 0:
        judge("an Envoy to show", envoy, "cannot be had")
    for name, arguments in FORMS:
        log, began = reports / f"demo.{name.replace(' ', '-')}.log", time.monotonic()
        status = demo(log, *arguments)
        took, left = time.monotonic() - began, traces()
        judge(name, log, f"status {status}" if status else f"took {took:.0f} s, of {LIMIT_S}" if took > LIMIT_S else f"left {', '.join(sorted(left))}" if left else "")
    log = reports / "demo.keep.log"
    kept = demo(log, "--keep")
    is_up = bool(traces())
    down = demo(reports / "demo.down.log", "--down")
    left = traces()
    judge("kept up and taken away", log, f"status {kept} and {down}" if kept or down else "nothing was kept" if not is_up else
          f"left {', '.join(sorted(left))}" if left else "")
    return cases
