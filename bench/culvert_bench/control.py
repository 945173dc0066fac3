# SPDX-License-Identifier: Apache-2.0
"""bench/control: rounds of samples of what a control plane's mesh costs, the rows by turns, then the table."""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from culvert_harness import WaitTimeout
from culvert_harness.run import ROOT

from . import control_figures, figures, meters
from .control_rows import ROWS, CannotMeasure, ControlRow
from .machine import build, commit, only_one, say

RESULTS = ROOT / "build" / "bench" / "control.json"
FAILURES = (AssertionError, RuntimeError, OSError, KeyError, ValueError, WaitTimeout, subprocess.SubprocessError)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/control", description="Measures what the mesh of a control plane costs an agent, and prints a table.",
                                     epilog=f"Results are kept in {RESULTS.relative_to(ROOT)}; bench/report --control puts them into docs/performance.md.")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    parser.add_argument("--only", metavar="ROW,...", default="", help="only these rows")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="samples of each row (default 3)")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS, metavar="FILE", help="where the results go")
    return parser.parse_args()


def measure(rows: list[ControlRow], rounds: int) -> tuple[list[dict], dict[str, str], dict[str, str]]:
    samples: list[dict] = []
    broken: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for row in rows:
            if row.name in broken or row.name in left_out:
                continue
            began, load = time.monotonic(), os.getloadavg()[0]
            try:
                values = row.measure()
            except CannotMeasure as why:
                left_out[row.name] = str(why)
                say(f"{row.name}: left out: {why}")
                continue
            except FAILURES as error:
                broken[row.name] = str(error).splitlines()[0] if str(error) else type(error).__name__
                say(f"{row.name}: FAILED: {error}")
                continue
            samples.append({"row": row.name, "mode": "culvert", "round": number, "load": round(load, 1), "values": values})
            shown = ", ".join(f"{name} {figures.plain(values[name])}" for name in row.show if name in values)
            say(f"{row.name:10}{number}/{rounds} {shown}  ({time.monotonic() - began:.0f} s, load before {load:.1f})")
    return samples, broken, left_out


def main() -> int:
    arguments = parse()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:10}{row.about}")
        return 0
    wanted = [name for name in arguments.only.split(",") if name] or [row.name for row in ROWS]
    if unknown := [name for name in wanted if name not in {row.name for row in ROWS}]:
        sys.exit(f"bench/control: no row {', '.join(unknown)}; there are {', '.join(row.name for row in ROWS)}")
    rows = [row for row in ROWS if row.name in wanted]
    build("bench/control", sorted({program for row in rows for program in row.programs}))
    lock = only_one("bench/control")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    samples, broken, left_out = measure(rows, arguments.rounds)
    lock.close()
    results = {"machine": meters.machine(), "commit": commit(), "date": datetime.date.today().isoformat(), "rounds": arguments.rounds,
               "minutes": round((time.monotonic() - began) / 60, 1), "broken": broken, "left_out": left_out, "samples": samples}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=1))
    say("")
    say(figures.table(control_figures.figures(samples), is_terminal=True, has_baseline=False))
    say(f"\n{arguments.json}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
