# SPDX-License-Identifier: Apache-2.0
"""A stock istio-cni on one node: its agent (install-cni) as the chart's DaemonSet runs it, which installs its plugin itself.

The agent's container is a root of its own in a mount namespace of its own: the machine's programs and libraries, the mounts that the DaemonSet
has, and nothing else of the node. Its settings are those of the chart's manifest; it talks to the real API server with a token of its own service
account. A World's node has no init and no kubelet: one process that does nothing stands for both. The first is how istio-cni finds the node's network
namespace, the other how its nftables rules know whose connections are probes.
"""

import contextlib
import json
import pathlib
import shutil
import signal
import typing

from . import cluster as clusters, run
from .cni import Chain

if typing.TYPE_CHECKING:
    from .cluster import Cluster
    from .world import Node

READINESS_PORT = 8000
CONFLIST = "10-pods.conflist"
PLUGIN = "istio-cni"
DAEMON_SET, CONFIG_MAP = "istio-cni-node", "istio-cni-config"
# Of the machine: what iptables and the agent are made of. All else of the container is the agent's own.
CONTAINER = r"""
set -e
root=$1 node=$2 programs=$3 init=$4
mount -t tmpfs tmpfs "$root"
cd "$root"
mkdir -p usr etc dev proc tmp run/secrets/kubernetes.io/serviceaccount run/ztunnel var opt/cni/bin host/proc host/opt/cni/bin host/etc/cni/net.d \
  host/var/run/netns ".$node/istio-cni"
ln -s ../run var/run
ln -s var/run host/run
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
for name in usr etc dev proc; do mount --rbind "/$name" "$name"; done
mount --rbind /proc host/proc
mount --bind "/proc/$init" host/proc/1
mount --rbind /run/netns host/var/run/netns
mount --bind "$node/cni-bin" host/opt/cni/bin
mount --bind "$node/net.d" host/etc/cni/net.d
mount --bind "$node/ztunnel" run/ztunnel
mount --bind "$node/istio-cni" ".$node/istio-cni"
mount --bind "$node/istio-cni-account" run/secrets/kubernetes.io/serviceaccount
for name in install-cni opt/cni/bin/istio-cni; do touch "$name"; mount --bind "$programs/${name##*/}" "$name"; done
shift 4
exec chroot . /install-cni "$@"
"""


class NodeAgent:
    """istio-cni's agent of one node of an attached world, and the network that it puts its plugin into (`chain` "istio-cni")."""

    def __init__(self, cluster: "Cluster", node: "Node", **settings: str):
        """`settings`: over those of the manifest, by their names in the ConfigMap."""
        self.cluster, self.node, self.settings = cluster, node, settings
        self.daemon: run.Daemon | None = None
        self.init: run.Daemon | None = None
        self.starts = 0

    def __enter__(self) -> "NodeAgent":
        try:
            self.prepare()
            self.start(wait=False)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc) -> None:
        self.kill()
        if self.init is not None:
            self.init.kill()

    @property
    def name(self) -> str:
        return f"{DAEMON_SET}-{self.node.letter}"

    @property
    def zds_socket(self) -> pathlib.Path:
        """Where it listens for the node's proxy."""
        return self.node.directory / "ztunnel/ztunnel.sock"

    # Before it starts.
    def prepare(self) -> None:
        """The node's directories, its network, the agent's DaemonSet and pod as objects, and its account's files."""
        directories = {name: self.node.directory / name for name in ("istio-cni-root", "cni-bin", "net.d", "ztunnel", "istio-cni", "istio-cni-account")}
        for path in directories.values():
            path.mkdir(parents=True, exist_ok=True)
        (directories["net.d"] / CONFLIST).write_text(json.dumps(self.node.chain("pods", meshed=False).conflist))
        self.cluster.add_pod(self.name, clusters.ISTIO, PLUGIN, self.node.name, [self.node.v4], self.node.v4, labels={"k8s-app": DAEMON_SET},
                             meshed=False, beside=[self._object("DaemonSet", DAEMON_SET)])
        files = directories["istio-cni-account"]
        (files / "token").write_text(self.cluster.token(PLUGIN, clusters.ISTIO, self.name, audience=""))
        (files / "namespace").write_text(clusters.ISTIO)
        shutil.copy(self.cluster.directory / "certs/apiserver.crt", files / "ca.crt")
        self.node.agent.environment["INPOD_UDS"] = str(self.zds_socket)
        shutil.copy("/bin/sleep", self.node.directory / "kubelet")
        self.init = run.Daemon(self.node.netns.command([self.node.directory / "kubelet", "infinity"]), self.node.directory / "kubelet.log")
        run.wait_for(lambda: pathlib.Path(f"/proc/{self.init.pid}/comm").read_text() == "kubelet\n", "the node's first process")

    def _object(self, kind: str, name: str) -> dict:
        [found] = [one for one in clusters.manifest(self.cluster.home) if one["kind"] == kind and one["metadata"]["name"] == name]
        return found

    def environment(self) -> dict[str, str]:
        """What the DaemonSet's container has, and where this node's files and the API server are."""
        fields = {"spec.nodeName": self.node.name, "metadata.name": self.name, "metadata.namespace": clusters.ISTIO}
        [container] = self._object("DaemonSet", DAEMON_SET)["spec"]["template"]["spec"]["containers"]
        variables = dict(self._object("ConfigMap", CONFIG_MAP)["data"])
        for entry in container["env"]:
            field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            if "value" in entry or field:
                variables[entry["name"]] = entry["value"] if "value" in entry else fields[field]
        return variables | {"CNI_AGENT_RUN_DIR": str(self.node.directory / "istio-cni"), "KUBERNETES_SERVICE_HOST": clusters.API_SERVICE,
                            "KUBERNETES_SERVICE_PORT": str(clusters.API_PORT)} | self.settings

    # Life.
    def start(self, *, wait: bool = True) -> None:
        self.starts += 1
        node = str(self.node.directory)
        assert self.init is not None
        command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", CONTAINER, "sh", f"{node}/istio-cni-root", node, str(self.cluster.home),
                   str(self.init.pid), "--log_output_level=info", "--ctrlz_port=0"]
        self.daemon = run.Daemon(self.node.netns.command(command), self.log_path, env=self.environment())
        if wait:
            self.wait_ready()

    @property
    def log_path(self) -> pathlib.Path:
        return self.node.directory / f"install-cni.{self.starts}.log"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.node.agent.http(READINESS_PORT, "/readyz")[0] == 200
        return False

    def wait_ready(self) -> None:
        """Its plugin is in the node's network, and pods can come."""
        assert self.daemon is not None
        self.daemon.wait_ready(self.is_ready, f"install-cni of {self.node.name}", 30, interval=0.05)
        conflist = json.loads((self.node.directory / "net.d" / CONFLIST).read_text())
        assert [plugin["type"] for plugin in conflist["plugins"]][-1] == PLUGIN, conflist
        self.node.chains[PLUGIN] = Chain(conflist, self.node.directory / "cni-cache", self.node.netns.command([]),
                                         bin_dir=str(self.node.directory / "cni-bin"))

    def stop(self) -> int:
        """SIGTERM, as an upgrade of the DaemonSet does it. The exit status."""
        assert self.daemon is not None
        self.daemon.signal(signal.SIGTERM)
        status = self.daemon.wait()
        self.daemon = None
        return status

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon = None
