# SPDX-License-Identifier: Apache-2.0
"""What culvert-cni adds to a pod's CNI ADD: the time of one plugin process, started in the node's namespace as a runtime does."""

import json
import os
import tempfile
import time

from culvert_harness.netns import Netns
from culvert_harness.run import binary

from .rig import Rig

PODS = 40


def measure(rig: Rig, _mode: str, options) -> dict[str, float]:
    count = PODS // 4 if options.is_quick else PODS
    node = rig.world.a
    plain, meshed = node.chains["plain"], node.chains["mesh"]
    plugin = meshed.conflist["plugins"][-1]
    ours, others = [], []
    for number in range(count):
        netns = Netns(f"{node.netns.name}-cni-{number}").create()
        args = {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "bench", "K8S_POD_NAME": "client", "K8S_POD_INFRA_CONTAINER_ID": netns.name}
        try:
            previous = plain.add(netns.name, netns.path, args)
            others.append(plain.last_seconds["ptp"])
            config = {**plugin, "name": meshed.conflist["name"], "cniVersion": meshed.conflist["cniVersion"], "prevResult": previous}
            environment = meshed._env(netns.name, netns.path, args, "eth0")
            ours.append(timed(node.netns, "ADD", config, environment))
            timed(node.netns, "DEL", config, environment)
            plain.delete(netns.name, netns.path, args)
        finally:
            netns.delete()
    ours.sort()
    others.sort()
    return {"p50_ms": at(ours, 0.5) * 1e3, "p99_ms": at(ours, 0.99) * 1e3, "main_plugin_p50_ms": at(others, 0.5) * 1e3}


def at(ordered: list[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]


def timed(node: Netns, command: str, config: dict, environment: dict[str, str]) -> float:
    """Seconds from the start of the plugin's process to its end. posix_spawn, so that this program's size costs nothing."""
    program = binary("culvert-cni")
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
        stdin.write(json.dumps(config).encode())
        stdin.seek(0)
        actions = [(os.POSIX_SPAWN_DUP2, stdin.fileno(), 0), (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1)]

        def call() -> tuple[int, float]:
            began = time.perf_counter()
            pid = os.posix_spawn(program, [program], {**environment, "CNI_COMMAND": command}, file_actions=actions)
            _, status = os.waitpid(pid, 0)
            return status, time.perf_counter() - began

        status, seconds = node.inside(call)
        if status != 0:
            stdout.seek(0)
            raise RuntimeError(f"culvert-cni {command} failed: {stdout.read().decode(errors='replace')}")
    return seconds
