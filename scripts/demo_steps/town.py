# SPDX-License-Identifier: Apache-2.0
"""The demo's two nodes: who lives where, and the programs that they run."""

import secrets

from culvert_harness import World, programs
from culvert_harness.pod import Pod

NAME = "demo"


class Town:
    """frontend (node a) calls backend (node b): once as a pair in the mesh, once as a pair outside it. stranger is outside."""

    def __init__(self) -> None:
        self.world = World(NAME)
        self.world.extra_config = {"log": {"level": "info"}}
        # Everything that must not be readable on the link carries this.
        self.secret = f"secret-{secrets.token_hex(12)}"
        declare = self.world.declare
        declare("frontend", "a", namespace="shop")
        declare("backend", "b", namespace="shop", peer_authentication="STRICT")
        declare("stranger", "a", namespace="outside", protocol="TCP")
        declare("plain-frontend", "a", namespace="outside", protocol="TCP")
        declare("plain-backend", "b", namespace="outside", protocol="TCP")

    def pod(self, name: str) -> Pod:
        return self.world.pods[name]

    def pair(self, is_meshed: bool) -> tuple[Pod, Pod]:
        prefix = "" if is_meshed else "plain-"
        return self.pod(f"{prefix}frontend"), self.pod(f"{prefix}backend")

    def things_to_try(self) -> list[str]:
        frontend, backend = self.pair(True)
        enter = f"nsenter --net={frontend.netns.path}"
        return [f"{enter} curl http://{backend.v4}/peer", f"{enter} redis-cli -h {backend.v4}", f"{enter} iperf3 -c {backend.v4}"]

    def start_programs(self) -> None:
        for pod in (self.pod("backend"), self.pod("plain-backend")):
            programs.nginx(pod, {"greeting.txt": f"hello, {self.secret}\n".encode()})
            programs.redis(pod)
            programs.iperf3_server(pod)
