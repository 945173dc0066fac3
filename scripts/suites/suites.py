# SPDX-License-Identifier: Apache-2.0
"""The suites in the order in which they run: what fails soonest first, what needs the whole machine alone.

Each takes the options and returns its cases. A suite that cannot even be built is one failed case that says so.
"""

import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

from . import build, demo, jobs, results, vm

ROOT = build.ROOT
REPORTS = ROOT / "build" / "test-results"
PYTHON = "/usr/bin/python3"  # the one that Debian's python3-pytest belongs to
NETNS_WIDTH = 4  # the fault tests mostly wait
ISTIOD_WIDTH = 2  # each with a control plane of its own, of some 900 MB
CLUSTER_BUILD_LIMIT_S = 1500


@dataclasses.dataclass
class Options:
    fuzz_seconds: int = 5
    kernels: tuple[str, ...] = vm.KERNELS
    width: int = max(1, min(4, os.cpu_count() or 1))
    filter: str = ""
    say: Callable[[str], None] = print


def as_root(command: list[str]) -> list[str]:
    return command if os.geteuid() == 0 else ["sudo", "-E", *command]


def catch_programs(label: str, preset: str, options: Options, *, privileged: bool, width: int) -> list[results.Case]:
    where = build.build(preset, options.say)

    def one(program: dict) -> list[results.Case]:
        report = REPORTS / f"{program['name']}.catch.xml"
        log = REPORTS / f"{program['name']}.log"
        report.unlink(missing_ok=True)
        command = list(program["command"])
        is_catch = pathlib.Path(command[0]).name.startswith(("unit_", "bpf_"))
        if is_catch:
            command += ["-d", "yes", "-r", "xml", "-o", str(report)]
        status = jobs.run(as_root(command) if privileged else command, log, program["timeout"], cwd=program["cwd"], env=program["env"])
        prefix = program["name"].split(".", 1)[-1]
        cases = results.read_catch(report, label, f"{prefix}: ")
        if not is_catch and status == 0:  # a corpus replay: the program is the case
            cases = [results.Case(label, f"{prefix}: runs its corpus", results.PASSED)]
        cases = results.judge_program(cases, label, prefix, status, results.tail(log))
        totals = results.count(cases)
        options.say(f"{program['name']}: {totals['passed']} passed"
                    + "".join(f", {totals[k]} {k}" for k in ("failed", "skipped") if totals[k]))
        return cases

    programs = build.ctest_programs(where, label)
    if not programs:
        return [results.Case(label, "the suite has programs", results.FAILED, f"CTest in {where} knows no test with label {label}")]
    return [c for part in jobs.side_by_side([functools.partial(one, p) for p in programs], width) for c in part]


def pytest_suite(name: str, options: Options, *, privileged: bool, width: int, limit_s: float) -> list[results.Case]:
    report, log = REPORTS / f"{name}.junit.xml", REPORTS / f"{name}.log"
    report.unlink(missing_ok=True)
    command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-q", f"tests/{name}", f"--junitxml={report}", "-o", "junit_logging=no"]
    if width > 1:
        command += ["-n", str(width), "--dist", "load"]
    if options.filter:
        command += ["-k", options.filter]
    done = 0

    def progress(line: str) -> None:
        nonlocal done
        if line.rstrip().endswith("%]"):
            options.say(f"{name}: {line[line.rindex('['):].strip('[] ')}")

    status = jobs.run(as_root(command) if privileged else command, log, limit_s, cwd=ROOT,
                      env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}, on_line=progress)
    return results.judge_program(results.read_junit(report, name), name, name, status, results.tail(log))


def check(options: Options) -> list[results.Case]:
    build.skeletons("dev")
    return pytest_suite("check", options, privileged=False, width=options.width, limit_s=900)


def unit(options: Options) -> list[results.Case]:
    return catch_programs("unit", "dev", options, privileged=False, width=options.width)


def bpf(options: Options) -> list[results.Case]:
    return catch_programs("bpf", "dev", options, privileged=True, width=1)


def netns(options: Options) -> list[results.Case]:
    build.build("release", options.say)
    return pytest_suite("netns", options, privileged=True, width=NETNS_WIDTH, limit_s=2400)


def demo_suite(options: Options) -> list[results.Case]:
    build.build("release", options.say)
    return demo.run(as_root, REPORTS, options.say)


def vm_suite(options: Options) -> list[results.Case]:
    where = build.build("release", options.say)
    return vm.run(list(options.kernels), [name for names in vm.BOOTS for name in names], where, min(2, options.width))


def istiod(options: Options) -> list[results.Case]:
    """Skipped aloud where the control plane can neither be found nor built in time."""
    build.build("release", options.say)
    log = REPORTS / "cluster-tools.log"
    options.say("istiod: looking for a control plane; the first time it is built, which takes some 10 minutes")
    if jobs.run([str(ROOT / "scripts/cluster-tools")], log, CLUSTER_BUILD_LIMIT_S, cwd=ROOT,
                on_line=lambda line: options.say(line.strip()) if line.startswith("cluster-tools:") else None) != 0:
        return [results.Case("istiod", "a real control plane", results.SKIPPED, results.tail(log).strip().splitlines()[-1])]
    return pytest_suite("istiod", options, privileged=True, width=ISTIOD_WIDTH, limit_s=1200)


def fuzz(options: Options) -> list[results.Case]:
    where = build.build("fuzz", options.say)
    targets = sorted(path.stem for path in (ROOT / "tests/fuzz").glob("*_fuzz.cpp"))

    def one(target: str) -> list[results.Case]:
        work = where / "fuzz" / target
        findings = work / "findings"
        shutil.rmtree(work, ignore_errors=True)
        findings.mkdir(parents=True)
        (work / "corpus").mkdir()
        kept = [str(d) for d in (ROOT / "tests/fuzz/corpus" / target, ROOT / "tests/fuzz/corpus" / target.removesuffix("_fuzz")) if d.is_dir()]
        log = REPORTS / f"fuzz.{target}.log"
        # The first directory takes what is found new; the kept corpora are only read.
        status = jobs.run([str(where / "bin" / target), f"-max_total_time={options.fuzz_seconds}", "-timeout=10", "-rss_limit_mb=2048",
                           f"-artifact_prefix={findings}/", "-print_final_stats=1", str(work / "corpus"), *kept],
                          log, options.fuzz_seconds + 120)
        name = f"{target}: {options.fuzz_seconds} s without a finding"
        options.say(f"fuzz {target}: {'ok' if status == 0 else f'status {status}'}")
        if status == 0:
            return [results.Case("fuzz", name, results.PASSED)]
        return [results.Case("fuzz", name, results.FAILED, f"inputs: {[str(p) for p in findings.iterdir()]}\n{results.tail(log)}")]

    if not targets:
        return [results.Case("fuzz", "the suite has targets", results.FAILED, "no tests/fuzz/*_fuzz.cpp")]
    return [c for part in jobs.side_by_side([functools.partial(one, t) for t in targets], options.width) for c in part]


def tidy(options: Options) -> list[results.Case]:
    """clang-tidy over every source of ours; slow, so only when asked for."""
    where = build.skeletons("tidy")
    found = subprocess.run([str(ROOT / "scripts/clang-tidy")], capture_output=True, text=True)
    if found.returncode != 0:
        return [results.Case("tidy", "clang-tidy", results.SKIPPED, found.stderr.strip())]
    program = found.stdout.strip()
    sources = sorted(p for top in ("userspace", "cni-plugin") for p in (ROOT / top).rglob("*.cpp"))

    def one(source: pathlib.Path) -> results.Case:
        relative = str(source.relative_to(ROOT))
        out = REPORTS / "tidy" / (relative.replace("/", "_") + ".log")
        status = jobs.run([program, "--quiet", "-p", str(where), str(source)], out, 600, cwd=ROOT)
        text = results.tail(out, 8000)
        options.say(f"tidy {relative}: {'ok' if status == 0 else 'FAILED'}")
        return results.Case("tidy", relative, results.PASSED if status == 0 else results.FAILED, "" if status == 0 else text)

    return jobs.side_by_side([functools.partial(one, s) for s in sources], options.width)


@dataclasses.dataclass(frozen=True)
class Suite:
    name: str
    run: Callable[[Options], list[results.Case]]
    about: str
    is_default: bool = True
    # In CI a skip of one of these is a failure.
    must_run: bool = True


SUITES = (
    Suite("check", check, "format, include arrows, headers alone, SPDX lines, shell scripts"),
    Suite("unit", unit, "codecs, state machines, policy, decisions of the BPF programs compiled here; ASan and UBSan"),
    Suite("bpf", bpf, "the BPF programs load, verify, attach and decide on this kernel (root)"),
    Suite("demo", demo_suite, "scripts/demo in each of its forms shows what it claims, in its time, and leaves nothing behind (root)"),
    Suite("netns", netns, "two nodes of network namespaces, real CNI calls, real agents; faults (root)"),
    Suite("vm", vm_suite, "the same under Debian's kernels 6.1, 6.12 and 7, and kernel TLS (root, QEMU)"),
    Suite("istiod", istiod, "agents under an unchanged istiod, kube-apiserver and etcd (root, Go for the first time)", must_run=False),
    Suite("fuzz", fuzz, "every parser under libFuzzer (--fuzz-seconds each)", must_run=False),
    Suite("tidy", tidy, "clang-tidy over userspace/ and cni-plugin/; only when named", is_default=False, must_run=False),
)
