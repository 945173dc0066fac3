# SPDX-License-Identifier: Apache-2.0
"""Format, licences, size, and what must not stand in a file."""

import re
import subprocess

import pytest
import sources

CPP = (".cpp", ".hpp", ".c", ".h")
DUAL = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
APACHE = "SPDX-License-Identifier: Apache-2.0"
LINES_MAX = 400


def cpp_tops() -> list[str]:
    """Folders that are formatted and reported one by one."""
    tops = set()
    for path in sources.files():
        if path.suffix in CPP:
            parts = sources.relative(path).split("/")
            tops.add("/".join(parts[:2]) if parts[0] in ("userspace", "tests") and len(parts) > 2 else parts[0])
    return sorted(tops)


@pytest.mark.parametrize("top", cpp_tops())
def test_format(top):
    """scripts/format mends it."""
    paths = [str(path) for path in sources.below(top, suffixes=CPP)]
    done = subprocess.run(["clang-format-19", "--dry-run", "-Werror", *paths], capture_output=True, text=True, check=False)
    wrong = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", done.stderr, re.MULTILINE)))
    assert done.returncode == 0, "run scripts/format; these differ:\n" + "\n".join(wrong)


def test_every_source_has_its_spdx_line():
    kinds = (*CPP, ".py", ".sh", ".cmake", ".yaml", ".yml", ".service")
    problems = []
    for path in sources.files():
        name = sources.relative(path)
        if name.startswith("LICENSES/") or name.startswith("tests/fuzz/corpus/"):
            continue
        if path.suffix not in kinds and path.name not in ("CMakeLists.txt", "Dockerfile") and not sources.first_line(path).startswith("#!"):
            continue
        head = "\n".join(path.read_text(errors="replace").splitlines()[:3])
        is_kernel = name.startswith(("bpf/", "include/culvert/abi/")) or ".bpf." in name
        wanted = DUAL if is_kernel and path.suffix in (".c", ".h") else APACHE
        if wanted not in head:
            problems.append(f"{name}: its first lines lack '{wanted}'")
    sources.tell(problems)


def test_files_stay_small():
    counted = ((path, len(path.read_text().splitlines())) for path in sources.below("userspace", "bpf", "cni-plugin", "include", suffixes=CPP))
    sources.tell([f"{sources.relative(path)}: {lines} lines; the limit is {LINES_MAX}: one file, one subject" for path, lines in counted
                  if lines > LINES_MAX])


def test_nothing_is_left_unfinished():
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    problems = []
    for path in sources.files():
        name = sources.relative(path)
        if name.startswith(("LICENSES/", "tests/fuzz/corpus/")):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if marks.search(line):
                problems.append(f"{name}:{number}: {line.strip()[:100]}")
    sources.tell(problems)


def test_no_path_of_one_machine_stands_in_the_tree():
    problems = []
    for path in sources.files():
        name = sources.relative(path)
        if name.startswith(("LICENSES/", "tests/fuzz/corpus/")):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if re.search(r"(?<![\w.])/(?:home/\w+|work)/", line):
                problems.append(f"{name}:{number}: {line.strip()[:100]}")
    sources.tell(problems)


def test_shell_scripts_pass_shellcheck():
    scripts = sources.shell_scripts()
    done = subprocess.run(["shellcheck", "-x", *map(str, scripts)], cwd=sources.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_python_compiles():
    problems = []
    for path in sources.files():
        if path.suffix == ".py" or sources.first_line(path).startswith("#!/usr/bin/python3"):
            try:
                compile(path.read_text(), str(path), "exec")
            except SyntaxError as error:
                problems.append(f"{sources.relative(path)}:{error.lineno}: {error.msg}")
    sources.tell(problems)
