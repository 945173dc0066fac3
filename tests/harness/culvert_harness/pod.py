# SPDX-License-Identifier: Apache-2.0
"""A pod: a namespace that a CNI chain has wired up, and what runs in it."""

import json
import pathlib
import subprocess
import typing

from .netns import Netns
from .run import Daemon, NotYet, binary

if typing.TYPE_CHECKING:
    from .world import Node, Workload


class Pod:
    def __init__(self, node: "Node", workload: "Workload", netns: Netns, *, chain_name: str = "mesh"):
        self.node, self.workload, self.netns, self.chain_name = node, workload, netns, chain_name
        self.daemons: list[Daemon] = []
        self.result: dict = {}

    @property
    def name(self) -> str:
        return self.workload.name

    @property
    def container_id(self) -> str:
        return self.netns.name

    @property
    def v4(self) -> str:
        return self.workload.v4

    @property
    def v6(self) -> str:
        return self.workload.v6

    @property
    def identity(self) -> str:
        return self.workload.identity

    @property
    def cni_args(self) -> dict[str, str]:
        return {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": self.workload.namespace, "K8S_POD_NAME": self.name,
                "K8S_POD_SERVICE_ACCOUNT": self.workload.service_account, "K8S_POD_INFRA_CONTAINER_ID": self.container_id}

    # The runtime's three calls.
    def cni_add(self) -> dict:
        ips = {"cni": {"ips": [f"{self.v4}/24", f"{self.v6}/64"]}}
        self.result = self.node.chains[self.chain_name].add(self.container_id, self.netns.path, self.cni_args, extra_args=ips)
        # A measurement's and a many-connections test's range and TIME_WAIT limit; harmless otherwise.
        self.netns.sysctl({"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_max_tw_buckets": 2000})
        return self.result

    def cni_check(self) -> None:
        self.node.chains[self.chain_name].check(self.container_id, self.netns.path, self.cni_args)

    def cni_delete(self, *, with_netns: bool = True) -> None:
        self.node.chains[self.chain_name].delete(self.container_id, self.netns.path if with_netns else "", self.cni_args)

    # Programs.
    def run(self, command: list[str], **options) -> subprocess.CompletedProcess:
        return self.netns.run(command, **options)

    def start(self, command: list[str], *, name: str | None = None, **options) -> Daemon:
        log = self.node.world.directory / f"{self.netns.name}.{name or pathlib.Path(command[0]).name}.log"
        daemon = Daemon(self.netns.command(command), log, **options)
        self.daemons.append(daemon)
        return daemon

    def flowtool(self, *arguments: object, timeout: float = 120.0, check: bool = True) -> list[dict]:
        """A flowtool client: its JSON lines. With check=False a failure's lines come back, too."""
        done = self.run([binary("flowtool"), *map(str, arguments)], timeout=timeout, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if check and done.returncode != 0:
            raise NotYet(f"flowtool {' '.join(map(str, arguments))} gave {done.returncode}: {done.stdout}{done.stderr}")
        return lines

    def kill_daemons(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
        self.daemons.clear()
