# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of vm-tests/cases under Debian's kernels and prints one line a test case.

Needs the release build and root. Kernels and virtme-ng come by package name (vm-tests/run-guest). Reports: build/vm-tests/KERNEL/.
"""

import argparse
import functools
import os
import pathlib
import re
import shutil
import subprocess

from . import jobs, results, vm_disk

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KERNELS = ("6.1", "6.12", "7")
# One boot each: a kernel that dies takes only its own boot's cases along.
BOOTS = (("noipv6",), ("preflight", "bpf", "tls", "engines"), ("netns",))
# Cases whose kernel is booted with more on its command line, and only on these: what they look at is the same in each.
APPENDED = {"noipv6": "ipv6.disable=1"}
ONLY_ON = {"noipv6": ("6.12",)}
CASE_LIMIT_S = 1800  # some ten times what a machine with nothing else to do needs


def boot(kernel: str, names: tuple[str, ...], disk: pathlib.Path, reports: pathlib.Path) -> list[results.Case]:
    script = [f"export CULVERT_SOURCE={ROOT}", f". {ROOT}/vm-tests/programs.sh", "unpack_disk || exit 1"]
    for name in names:
        here = reports / name
        here.mkdir(parents=True, exist_ok=True)
        script.append(f"export CASE_RESULTS={here}; timeout {CASE_LIMIT_S} bash {ROOT}/vm-tests/cases/{name} > {here}/log 2>&1; "
                      f"echo $? > {here}/status; echo \"guest: {name} ended, up $(cut -d' ' -f1 /proc/uptime) s\"")
    payload = reports / ("-".join(names) + ".sh")
    payload.write_text("\n".join(script) + "\nsync\n")
    log = reports / ("-".join(names) + ".guest.log")
    environment = {"GUEST_SHARE": str(ROOT), "GUEST_DISK": str(disk), "GUEST_TIMEOUT_S": str(CASE_LIMIT_S * len(names) + 120),
                   "GUEST_APPEND": " ".join(APPENDED[name] for name in names if name in APPENDED)}
    status = jobs.run([str(ROOT / "vm-tests/run-guest"), kernel, "bash", str(payload)], log,
                      CASE_LIMIT_S * len(names) + 300, cwd=ROOT, env=environment)
    cases: list[results.Case] = []
    for name in names:
        cases += read_case(kernel, name, reports / name, status, log)
    for line in re.findall(r"^(?:guest|vm-tests): .*$", log.read_text(errors="replace"), re.MULTILINE):
        print(f"  {kernel} {line}", flush=True)
    for case in cases:
        mark = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[case.outcome]
        print(f"  {case.name}: {mark}" + (f" ({case.detail.splitlines()[0]})" if case.detail else ""), flush=True)
    return cases


def read_case(kernel: str, name: str, reports: pathlib.Path, boot_status: int, boot_log: pathlib.Path) -> list[results.Case]:
    prefix = f"{kernel} {name}: "
    status_file, log = reports / "status", reports / "log"
    if not status_file.exists():
        return [results.Case("vm", f"{prefix}ends", results.FAILED,
                             f"the guest ended with {boot_status} before this case did\n"
                             f"{results.tail(log)}\n{results.tail(boot_log)}")]
    status = int(status_file.read_text())
    text = log.read_text(errors="replace")
    cases = [results.Case("vm", prefix + found["name"],
                          {"ok": results.PASSED, "not ok": results.FAILED, "skip": results.SKIPPED}[found["word"]],
                          results.tail(log) if found["word"] == "not ok" else "")
             for found in re.finditer(r"^(?P<word>ok|not ok|skip) (?P<name>.+)$", text, re.MULTILINE)]
    for report in sorted(reports.glob("*.catch.xml")):
        program = report.name.removesuffix(".catch.xml")
        found = re.search(rf"^status {re.escape(program)} (\d+)$", text, re.MULTILINE)
        cases += results.judge_program(results.read_catch(report, "vm", prefix), "vm", prefix + program,
                                       int(found[1]) if found else 1, results.tail(log))
    for report in sorted(reports.glob("*.junit.xml")):
        cases += results.read_junit(report, "vm", prefix)
    return results.judge_program(cases, "vm", prefix.rstrip(": "), status, results.tail(log))


def run(kernels: list[str], names: list[str], build: pathlib.Path, width: int) -> list[results.Case]:
    """The vm suite, for scripts/test as well."""
    reports = ROOT / "build" / "vm-tests"
    ready, cases = [], []
    for kernel in kernels:
        shutil.rmtree(reports / kernel, ignore_errors=True)
        (reports / kernel).mkdir(parents=True)
        log = reports / kernel / "fetch.log"
        if jobs.run([str(ROOT / "vm-tests/run-guest"), kernel, "--fetch"], log, 900, cwd=ROOT) != 0:
            cases.append(results.Case("vm", f"{kernel}: the kernel is there", results.FAILED, results.tail(log)))
            continue
        ready.append(kernel)
        said = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("vm-tests: QEMU ")]
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "culvert/kernels" / kernel
        print(f"  kernel {kernel}: {next((cache / 'lib/modules').iterdir()).name}; {said[-1].removeprefix('vm-tests: ')}", flush=True)
    # The longest boots first, so that the last one does not run alone.
    plan = [(kernel, chosen) for boot_names in reversed(BOOTS) for kernel in reversed(ready)
            if (chosen := tuple(name for name in boot_names if name in names and kernel in ONLY_ON.get(name, KERNELS)))]
    if not plan:
        return cases
    disk, log = reports / "disk.tar", reports / "disk.log"
    try:
        vm_disk.pack(ROOT, build, disk, log)
    except (OSError, subprocess.CalledProcessError) as error:
        return [*cases, results.Case("vm", "the guests' disk is packed", results.FAILED, f"{error}\n{results.tail(log)}")]
    work = [functools.partial(boot, kernel, chosen, disk, reports / kernel) for kernel, chosen in plan]
    return cases + [case for part in jobs.side_by_side(work, width) for case in part]


def main() -> int:
    every = [name for boot_names in BOOTS for name in boot_names]
    parser = argparse.ArgumentParser(prog="vm-tests/run", description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", action="append", choices=KERNELS)
    parser.add_argument("--case", action="append", choices=every)
    parser.add_argument("--width", type=int, default=2, help="guests side by side")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    options = parser.parse_args()
    cases = run(options.kernel or list(KERNELS), options.case or every, options.build.resolve(), options.width)
    for case in cases:
        if case.outcome == results.FAILED:
            print(f"\nFAILED {case.name}\n{case.detail}")
    totals = results.count(cases)
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] else 0
