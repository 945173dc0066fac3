# SPDX-License-Identifier: Apache-2.0
"""One test case's outcome, and the readers of what Catch2 and pytest leave behind.

A program that dies in the middle leaves a truncated report: what it finished is counted, and the death is one more failure.
"""

import dataclasses
import os
import pathlib
import xml.etree.ElementTree as ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
SKIP_STATUS = 77  # CTest's convention: a program that cannot run here
SKIP_MARK = "SKIP:"  # a Catch2 v2 case has no SKIP(): it says WARN("SKIP: why") and returns


@dataclasses.dataclass(frozen=True)
class Case:
    suite: str
    name: str
    outcome: str
    detail: str = ""
    seconds: float = 0.0


def count(cases: list[Case]) -> dict[str, int]:
    totals = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    for case in cases:
        totals[case.outcome] += 1
    return totals


def _catch_case(element: ElementTree.Element, suite: str, prefix: str) -> Case:
    result = element.find("OverallResult")
    seconds = float(result.get("durationInSeconds") or 0) if result is not None else 0.0
    name = prefix + (element.get("name") or "?")
    skips = [text for w in element.iter("Warning") if (text := (w.text or "").strip()).startswith(SKIP_MARK)]
    if result is None or result.get("success") != "true":
        parts = []
        for expression in element.iter("Expression"):
            if expression.get("success") == "true":
                continue
            original = (expression.findtext("Original") or "").strip()
            expanded = (expression.findtext("Expanded") or "").strip()
            parts.append(f"{expression.get('filename')}:{expression.get('line')}: {original} [{expanded[:400]}]")
        for tag in ("Exception", "Failure", "FatalErrorCondition", "Info"):
            parts += [f"{tag}: {(e.text or '').strip()}" for e in element.iter(tag)]
        return Case(suite, name, FAILED, "\n".join(parts), seconds)
    if skips:
        return Case(suite, name, SKIPPED, skips[0][len(SKIP_MARK):].strip(), seconds)
    return Case(suite, name, PASSED, "", seconds)


def read_catch(path: pathlib.Path, suite: str, prefix: str = "") -> list[Case]:
    """Catch2's `-r xml`: one <TestCase> a case (its junit form counts assertions instead)."""
    cases: list[Case] = []
    if not path.exists():
        return cases
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "TestCase":
                cases.append(_catch_case(element, suite, prefix))
    except ElementTree.ParseError:
        pass  # truncated: the caller sees the program's status and adds the failure
    return cases


def read_junit(path: pathlib.Path, suite: str, prefix: str = "") -> list[Case]:
    """pytest's --junitxml. A failure of a fixture after the test makes the test fail, and is not counted twice."""
    cases: dict[str, Case] = {}
    if not path.exists():
        return []
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError:
        return []
    for element in root.iter("testcase"):
        module = (element.get("classname") or "").split(".")[-1]
        name = f"{prefix}{module}::{element.get('name')}" if module else f"{prefix}{element.get('name')}"
        problem = element.find("failure")
        if problem is None:
            problem = element.find("error")
        skip = element.find("skipped")
        seconds = float(element.get("time") or 0)
        if problem is not None:
            detail = "\n".join(filter(None, [problem.get("message"), (problem.text or "")[-6000:]]))
            cases[name] = Case(suite, name, FAILED, detail, seconds)
        elif skip is not None:
            cases.setdefault(name, Case(suite, name, SKIPPED, skip.get("message") or "", seconds))
        elif name not in cases or cases[name].outcome == PASSED:
            cases[name] = Case(suite, name, PASSED, "", seconds)
    return list(cases.values())


def judge_program(cases: list[Case], suite: str, name: str, status: int, log_tail: str) -> list[Case]:
    """Adds what the exit status tells beyond the report: all skipped, died, timed out, or reported nothing."""
    if status == SKIP_STATUS and not cases:
        return [Case(suite, name, SKIPPED, log_tail.strip().splitlines()[-1] if log_tail.strip() else "not possible here")]
    failed = any(case.outcome == FAILED for case in cases)
    if status != 0 and not failed:
        return cases + [Case(suite, f"{name}: ends cleanly", FAILED, f"exit status {status}\n{log_tail}")]
    if status == 0 and not cases:
        return [Case(suite, f"{name}: reports its cases", FAILED, f"no test case in its report\n{log_tail}")]
    return cases


def tail(path: pathlib.Path, limit: int = 4000) -> str:
    """The end of a log, for a person who reads why something failed."""
    if not path.exists():
        return ""
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - limit))
        return stream.read().decode(errors="replace")
