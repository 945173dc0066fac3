# SPDX-License-Identifier: Apache-2.0
"""Runs the steps, cleans up whatever happens, and says in the end what was shown or which step failed and why."""

import argparse
import fcntl
import shlex
import signal
import subprocess
import sys
import time

from culvert_harness.cni import CniError
from culvert_harness.run import binary

from . import envoy_peer, steps, town, waypoint
from .screen import Screen, bold
from .steps import StepFailed

LOG_LINES = 12
# What is shown: the pods and programs, and the steps.
SHOWS = {"": (town.Town, steps.STEPS), "envoy": (envoy_peer.Town, envoy_peer.STEPS), "waypoint": (waypoint.Town, waypoint.STEPS)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--peer", choices=("envoy",), help="Culvert on one node, something else on the other")
    parser.add_argument("--waypoint", action="store_true", help="an HTTP rule between two pods")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--keep", action="store_true", help="leave it up")
    which.add_argument("--down", action="store_true", help="take away what --keep left")
    return parser.parse_args()


def stop(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def show(town, shown_steps: tuple, screen: Screen) -> bool:
    try:
        town.world.remove()
        town.world.create()
        for name, step in shown_steps:
            screen.step(name)
            step(town, screen)
    except (StepFailed, CniError, AssertionError, RuntimeError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        screen.failed(str(error) or type(error).__name__)
        for node in town.world.nodes.values():
            lines = node.agent.log().splitlines()[-LOG_LINES:]
            if lines:
                print(f"\nthe last lines of {node.name}'s culvertd:")
                screen.say("\n".join(lines))
        return False
    return True


def things_to_try(town) -> str:
    agents = [node.agent for node in town.world.nodes.values() if node.agent.is_running()]
    status = shlex.join(agents[0].ctl_command("status"))
    lines = [f"{bold('Try')} (as root):", *(f"  {line}" for line in town.things_to_try()), f"  {status}"]
    lines += [f"  {status.removesuffix('status')}{command}" for command in ("connections --watch", "certificates", "drops")]
    lines += [f"  {binary('culvertctl')} preflight", f"  nsenter --net={town.world.a.netns.path} tcpdump -ni uplink -A tcp",
              f"logs and configuration: {town.world.directory}", "take it away: scripts/demo --down"]
    return "\n".join(lines)


def main() -> int:
    arguments = parse()
    lock = open(__file__, "rb")  # nothing of its own is left behind
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("demo: another one is running")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    if arguments.down:
        for make, _ in SHOWS.values():
            world = make().world
            was_up = world.directory.exists() or bool(world.leftover_namespaces())
            world.remove()
            print(f"the {world.name} is {'taken away' if was_up else 'not up'}")
        return 0
    make, shown_steps = SHOWS["waypoint" if arguments.waypoint else arguments.peer or ""]
    town = make()
    screen = Screen()
    began = time.monotonic()
    is_kept = False
    try:
        is_good = show(town, shown_steps, screen)
        is_kept = is_good and arguments.keep
    except KeyboardInterrupt:
        print("\nstopped; cleaning up")
        return 130
    finally:
        if not is_kept:
            # A second Ctrl-C must not leave half of it behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            town.world.remove()
    if not is_good:
        return 1
    print(f"\n{bold(f'{len(screen.claims)} claims shown')} in {time.monotonic() - began:.0f} s. "
          + ("It is left up." if is_kept else "Nothing is left behind."))
    if is_kept:
        print(things_to_try(town))
    return 0


if __name__ == "__main__":
    sys.exit(main())
