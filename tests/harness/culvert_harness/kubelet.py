# SPDX-License-Identifier: Apache-2.0
"""What scheduler, kubelet and container runtime do for a pod of an attached world: its object, its sandbox by CNI, its process, its status."""

import contextlib
import hashlib
import pathlib
import typing

from . import cluster as clusters, run
from .pod import Pod

if typing.TYPE_CHECKING:
    from .cluster import Cluster
    from .world import Workload, World

REDIRECTION = "ambient.istio.io/redirection"


def cgroup_root() -> pathlib.Path:
    """Where cgroup2 is mounted, alone or beside version 1."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(path)
    raise AssertionError("no cgroup2 is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def made(cgroup: pathlib.Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        cgroup.mkdir(parents=True, exist_ok=True)
    return cgroup.is_dir()


class Kubelet:
    def __init__(self, cluster: "Cluster", world: "World"):
        self.cluster, self.world = cluster, world
        self.cgroups: list[pathlib.Path] = []  # the innermost first

    def __enter__(self) -> "Kubelet":
        return self

    def __exit__(self, *_exc) -> None:
        for pod in self.world.pods.values():
            pod.kill_daemons()
        for path in filter(pathlib.Path.exists, self.cgroups):
            run.wait_for(lambda p=path: p.rmdir() or True, f"{path} to be empty")
        with contextlib.suppress(OSError):  # a kubelet's own, or another test's
            (cgroup_root() / "kubepods").rmdir()

    def label_namespace(self, name: str, *, ambient: bool) -> None:
        self.cluster.kubectl("label", "namespace", name, "--overwrite", f"istio.io/dataplane-mode{'=ambient' if ambient else '-'}")

    def schedule(self, workload: "Workload", *, ambient: bool = True) -> None:
        """The pod's object, bound to its node, in a namespace that is in the mesh or not."""
        namespace = clusters.namespace(workload.namespace)
        if not ambient:
            namespace["metadata"]["labels"] = {}
        self.cluster.apply(namespace,
                           {"apiVersion": "v1", "kind": "ServiceAccount",
                            "metadata": {"name": workload.service_account, "namespace": workload.namespace}},
                           clusters.pod_object(workload.name, workload.namespace, workload.service_account, f"node-{workload.node}",
                                               {"app": workload.name}, False))

    def run(self, workload: "Workload", *, ambient: bool = True) -> Pod:
        """From nothing to Running. CniError when the sandbox cannot be had; a kubelet would try again."""
        self.schedule(workload, ambient=ambient)
        return self.make_sandbox(workload)

    def make_sandbox(self, workload: "Workload") -> Pod:
        """Of a pod that is scheduled: CNI ADD, its first process, its status. Again, too: the kubelet's answer to a sandbox that failed."""
        pod = self.world.make_pod(workload.name, chain="istio-cni")
        try:
            pod.cni_add()
        except BaseException:
            pod.netns.delete()
            raise
        self._start(pod)
        self.cluster.set_status("pod", workload.namespace, workload.name,
                                clusters.pod_status([pod.v4, pod.v6], self.world.nodes[workload.node].v4))
        return pod

    def _start(self, pod: Pod) -> None:
        """The sandbox's process, in a cgroup whose path has the pod's uid: this is how its network namespace is found."""
        uid = self.cluster.pod_uid(pod.workload.namespace, pod.name)
        container = cgroup_root() / "kubepods" / f"pod{uid}" / hashlib.sha256(pod.netns.name.encode()).hexdigest()
        # Another test that ends may take `kubepods` away in between.
        run.wait_for(lambda: made(container), f"the cgroup {container}")
        self.cgroups += [path for path in (container, container.parent) if path not in self.cgroups]
        process = pod.start(["sleep", "infinity"], name="pause")
        (container / "cgroup.procs").write_text(str(process.pid))

    def destroy_sandbox(self, pod: Pod) -> None:
        """Its processes end, CNI DEL, its namespace goes."""
        pod.kill_daemons()
        pod.cni_delete()
        pod.netns.delete()

    def delete(self, pod: Pod) -> None:
        """The pod and its object."""
        self.destroy_sandbox(pod)
        self.cluster.delete("pod", pod.workload.namespace, pod.name)

    def is_annotated(self, workload: "Workload") -> bool:
        """Whether istio-cni says that the pod is in the mesh; istiod believes it."""
        return self.redirection(workload) == "enabled"

    def redirection(self, workload: "Workload") -> str | None:
        return self.cluster.pod(workload.namespace, workload.name)["metadata"].get("annotations", {}).get(REDIRECTION)
