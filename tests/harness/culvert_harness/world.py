# SPDX-License-Identifier: Apache-2.0
"""World: nodes out of network namespaces on one routed link, each with a pod range, CNI networks and an agent.

Every world has names of its own, made from the test's name, and namespaces of its own; so the same addresses serve all of
them, and worlds run beside each other. What is made is removed at the end, and before the start if a dead run left it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from . import run
from .agent import Agent
from .capture import Capture
from .cni import Chain
from .netns import RUN_DIR, Netns
from .pod import Pod

LINK = "uplink"
BPF_DIR = pathlib.Path("/sys/fs/bpf")
TRUST_DOMAIN = "cluster.local"


@dataclasses.dataclass
class Workload:
    """What the mesh is told of one pod, before the pod exists."""

    name: str
    node: str
    namespace: str
    service_account: str
    v4: str
    v6: str
    protocol: str = "HBONE"
    peer_authentication: str | None = None
    fields: dict = dataclasses.field(default_factory=dict)  # more of its entry in mesh.workloads, such as waypoint

    @property
    def identity(self) -> str:
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.service_account}"

    def config(self) -> dict:
        entry = {"name": self.name, "namespace": self.namespace, "service_account": self.service_account, "node": f"node-{self.node}",
                 "protocol": self.protocol, "addresses": [self.v4, self.v6]}
        if self.peer_authentication:
            entry["peer_authentication"] = self.peer_authentication
        return entry | self.fields


class Node:
    def __init__(self, world: "World", letter: str):
        self.world, self.letter = world, letter
        self.number = 1 + "abcdefgh".index(letter)
        self.netns = Netns(f"{world.prefix}{letter}")
        self.v4, self.v6 = f"192.168.77.{self.number}", f"fd77::{self.number}"
        self.pods_v4, self.pods_v6 = f"10.{self.number}.0.0/24", f"fd00:{self.number}::/64"
        self.chains: dict[str, Chain] = {}
        self.agent = Agent(self)

    @property
    def name(self) -> str:
        return f"node-{self.letter}"

    @property
    def directory(self) -> pathlib.Path:
        return self.world.directory / self.letter

    @property
    def pin_dir(self) -> pathlib.Path:
        return BPF_DIR / f"{self.world.prefix}{self.letter}"

    def create(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.netns.create()
        self.netns.sysctl({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.default.forwarding": 1})
        self.chains["mesh"] = self.chain("mesh", meshed=True)
        self.chains["plain"] = self.chain("plain", meshed=False)

    def chain(self, name: str, *, meshed: bool, main: str = "ptp", version: str = "1.0.0", plugin: dict | None = None) -> Chain:
        """A network with a real main plugin and host-local; `meshed` puts culvert-cni last, `plugin` overrides its keys."""
        first = {"type": main, "mtu": 1500,
                 "ipam": {"type": "host-local", "dataDir": str(self.directory / "leases"),
                          "ranges": [[{"subnet": self.pods_v4}], [{"subnet": self.pods_v6}]],
                          "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}
        if main == "bridge":
            first |= {"bridge": "cni0", "isGateway": True, "isDefaultGateway": False}
        plugins = [first]
        if meshed:
            plugins.append({"type": "culvert-cni", "agent_socket": str(self.agent.run_dir / "cni.sock"),
                            "state_dir": str(self.agent.state_dir)} | (plugin or {}))
        conflist = {"cniVersion": version, "name": name, "plugins": plugins}
        (self.directory / f"{name}.conflist").write_text(json.dumps(conflist, indent=2))
        return Chain(conflist, self.directory / "cni-cache", self.netns.command([]))


class World:
    def __init__(self, name: str, *, nodes: str = "ab"):
        self.name = name
        # Short: interface names have 15 characters, unix socket paths 107.
        self.prefix = f"cv{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        self.directory = pathlib.Path(tempfile.gettempdir()) / f"culvert-{self.prefix}"
        self.workloads: dict[str, Workload] = {}
        self.pods: dict[str, Pod] = {}
        self.captures: list[Capture] = []
        self.daemons: list[run.Daemon] = []
        self.mesh: dict = {"peer_authentication": "PERMISSIVE"}  # the mesh section of both agents' configuration
        self.namespaces: dict[str, dict] = {}
        self.more_workloads: list[dict] = []  # entries of mesh.workloads beside the declared ones
        self.tunnel: dict = {}  # the tunnel section of both agents' configuration
        self.in_cluster = False  # istiod says who is in the mesh, not the configuration
        self.extra_config: dict = {}  # merged into both agents' configuration, over all of the above
        self.lock = run.MachineLock(self.prefix)
        self.nodes = {letter: Node(self, letter) for letter in nodes}

    # Life.
    def __enter__(self) -> "World":
        self.lock.acquire()
        self.remove()
        try:
            self.create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        self.remove()
        self.lock.release()

    def create(self) -> None:
        self.directory.mkdir(parents=True, mode=0o700)
        for node in self.nodes.values():
            node.create()
        self._link()

    def _link(self) -> None:
        """Two nodes get a veth pair, more get a bridge in the first one's place; here there are two."""
        letters = list(self.nodes)
        if len(letters) != 2:
            return
        a, b = self.nodes[letters[0]], self.nodes[letters[1]]
        a.netns.run(["ip", "link", "add", LINK, "mtu", "1500", "type", "veth", "peer", "name", LINK, "mtu", "1500", "netns", b.netns.name])
        for node, other in ((a, b), (b, a)):
            batch = [f"addr add {node.v4}/24 dev {LINK}", f"addr add {node.v6}/64 dev {LINK} nodad", f"link set {LINK} up",
                     f"route add {other.pods_v4} via {other.v4}",
                     f"route add {other.pods_v6} via {other.v6}"]
            node.netns.run(["ip", "-batch", "-"], input="\n".join(batch) + "\n")

    def remove(self) -> None:
        for capture in self.captures:
            capture.stop()
        for pod in self.pods.values():
            pod.kill_daemons()
        for daemon in self.daemons:
            daemon.kill()
        for node in self.nodes.values():
            node.agent.kill()
        for name in self.leftover_namespaces():
            netns = Netns(name)
            netns.kill_all()
            netns.delete()
        for pins in BPF_DIR.glob(f"{self.prefix}*"):
            shutil.rmtree(pins, ignore_errors=True)
        keep = os.environ.get("CULVERT_KEEP_DIR") == "1"
        if not keep:
            if (mounted := self.directory / "mount").exists():
                run.quietly(["umount", "-R", str(mounted)])
            shutil.rmtree(self.directory, ignore_errors=True)
        self.captures, self.pods, self.daemons = [], {}, []

    def leftover_namespaces(self) -> list[str]:
        if not RUN_DIR.exists():
            return []
        return sorted(path.name for path in RUN_DIR.iterdir() if path.name.startswith(self.prefix))

    # Nodes by attribute: world.a, world.b.
    def __getattr__(self, name: str) -> Node:
        nodes = self.__dict__.get("nodes", {})
        if name in nodes:
            return nodes[name]
        raise AttributeError(name)

    # Pods.
    def declare(self, name: str, node: str, *, namespace: str = "default", service_account: str | None = None, protocol: str = "HBONE",
                peer_authentication: str | None = None) -> Workload:
        """Says that a pod will be: its addresses are fixed from here on. Agents learn it when they (re)read their configuration."""
        host = 10 + sum(1 for workload in self.workloads.values() if workload.node == node)
        number = self.nodes[node].number
        workload = Workload(name, node, namespace, service_account or name, f"10.{number}.0.{host}", f"fd00:{number}::{host:x}", protocol,
                            peer_authentication)
        self.workloads[name] = workload
        return workload

    def add(self, name: str, *, chain: str = "mesh") -> Pod:
        """The runtime's part: namespace, then CNI ADD through the named chain."""
        pod = self.make_pod(name, chain=chain)
        pod.cni_add()
        return pod

    def make_pod(self, name: str, *, chain: str = "mesh") -> Pod:
        """Only the namespace."""
        workload = self.workloads[name]
        node = self.nodes[workload.node]
        pod = Pod(node, workload, Netns(f"{node.netns.name}-{name}").create(), chain_name=chain)
        self.pods[name] = pod
        return pod

    # Agents.
    def start_agents(self) -> None:
        for node in self.nodes.values():
            node.agent.start(wait=False)
        for node in self.nodes.values():
            node.agent.wait_ready()

    def start_with(self, **nodes: str) -> None:
        """Pods of the namespace shop on these nodes, by name: declared, the agents started, the pods added."""
        for name, node in nodes.items():
            self.declare(name, node, namespace="shop")
        self.start_agents()
        for name in nodes:
            self.add(name)

    def split_into_networks(self, vip: str, *, target_port: int, family: str = "v4") -> None:
        """`client` lives in the network west, what else is declared in east; for the client, the service web of the workload shop/one, VIP:80, is
        behind east's gateway, the workload `gateway`, by its address of `family`. Before the agents start."""
        config, one = self.mesh_config, self.workloads["one"]
        gateway = getattr(self.workloads["gateway"], family)
        for node, network in (("a", "west"), ("b", "east")):
            seen = config()
            for workload in seen["workloads"]:
                workload["network"] = "west" if workload["name"] == "client" else "east"
                if workload["name"] == "one" and network == "west":
                    workload["network_gateway"] = f"east/{f'[{gateway}]' if family == 'v6' else gateway}:15008"
            seen["services"] = [{"name": "web", "namespace": "shop", "addresses": [vip], "ports": [{"port": 80, "target_port": target_port}],
                                 "endpoints": [{"workload": "shop/one"}], "subject_alt_names": [one.identity]}]
            self.nodes[node].agent.extra_config = {"network": network, "mesh": seen}

    def reload(self) -> None:
        """New configuration for the running agents, in force when this returns."""
        for node in self.nodes.values():
            if node.agent.is_running():
                node.agent.reload()

    def mesh_config(self) -> dict:
        listed = [workload.config() for workload in self.workloads.values() if workload.namespace not in self.namespaces
                  or self.namespaces[workload.namespace].get("enrol") is not False]
        if self.in_cluster:
            return {"enrol": "all"}
        return self.mesh | {"workloads": listed + self.more_workloads,
                            "namespaces": [{"name": name, **entry} for name, entry in self.namespaces.items()]}

    # The link.
    def capture(self, node: str = "a", interface: str = LINK, expression: str = "") -> Capture:
        capture = Capture(self.nodes[node].netns, interface, self.directory / f"capture-{len(self.captures)}.pcap", expression)
        self.captures.append(capture)
        capture.start()
        return capture

    def set_link(self, up: bool) -> None:
        node = next(iter(self.nodes.values()))
        node.netns.run(["ip", "link", "set", LINK, "up" if up else "down"])
        if up:  # going down took the routes with it
            for one, other in (("a", "b"), ("b", "a")):
                here, there = self.nodes[one], self.nodes[other]
                with contextlib.suppress(AssertionError):
                    here.netns.run(["ip", "addr", "add", f"{here.v6}/64", "dev", LINK, "nodad"])
                here.netns.run(["ip", "route", "replace", there.pods_v4, "via", there.v4])
                run.wait_for(lambda h=here, t=there: h.netns.run(["ip", "-6", "route", "replace", t.pods_v6, "via", t.v6]),
                             "the IPv6 route over the link")
