# SPDX-License-Identifier: Apache-2.0
"""The files that the checks look at: everything that git tracks or would track."""

import functools
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.cache
def files() -> tuple[pathlib.Path, ...]:
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True,
                             check=True).stdout
    return tuple(path for name in sorted(set(listing.decode().split("\0"))) if name and (path := ROOT / name).is_file())


def relative(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def below(*tops: str, suffixes: tuple[str, ...]) -> list[pathlib.Path]:
    return [path for path in files() if relative(path).startswith(tuple(top + "/" for top in tops)) and path.suffix in suffixes]


def first_line(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return stream.readline(200).decode(errors="replace")


def shell_scripts() -> list[pathlib.Path]:
    return [path for path in files() if path.suffix == ".sh" or first_line(path).startswith(("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash"))]


def tell(problems: list[str]) -> None:
    """Fails with all of them, so that one run shows everything."""
    assert not problems, "\n" + "\n".join(problems)
