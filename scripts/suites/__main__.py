# SPDX-License-Identifier: Apache-2.0
"""scripts/test hands over here once setup is done. Ends with one line: N passed, N failed, N skipped."""

import argparse
import os
import sys
import time

from . import build, results, vm
from .suites import REPORTS, SUITES, Options


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Runs Culvert's tests; all suites but tidy when none is named.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(suite.name for suite in SUITES))
    parser.add_argument("--list", action="store_true", help="list the suites and stop")
    parser.add_argument("--no-setup", action="store_true", help="do not look for missing packages first")
    parser.add_argument("--fail-fast", action="store_true", help="stop after the first suite with a failure")
    parser.add_argument("--fuzz-seconds", type=int, default=None, help="for each fuzz target (default 5, in CI 60)")
    parser.add_argument("--kernel", action="append", choices=vm.KERNELS, help="only this kernel in the vm suite")
    parser.add_argument("-k", dest="filter", default="", help="only tests of check, netns and istiod that match, as in pytest")
    return parser.parse_args()


def gist(detail: str, limit: int = 300) -> str:
    """What a failure says first, on one line: enough to know it again where only the end of a log is kept."""
    return " ".join(detail.split())[:limit]


def run_suite(suite, options: Options) -> list[results.Case]:
    try:
        return suite.run(options)
    except build.BuildError as error:
        return [results.Case(suite.name, "builds", results.FAILED, str(error))]


def main() -> int:
    arguments = parse()
    if arguments.list:
        for suite in SUITES:
            print(f"{suite.name:7}{suite.about}")
        return 0
    known = {suite.name for suite in SUITES}
    unknown = [name for name in arguments.suites if name not in known]
    if unknown:
        print(f"scripts/test: no suite {', '.join(unknown)}; there are {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    in_ci = os.environ.get("CI") == "true"
    seconds = arguments.fuzz_seconds if arguments.fuzz_seconds is not None else (60 if in_ci else 5)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {text}", flush=True)

    options = Options(fuzz_seconds=seconds, kernels=tuple(arguments.kernel or vm.KERNELS), filter=arguments.filter, say=say)
    REPORTS.mkdir(parents=True, exist_ok=True)
    cases: list[results.Case] = []
    took: list[str] = []
    forbidden_skips = 0
    for suite in SUITES:
        if suite.name not in arguments.suites and (arguments.suites or not suite.is_default):
            continue
        say(f"== {suite.name}: {suite.about}")
        begun = time.monotonic()
        found = run_suite(suite, options)
        cases += found
        for case in found:
            if case.outcome == results.FAILED:
                print(f"\n--- FAILED {case.suite}: {case.name}\n{case.detail}\n", flush=True)
            elif case.outcome == results.SKIPPED:
                say(f"skipped {case.suite}: {case.name}: {case.detail}")
                forbidden_skips += suite.must_run
        totals = results.count(found)
        seconds_taken = f"{time.monotonic() - begun:.0f} s"
        took.append(f"{suite.name} {seconds_taken}")
        say(f"== {suite.name}: {totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped in {seconds_taken}")
        if arguments.fail_fast and totals["failed"]:
            break
    say(f"took: {', '.join(took)}")
    totals = results.count(cases)
    failing = [case for case in cases if case.outcome == results.FAILED]
    for case in failing:
        print(f"FAILED {case.suite}: {case.name}: {gist(case.detail)}")
    if in_ci and forbidden_skips:
        print(f"CI: {forbidden_skips} skipped tests of check, unit, bpf, demo, netns or vm count as a failure of this run")
    status = 1 if failing or (in_ci and forbidden_skips) or not cases else 0
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
