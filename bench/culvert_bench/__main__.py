# SPDX-License-Identifier: Apache-2.0
"""bench/run: rounds of samples, the modes of a row alternating within each, then the table."""

import argparse
import contextlib
import dataclasses
import datetime
import json
import pathlib
import signal
import subprocess
import sys
import time

from culvert_harness import WaitTimeout
from culvert_harness.cni import CniError
from culvert_harness.run import ROOT

from . import figures, meters
from .machine import build, commit, only_one, say
from .rig import CONGESTION_CONTROL, MODES, Rig, others_cpus
from .rows import RIGS, ROWS, Options, Row

RESULTS = ROOT / "build" / "bench" / "results.json"
# Above this the machine did something else as well, and rates mean little.
BUSY_CPUS = 0.2
AGENT_PROGRAMS = ("culvertd", "culvertctl", "culvert-cni")


class Rigs:
    """Makes a rig when a row first needs it, and keeps at most one beside the main one."""

    def __init__(self, modes: tuple[str, ...], stack: contextlib.ExitStack):
        self.modes, self.stack, self.live = modes, stack, {}

    def get(self, name: str) -> Rig:
        if name not in self.live:
            for other in [other for other in self.live if other != "main"]:
                self.live.pop(other).__exit__(None, None, None)
            plan = dict(RIGS[name])
            modes = self.modes if plan.pop("agents", True) else tuple(m for m in self.modes if m == "none") or ("none",)
            rig = Rig(name, modes=modes, **plan)
            rig.__enter__()
            self.stack.push(rig.__exit__)
            self.live[name] = rig
            if rig.agents:
                engines = rig.engines()
                say(f"rig {name}: agents {', '.join(map(str, rig.agents))}; {engines['cipher']} sent by {engines['tx']}, received by {engines['rx']}")
        return self.live[name]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description="Measures Culvert beside plain TCP, alternating, and prints a table.",
                                     epilog=f"Results are kept in {RESULTS.relative_to(ROOT)}; bench/report puts them into docs/performance.md.")
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    parser.add_argument("--only", action="append", metavar="ROW", default=[], help="only this row; may be given again, or with commas")
    parser.add_argument("--rounds", type=int, default=None, metavar="N", help="samples of each mode (default 5, with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="shorter samples")
    parser.add_argument("--seconds", type=float, default=None, metavar="S", help="length of a throughput or rate sample")
    parser.add_argument("--mode", action="append", choices=MODES, default=[], help="only this mode; for profiling")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS, metavar="FILE", help="where the results go")
    parser.add_argument("--wait-quiet", type=float, default=0, metavar="S",
                        help="before each sample wait up to S seconds for everything else on the machine to be quiet")
    parser.add_argument("--hold", action="store_true", help="when done, keep pods and agents up until Ctrl-C")
    return parser.parse_args()


def choose(names: list[str]) -> list[Row]:
    known = {row.name: row for row in ROWS}
    wanted = [part for name in names for part in name.split(",")] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"bench/run: no row {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def programs(rows: list[Row], modes: tuple[str, ...]) -> list[str]:
    """What the rows start of our own build."""
    wanted = ["flowtool"]
    if any(row.rig == "hop" for row in rows):
        wanted.append("bench_hop")
    if "culvert" in modes and any(RIGS[row.rig].get("agents", True) for row in rows):
        wanted += AGENT_PROGRAMS
    return wanted


def quiet(rig: Rig, patience_s: float) -> float:
    """CPUs that everything else takes, once they are few or patience is at its end."""
    deadline = time.monotonic() + patience_s
    while (busy := others_cpus(rig.agents)) > BUSY_CPUS and time.monotonic() < deadline:
        time.sleep(1)
    return busy


@dataclasses.dataclass
class Found:
    samples: list[dict] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)    # rows
    left_out: list[str] = dataclasses.field(default_factory=list)  # likewise


def measure(rows: list[Row], rounds: int, options: Options, rigs: Rigs, patience_s: float, found: Found) -> None:
    """Into `found`, sample by sample, so that what was taken is there when somebody stops it."""
    samples, broken, left_out = found.samples, found.broken, found.left_out
    for row in rows:
        for number in range(1, rounds + 1):
            for mode in [m for m in row.modes if m in rigs.modes]:
                if row.name in broken or row.name in left_out:
                    continue
                began = time.monotonic()
                try:
                    rig = rigs.get(row.rig)
                    if row.needs_engine and rig.agents and rig.engines()["tx"] != row.needs_engine:
                        left_out.append(row.name)
                        say(f"{row.name}: left out: this machine does not have {row.needs_engine} records")
                        continue
                    busy = quiet(rig, patience_s)
                    values = row.measure(rig, mode, options)
                    rig.check_agents()
                except (AssertionError, RuntimeError, OSError, KeyError, ValueError, CniError, WaitTimeout, subprocess.SubprocessError) as error:
                    broken.append(row.name)
                    say(f"{row.name}: {mode}: FAILED: {error}")
                    continue
                samples.append({"row": row.name, "mode": mode, "round": number, "others_cpus": round(busy, 2), "values": values})
                shown = ", ".join(f"{name} {figures.plain(values[name])}" for name in row.show if name in values)
                warning = f", others used {busy:.1f} CPUs" if busy > BUSY_CPUS else ""
                say(f"{row.name:26}{number}/{rounds} {mode:8}{shown}  ({time.monotonic() - began:.0f} s{warning})")


def main() -> int:
    arguments = parse()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:26}{row.about}")
        return 0
    rows = choose(arguments.only)
    modes = tuple(mode for mode in MODES if mode in (arguments.mode or MODES))
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    options = Options(seconds=arguments.seconds, is_quick=arguments.quick)
    build("bench/run", programs(rows, modes))
    lock = only_one("bench/run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, found, is_stopped = time.monotonic(), Found(), False
    with contextlib.ExitStack() as stack:
        stack.enter_context(meters.congestion_control_allowed(CONGESTION_CONTROL))
        rigs = Rigs(modes, stack)
        try:
            measure(rows, rounds, options, rigs, arguments.wait_quiet, found)
        except KeyboardInterrupt:
            say("stopped; cleaning up")
            is_stopped = True
        if arguments.hold and not is_stopped:
            with contextlib.suppress(KeyboardInterrupt):
                say("kept up; Ctrl-C ends it")
                signal.pause()
    lock.close()
    results = {"machine": meters.machine(), "commit": commit(), "date": datetime.date.today().isoformat(), "rounds": rounds,
               "minutes": round((time.monotonic() - began) / 60, 1), "quick": arguments.quick, "broken": found.broken, "left_out": found.left_out, "samples": found.samples}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(results, indent=1))
    say("")
    say(figures.table(figures.figures(found.samples), is_terminal=True))
    say(f"\n{arguments.json}")
    return 130 if is_stopped else 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
