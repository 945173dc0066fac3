# SPDX-License-Identifier: Apache-2.0
"""Configures and builds one CMake preset, and asks CTest which tests it has."""

import json
import os
import pathlib
import re
import subprocess

from . import jobs, results

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD_LIMIT_S = 3600
# Beside the bpf suite's, which the vm suite runs.
RELEASE_PROGRAMS = ("culvertd", "culvertctl", "culvert-cni", "flowtool", "tls_kernel_test")
# One compiler cache serves every clone and build directory of this machine.
CCACHE = {"CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}


class BuildError(Exception):
    """Configuring or compiling failed; the text is the end of the log."""


def directory(preset: str) -> pathlib.Path:
    return ROOT / "build" / preset


def build(preset: str, say) -> pathlib.Path:
    """The build directory, with everything in it up to date."""
    where = directory(preset)
    log = ROOT / "build" / "test-results" / f"build-{preset}.log"
    if jobs.run(["cmake", "--preset", preset], log, 300, cwd=ROOT) != 0:
        raise BuildError(f"cmake --preset {preset} failed\n{results.tail(log)}")
    last_tenth = -1

    def progress(line: str) -> None:
        nonlocal last_tenth
        step = re.match(r"^\[(\d+)/(\d+)\]", line)
        if step and int(step[2]) >= 10 and (tenth := 10 * int(step[1]) // int(step[2])) != last_tenth:
            last_tenth = tenth
            say(f"build {preset}: {step[1]} of {step[2]}")

    command = ["ninja", "-C", str(where), "-k", "20", "-j", str(os.cpu_count() or 1), *targets(preset, where)]
    if jobs.run(command, log, BUILD_LIMIT_S, env={"NINJA_STATUS": "[%f/%t] ", **CCACHE}, on_line=progress) != 0:
        raise BuildError(f"building {preset} failed\n{compiler_errors(log)}")
    return where


def targets(preset: str, where: pathlib.Path) -> list[str]:
    """What the suites run of this preset; empty: all. The unit tests, most of a build, are run from dev alone."""
    if preset == "dev":
        return programs(where, r"unit_\w+|bpf_\w+|\w+_fuzz|bench_\w+|hop_cost")
    if preset == "fuzz":
        return sorted(source.stem for source in (ROOT / "tests" / "fuzz").glob("*_fuzz.cpp"))
    if preset == "release":
        return [*RELEASE_PROGRAMS, *programs(where, r"bpf_\w+")]
    return []


def programs(where: pathlib.Path, pattern: str) -> list[str]:
    listing = subprocess.run(["ninja", "-C", str(where), "-t", "targets", "all"], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(rf"^({pattern}): phony", listing, re.MULTILINE)))


def skeletons(preset: str) -> pathlib.Path:
    """Only what the compiler of one file needs beside the sources: the generated skeleton headers."""
    where = directory(preset)
    log = ROOT / "build" / "test-results" / f"skeletons-{preset}.log"
    if jobs.run(["cmake", "--preset", preset], log, 300, cwd=ROOT) != 0:
        raise BuildError(f"cmake --preset {preset} failed\n{results.tail(log)}")
    listing = subprocess.run(["ninja", "-C", str(where), "-t", "targets", "all"], capture_output=True, text=True, check=True).stdout
    names = sorted({line.split(":")[0] for line in listing.splitlines() if re.match(r"culvert_skel_\w+_files:", line)})
    if names and jobs.run(["ninja", "-C", str(where), *names], log, 600) != 0:
        raise BuildError(f"the skeleton headers cannot be made\n{compiler_errors(log)}")
    return where


def compiler_errors(log: pathlib.Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if re.search(r"error|FAILED|undefined reference", line)]
    return "\n".join(lines[:40]) or results.tail(log)


def ctest_programs(where: pathlib.Path, label: str) -> list[dict]:
    """The tests with this label: name, command, environment, time limit, working directory."""
    answer = subprocess.run(["ctest", "--show-only=json-v1", "-L", f"^{label}$"], cwd=where, capture_output=True, text=True, check=True)
    programs = []
    for test in json.loads(answer.stdout)["tests"]:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        if "command" not in test:
            raise BuildError(f"CTest's {test['name']} has no program: was it built?")
        programs.append({"name": test["name"], "command": test["command"],
                         "timeout": float(properties.get("TIMEOUT", 300)),
                         "cwd": pathlib.Path(properties.get("WORKING_DIRECTORY", where)),
                         "env": dict(entry.split("=", 1) for entry in properties.get("ENVIRONMENT", []))})
    return programs
