# SPDX-License-Identifier: Apache-2.0
"""Packs what a guest reads again and again into one file, a tar that is the guest's /dev/vda: programs without debug information, their
libraries, Python and the tests. A guest's root is this machine's, over 9p, where under emulation a megabyte takes about a second; from
the disk a hundred take four. vm-tests/programs.sh unpacks it, into memory."""

import pathlib
import re
import shutil
import subprocess

from .build import RELEASE_PROGRAMS

SYSTEM = ("bash", "cat", "curl", "ip", "nginx", "nsenter", "openssl", "sh", "sysctl", "tc", "tcpdump", "umount",
          "/usr/bin/python3", "/usr/lib/cni/host-local", "/usr/lib/cni/ptp")
# Of Python: what no test imports, and is large.
LEFT_OUT = ("config-*", "ensurepip", "gi", "idlelib", "lib2to3", "oauthlib", "pip", "pydoc_data", "pygments", "setuptools", "test",
            "tests", "tkinter")


def python_directories() -> list[str]:
    asked = subprocess.run(["/usr/bin/python3", "-c", "import os; print(os.path.dirname(os.__file__))"], capture_output=True, text=True, check=True)
    return [asked.stdout.strip(), "/usr/lib/python3/dist-packages"]


def libraries(program: pathlib.Path) -> set[str]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)  # static ones have none
    return set(re.findall(r"=> (/\S+) ", listed.stdout))


# Collects the tests below $1, which stands in for $2/tests: byte code names the files that it was made from, and tracebacks show them.
COMPILE = """
import compileall, sys, pytest

class WritesByteCode:
    def pytest_collection(self):
        sys.dont_write_bytecode = False

compileall.compile_dir("tests/harness", quiet=1)
sys.exit(pytest.main(["-p", "no:cacheprovider", "-q", "--collect-only", "tests/netns"], plugins=[WritesByteCode()]))
"""
IN_PLACE = 'mount --bind "$1/tests" "$2/tests" && cd "$2" && exec /usr/bin/python3 -B -c "$3"'


def copy_tests(source: pathlib.Path, stage: pathlib.Path, log: pathlib.Path) -> None:
    """With the byte code that pytest makes of them, which takes a guest half a minute."""
    for part in ("harness", "netns"):
        shutil.copytree(source / "tests" / part, stage / "tests" / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(source / "tests/pytest.ini", stage / "tests")
    with log.open("wb") as output:
        subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_PLACE, "-", str(stage), str(source), COMPILE], check=True,
                       stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def pack(source: pathlib.Path, build: pathlib.Path, target: pathlib.Path, log: pathlib.Path) -> None:
    """Writes `target`, as root; what pytest says goes to `log`. Raises subprocess.CalledProcessError or OSError. A program that is not there is
    left out: its case says so."""
    stage = target.with_suffix(".d")
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "bin").mkdir(parents=True)
    (stage / "lib").mkdir()
    needed: set[str] = set()
    for program in [*(build / "bin" / name for name in RELEASE_PROGRAMS), *sorted((build / "bin").glob("bpf_*"))]:
        if program.exists():
            subprocess.run(["objcopy", "--strip-debug", str(program), str(stage / "bin" / program.name)], check=True)
            needed |= libraries(program)
    for name in SYSTEM:
        if found := shutil.which(name):
            shutil.copy(found, stage / "bin" / pathlib.Path(name).name)
            needed |= libraries(pathlib.Path(found))
    for library in needed:
        shutil.copy(library, stage / "lib")
    copy_tests(source, stage, log)
    subprocess.run(["tar", "-cf", str(target), "-C", str(stage), "bin", "lib", "tests",
                    *(f"--exclude={name}" for name in LEFT_OUT), "-C", "/", *(path.lstrip("/") for path in python_directories())], check=True)
    shutil.rmtree(stage)
    with target.open("ab") as image:
        image.truncate(-(-target.stat().st_size // 1_048_576) * 1_048_576)
