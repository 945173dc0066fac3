# SPDX-License-Identifier: Apache-2.0
"""bench/report: puts the figures of a results file between the markers of docs/performance.md."""

import argparse
import json
import pathlib
import sys

from culvert_harness.run import ROOT

from . import figures
from .__main__ import RESULTS

DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- figures: bench/report writes what is between these lines -->", "<!-- end of figures -->"


def text(results: dict) -> str:
    machine, samples = results["machine"], results["samples"]
    made = figures.figures(samples)
    verdicts = [figure.verdict for figure in made if figure.verdict]
    busiest = max((sample.get("others_cpus", 0) for sample in samples), default=0)
    lines = [f"Taken on {results['date']} at commit {results['commit']}: {results['rounds']} rounds in {results['minutes']} minutes on "
             f"{machine['cpus']} CPUs ({machine['cpu']}), Linux {machine['kernel']}"
             + (", with the shorter samples of --quick" if results["quick"] else "")
             + f". Between samples everything else on the machine took at most {busiest:.1f} CPUs.",
             "",
             f"Of {len(verdicts)} figures with a bar {verdicts.count('aim met')} reach the aim, {verdicts.count('bar met')} the bar, "
             f"{verdicts.count('missed')} neither.",
             "", figures.table(made)]
    for name, title in (("left_out", "Left out, because this machine cannot do it"), ("broken", "Not measured, because it failed")):
        if results.get(name):
            lines += ["", f"{title}: {', '.join(results[name])}."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/report", description="Writes the figures of bench/run into docs/performance.md.")
    parser.add_argument("results", nargs="?", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--print", action="store_true", help="to standard output instead")
    arguments = parser.parse_args()
    if not arguments.results.exists():
        sys.exit(f"bench/report: there is no {arguments.results}: run bench/run first")
    made = text(json.loads(arguments.results.read_text()))
    if arguments.print:
        print(made)
        return 0
    document = DOCUMENT.read_text()
    if BEGIN not in document or END not in document:
        sys.exit(f"bench/report: {DOCUMENT} has lost its markers")
    head, tail = document.split(BEGIN)[0], document.split(END)[1]
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
