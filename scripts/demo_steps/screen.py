# SPDX-License-Identifier: Apache-2.0
"""What the demo prints: steps, claims with a tick, and at the end what was shown. Colour only on a terminal."""

import os
import sys

_IS_COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if _IS_COLOURED else text


def bold(text: str) -> str:
    return _paint("1", text)


def dim(text: str) -> str:
    return _paint("2", text)


class Screen:
    def __init__(self) -> None:
        self.claims: list[str] = []
        self.step_name = "start"
        self._number = 0

    def step(self, name: str) -> None:
        self._number += 1
        self.step_name = name
        print(f"\n{bold(f'{self._number}. {name}')}", flush=True)

    def say(self, text: str) -> None:
        for line in text.splitlines():
            print(f"   {dim(line)}", flush=True)

    def shown(self, claim: str) -> None:
        self.claims.append(claim)
        print(f"   {_paint('32', '✓')} {claim}", flush=True)

    def failed(self, why: str) -> None:
        print(f"\n{_paint('31', '✗')} {bold(self.step_name)}: {why}", flush=True)
