# SPDX-License-Identifier: Apache-2.0
"""bench/report: puts the figures of a results file of bench/run or bench/control between its markers of docs/performance.md."""

import argparse
import json
import pathlib
import sys

from culvert_harness.run import ROOT

from . import control, control_figures, figures
from .__main__ import RESULTS

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: bench/report writes what is between these lines -->", "<!-- end of figures -->"
CONTROL_BEGIN, CONTROL_END = "<!-- control: bench/report --control writes what is between these lines -->", "<!-- end of control -->"


def asleep(samples: figures.Samples) -> list[str]:
    if all(sample["values"].get("cpus_awake", 1) for sample in samples):
        return []
    return ["CPUs could not be kept awake for the round trips: there is no idle driver. Waking them is in those of both modes."]


def text(results: dict) -> str:
    machine, samples = results["machine"], results["samples"]
    made = figures.figures(samples)
    verdicts = [figure.verdict for figure in made if figure.verdict]
    busiest = max((sample.get("others_cpus", 0) for sample in samples), default=0)
    lines = [f"Taken on {results['date']} at commit {results['commit']}: {results['rounds']} rounds in {results['minutes']} minutes on "
             f"{machine['cpus']} CPUs ({machine['cpu']}), Linux {machine['kernel']}"
             + (", with the shorter samples of --quick" if results["quick"] else "")
             + f". Between samples everything else on the machine took at most {busiest:.1f} CPUs.",
             *asleep(samples),
             "",
             f"Of {len(verdicts)} figures with a bar {verdicts.count('aim met')} reach the aim, {verdicts.count('bar met')} the bar, "
             f"{verdicts.count('missed')} neither.",
             "", figures.table(made)]
    for name, title in (("left_out", "Left out, because this machine cannot do it"), ("broken", "Not measured, because it failed")):
        if results.get(name):
            lines += ["", f"{title}: {', '.join(results[name])}."]
    return "\n".join(lines)


def control_text(results: dict) -> str:
    machine, samples = results["machine"], results["samples"]
    lines = [f"Taken on {results['date']} at commit {results['commit']}: {results['rounds']} rounds in {results['minutes']} minutes on "
             f"{machine['cpus']} CPUs ({machine['cpu']}), Linux {machine['kernel']}. Load average before a sample: "
             f"{min((sample['load'] for sample in samples), default=0):.1f} to {max((sample['load'] for sample in samples), default=0):.1f}.",
             "", figures.table(control_figures.figures(samples), has_baseline=False)]
    for name, title in (("left_out", "Left out"), ("broken", "Not measured, because it failed")):
        lines += [line for row, why in results[name].items() for line in ("", f"{title}: {row} ({why}).")]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/report", description="Writes the figures of bench/run or bench/control into docs/performance.md.")
    parser.add_argument("results", nargs="?", type=pathlib.Path)
    parser.add_argument("--control", action="store_true", help="those of bench/control")
    parser.add_argument("--print", action="store_true", help="to standard output instead")
    arguments = parser.parse_args()
    path = arguments.results or (control.RESULTS if arguments.control else RESULTS)
    if not path.exists():
        sys.exit(f"bench/report: there is no {path}: run bench/{'control' if arguments.control else 'run'} first")
    results = json.loads(path.read_text())
    made = control_text(results) if arguments.control else text(results)
    if arguments.print:
        print(made)
        return 0
    begin, end = (CONTROL_BEGIN, CONTROL_END) if arguments.control else (BEGIN, END)
    document = DOCUMENT.read_text()
    if begin not in document or end not in document:
        sys.exit(f"bench/report: {DOCUMENT} has lost its markers")
    head, tail = document.split(begin)[0], document.split(end)[1]
    DOCUMENT.write_text(f"{head}{begin}\n\n{made}\n\n{end}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
