# SPDX-License-Identifier: Apache-2.0
"""ControlRig: one node with an agent whose control plane is ads_server.py; and what is read of the agent."""

import json
import pathlib
import subprocess
import sys
import time

from culvert_harness import World, wait_for

from . import meters

PORT = 15010


class ControlRig:
    """One agent, freshly started, that knows nothing yet."""

    def __init__(self, config: dict | None = None):
        self.world = World("bench-control", nodes="a")
        self.world.in_cluster = True
        self.world.extra_config = {"log": {"level": "info", "access": False},
                                   "control_plane": {"xds_address": f"http://127.0.0.1:{PORT}", "token": ""}, **(config or {})}
        self.server: subprocess.Popen | None = None

    def __enter__(self) -> "ControlRig":
        self.world.__enter__()
        try:
            command = [sys.executable, "-m", "culvert_bench.ads_server", str(PORT)]
            self.server = subprocess.Popen(self.world.a.netns.command(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.read()
            self.world.a.agent.start(wait=False)  # it is ready once it has a mesh
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        self.world.__exit__()

    @property
    def agent(self):
        return self.world.a.agent

    def read(self) -> dict:
        line = self.server.stdout.readline()
        if not line:
            raise RuntimeError("the scripted control plane has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{answer['error']}; the agent's last lines:\n{self.agent.log()[-2000:]}")
        return answer

    def ask(self, do: str, **arguments) -> dict:
        self.server.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.server.stdin.flush()
        return self.read()

    def settled_rss_mb(self) -> float:
        """Resident memory once it falls no further."""
        return settled_rss_mb(self.agent.pid)

    def peak_mb(self) -> float:
        status = pathlib.Path(f"/proc/{self.agent.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024 / 1e6

    def cpu_s(self) -> float:
        return meters.process_cpu_s(self.agent.pid)


def settled_rss_mb(pid: int, patience_s: float = 12) -> float:
    least, since = float("inf"), time.monotonic()

    def settled() -> bool:
        nonlocal least, since
        now = meters.memory_kib(pid)["Rss"]
        if now < least:
            least, since = now, time.monotonic()
        return time.monotonic() - since > 3
    wait_for(settled, "the agent's memory to settle", patience_s * 5, interval=0.25)
    return least * 1024 / 1e6
