# SPDX-License-Identifier: Apache-2.0
"""The capture hop alone: bench_hop stands in the agent's place and throws away what it reads, so no TLS and no second socket.

"none" are the same writes to the same reader over the lo of a pod that is not in the mesh.
"""

import json
import time

from culvert_harness.run import Daemon, binary, wait_for

from . import meters
from .rig import Rig

PORT = 7003
WRITE_BYTES = 128 * 1024
FAR = "10.2.0.99"  # an address on the other node; nothing has to be there


def measure(rig: Rig, mode: str, options) -> dict[str, float]:
    pod = rig.pods["none", "client"]
    tool = binary("bench_hop")
    directory = rig.world.directory / "hop"
    log = directory / f"sink-{time.monotonic_ns()}.log"
    if mode == "none":
        sink, target = Daemon(pod.netns.command([tool, "sink", str(PORT)]), log), pod.v4
    else:
        # Outside the pod's namespace, as an agent is.
        sink = Daemon(rig.world.a.netns.command([tool, "capture", pod.netns.path, "--pin-dir", str(rig.world.a.pin_dir), "--state-dir",
                                                 str(directory)]), log)
        target = FAR
    try:
        wait_for(lambda: "ready" in sink.output() or not sink.is_running(), "bench_hop to be ready")
        if not sink.is_running():
            raise RuntimeError(f"bench_hop ended: {sink.output()[-1000:]}")
        send = [tool, "send", target, str(PORT), "--write-bytes", str(WRITE_BYTES), "--seconds"]
        pod.run([*send, "0.3"])
        with meters.use_of([sink.pid]) as use:
            report = json.loads(pod.run([*send, str(options.length(3))]).stdout)
    finally:
        sink.stop()
    gigabytes = report["bytes"] / 1e9
    return {"gbit_s": report["bytes"] * 8 / 1e9 / report["seconds"], "machine_s_per_gb": use.machine_s / gigabytes}
