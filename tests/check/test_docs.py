# SPDX-License-Identifier: Apache-2.0
"""What a person is told keeps up with the code: links lead somewhere, and every name that a metric or log can show is explained."""

import re

import pytest
import sources

LISTS = {
    "close reasons": ("userspace/telemetry/close_reason.hpp", r'^\s*X\(\w+,\s*"(\w+)"'),
    "capture counters": ("include/culvert/abi/counters.h", r'^\s*X\([A-Z_]+,\s*"(\w+)"'),
    "worker metrics": ("userspace/telemetry/counters.hpp", r'^\s*X\(\w+,\s*"(culvert_\w+)"'),
}


def markdown():
    return [path for path in sources.files() if path.suffix == ".md"]


def test_links_in_markdown_lead_to_files():
    problems = []
    for path in markdown():
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
                problems.append(f"{sources.relative(path)}: links to {target}, which is not there")
    sources.tell(problems)


@pytest.mark.parametrize("what", LISTS)
def test_every_name_is_documented(what):
    name, pattern = LISTS[what]
    names = re.findall(pattern, (sources.ROOT / name).read_text(), re.MULTILINE)
    assert names, f"{name} no longer has the list of {what}"
    docs = "\n".join(path.read_text() for path in markdown() if sources.relative(path).startswith("docs/"))
    sources.tell([f"docs/ does not mention {entry} ({what}, {name})" for entry in names if not re.search(rf"\b{entry}\b", docs)])


def test_the_commands_of_the_readme_exist():
    readme = sources.ROOT / "README.md"
    assert readme.exists(), "README.md is missing"
    sources.tell([f"README.md names {script}, which is not there" for script in set(re.findall(r"\bscripts/[\w-]+", readme.read_text()))
                  if not (sources.ROOT / script).exists()])
