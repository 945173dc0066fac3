# SPDX-License-Identifier: Apache-2.0
"""CpuGroups: a scheduling group for each node's agent and each pod, as a kubelet makes them. Within one group the scheduler sees threads; between groups it
sees groups, and a thread that yields does not yield to those of another.
"""

import contextlib
import pathlib

from culvert_harness.run import wait_for

# What the pods ask for, in shares: 1,024 are a CPU. A ztunnel asks for 200m by its chart; 100m is what small applications ask for.
AGENT_SHARES, POD_SHARES = 204, 102


def controller() -> tuple[pathlib.Path, bool]:
    """Where the cpu controller's groups are made, and whether that is cgroup v2. RuntimeError without one."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        path = pathlib.Path(where)
        if kind == "cgroup" and "cpu" in options.split(","):
            return path, False
        if kind == "cgroup2" and "cpu" in (path / "cgroup.controllers").read_text().split():
            return path, True
    raise RuntimeError("this machine has no cgroup hierarchy with the cpu controller, so pods cannot have CPU groups of their own")


class CpuGroups:
    """Made below one group of its own; gone with `remove`, once their processes are."""

    def __init__(self, name: str):
        top, self.is_v2 = controller()
        self.root = top / name
        self.made: list[pathlib.Path] = []
        if self.is_v2:
            with contextlib.suppress(OSError):  # it may be on already, by somebody who does not let us ask
                (top / "cgroup.subtree_control").write_text("+cpu")
        self.root.mkdir()
        self.made.append(self.root)
        if self.is_v2:
            (self.root / "cgroup.subtree_control").write_text("+cpu")

    def make(self, name: str, shares: int) -> pathlib.Path:
        group = self.root / name
        group.mkdir()
        self.made.append(group)
        if self.is_v2:  # the conversion of container runtimes
            (group / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))
        else:
            (group / "cpu.shares").write_text(str(shares))
        return group

    def remove(self) -> None:
        for group in reversed(self.made):
            def gone(path: pathlib.Path = group) -> bool:
                path.rmdir()
                return True
            wait_for(gone, f"the processes of {group} to end", 5)
        self.made.clear()
