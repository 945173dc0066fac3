# SPDX-License-Identifier: Apache-2.0
"""Rig: two nodes, and for each role (client, server, a second server on the client's node) one pod in the mesh and one beside it.

Both kinds are wired by the same ptp plugin on the same nodes, so "none" and "culvert" differ in the mesh alone.
"""

import json
import subprocess
import time

from culvert_harness import Authority, World, envoy, programs
from culvert_harness.netns import Netns
from culvert_harness.pod import Pod
from culvert_harness.run import Daemon, binary

from . import meters
from .cpu_groups import AGENT_SHARES, POD_SHARES, CpuGroups

IPERF_PORT, ECHO_PORT = 5201, 7002
ROLES = {"client": "a", "server": "b", "local": "a"}
MODES = ("none", "culvert")
# One congestion control for every namespace: kernels differ in their default.
CONGESTION_CONTROL = "cubic"
# Where a client's Envoy listens for what it carries to the same port of the server: 127.0.0.1 and that much higher.
ENVOY_PORTS = 20_000
SYSCTL = {"net.ipv4.tcp_congestion_control": CONGESTION_CONTROL}


class Rig:
    """One world with its agents."""

    def __init__(self, name: str, config: dict | None = None, *, roles: tuple[str, ...] = tuple(ROLES), modes: tuple[str, ...] = MODES,
                 envoy_role: str = "", policies: list[dict] | None = None, has_cpu_groups: bool = False):
        """`envoy_role`: the pod of this role is Envoy's instead of an agent's; Envoy then counts as an agent. `policies`: of the mesh. `has_cpu_groups`:
        each agent and each pod in a scheduling group of its own."""
        self.name, self.modes, self.envoy_role = name, modes, envoy_role
        self.envoys: list[Daemon] = []
        self.world = World(f"bench-{name}")
        self.world.extra_config = {"log": {"level": "warn", "access": False}, **(config or {})}
        if policies:
            self.world.mesh["policies"] = policies
        self.roles, self.has_cpu_groups = roles, has_cpu_groups
        self.groups: CpuGroups | None = None
        self.pods: dict[tuple[str, str], Pod] = {}  # by mode and role

    def __enter__(self) -> "Rig":
        for role in self.roles:
            self.world.declare(role, ROLES[role], namespace="bench")
            self.world.declare(f"none-{role}", ROLES[role], namespace="bench", protocol="TCP")
        self.world.__enter__()
        try:
            if self.has_cpu_groups:
                self.groups = CpuGroups(f"culvert-bench-{self.name}")
            for node in self.world.nodes.values():
                node.netns.sysctl(SYSCTL)
                self._group(node.netns, AGENT_SHARES)
            if "culvert" in self.modes:
                self.world.start_agents()
            for mode, chain, prefix in (("none", "plain", "none-"), ("culvert", "mesh", "")):
                for role in self.roles if mode in self.modes else ():
                    self.pods[mode, role] = self._pod(prefix + role, "plain" if role == self.envoy_role else chain)
            if self.envoy_role and "culvert" in self.modes:
                self._start_envoy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        self.world.__exit__()
        if self.groups:
            self.groups.remove()

    def _group(self, netns: Netns, shares: int) -> None:
        if self.groups:
            netns.cgroup = self.groups.make(netns.name, shares)

    def _pod(self, name: str, chain: str) -> Pod:
        pod = self.world.make_pod(name, chain=chain)
        pod.netns.sysctl(SYSCTL)
        self._group(pod.netns, POD_SHARES)
        pod.cni_add()
        return pod

    def _start_envoy(self) -> None:
        client, server = self.pair("culvert")
        pod = self.pods["culvert", self.envoy_role]
        credentials = Authority.of(self.world).credentials(pod.identity)
        if pod is server:
            parts = envoy.hbone_server(credentials)
        else:
            parts = [part for port in (IPERF_PORT, ECHO_PORT) for part in envoy.hbone_client(
                credentials, local_port=ENVOY_PORTS + port, authority=f"{server.v4}:{port}", next_hop=server.v4, identity=server.identity)]
        self.envoys.append(envoy.start(pod, self.envoy_role, *parts, concurrency=2))

    @property
    def agents(self) -> list[int]:
        """Process ids of what carries the traffic: the running agents, and Envoy in the place of one."""
        return [node.agent.pid for node in self.world.nodes.values() if node.agent.is_running()] + [daemon.pid for daemon in self.envoys]

    def target(self, mode: str, server: Pod, port: int) -> tuple[str, int]:
        """What the client dials for this port of the server: Envoy captures nothing, it listens."""
        return ("127.0.0.1", ENVOY_PORTS + port) if mode == "culvert" and self.envoy_role == "client" else (server.v4, port)

    def pair(self, mode: str, server: str = "server") -> tuple[Pod, Pod]:
        return self.pods[mode, "client"], self.pods[mode, server]

    def check_agents(self) -> None:
        for node in self.world.nodes.values() if "culvert" in self.modes else ():
            if not node.agent.is_running():
                raise RuntimeError(f"the agent of {node.name} has ended; its last lines:\n{node.agent.log()[-3000:]}")

    def restart_agents(self) -> None:
        """New processes, so that memory and pools are as after a start."""
        for node in self.world.nodes.values():
            node.agent.stop()
            node.agent.start()

    # Servers are started once and stay.
    def serve_iperf(self, pod: Pod) -> None:
        if IPERF_PORT not in pod.netns.listeners():
            programs.iperf3_server(pod, IPERF_PORT)

    def serve_echo(self, pod: Pod) -> None:
        if ECHO_PORT not in pod.netns.listeners():
            programs.echo_server(pod, ECHO_PORT, threads=2)

    def engines(self) -> dict[str, str]:
        """What the agents' records of the preferred cipher go through: cipher, tx, rx."""
        return self.world.a.agent.ctl("status")["engines"][0]


class Holder:
    """Many connections that stay open: `flowtool many`, ended by the end of its input."""

    def __init__(self, client: Pod, server: Pod, count: int):
        self.count = count
        self.process = subprocess.Popen(
            client.netns.command([binary("flowtool"), "many", server.v4, str(ECHO_PORT), "--count", str(count), "--threads", "16",
                                  "--hold-until-stdin-ends"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def opened(self) -> dict:
        """The report of the opening; raises when a connection is missing."""
        line = self.process.stdout.readline()
        report = json.loads(line) if line else {}
        if report.get("count") != self.count or report.get("failures"):
            raise RuntimeError(f"of {self.count} connections not all were opened: {line.strip() or 'flowtool ended'}")
        return report

    def close(self) -> None:
        self.process.stdin.close()
        rest = self.process.stdout.read()
        self.process.wait(60)
        if '"ok":true' not in rest:
            raise RuntimeError(f"held connections broke: {rest.strip()}")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def rested_memory(pids: list[int], key: str, limit_s: float = 10.0) -> int:
    """The sum of `key` over these processes in KiB, once it has not fallen for three seconds: idle agents give memory back."""
    least = sum(meters.memory_kib(pid)[key] for pid in pids)
    began = last_fall = time.monotonic()
    while time.monotonic() - last_fall < 3 and time.monotonic() - began < limit_s:
        time.sleep(0.25)
        now = sum(meters.memory_kib(pid)[key] for pid in pids)
        if now < least:
            least, last_fall = now, time.monotonic()
    return least


def others_cpus(pids: list[int], seconds: float = 0.2) -> float:
    """How many CPUs' worth of time everything but these processes takes now."""
    with meters.use_of(pids) as use:
        time.sleep(seconds)
    return max(0.0, (use.machine_s - use.processes_s) / use.seconds)


def settle(pids: list[int], limit_s: float = 5.0) -> None:
    """Until these processes have been idle for a quarter of a second."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        before = sum(map(meters.process_cpu_s, pids))
        time.sleep(0.25)
        if sum(map(meters.process_cpu_s, pids)) - before < 0.002:
            return
