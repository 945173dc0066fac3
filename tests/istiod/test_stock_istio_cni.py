# SPDX-License-Identifier: Apache-2.0
"""A stock istio-cni, agent and plugin, in front of culvertd in ztunnel's place: real rules, real informers, a real API server and istiod."""

import contextlib
import dataclasses
import os
import pathlib
import threading
import time

import pytest
from culvert_harness import CniError, World, cluster as clusters, programs, scaled, wait_for, zds
from culvert_harness.capture import TUNNEL_PORT
from culvert_harness.istio_cni import NodeAgent
from culvert_harness.kubelet import Kubelet
from culvert_harness.run import run
from culvert_harness.traffic import Traffic, connect, echoes, talks

SECRET = b"the-payload-nobody-on-the-link-may-read"
PORTS = {15001, 15006, 15008, 15053}


@dataclasses.dataclass
class Town:
    world: World
    cluster: clusters.Cluster
    kubelet: Kubelet
    agents: dict[str, NodeAgent]  # istio-cni's, by node

    @property
    def cni(self) -> NodeAgent:
        return self.agents["a"]

    @property
    def culvertd(self):
        return self.world.a.agent

    @property
    def server(self):
        return self.world.pods["server"]

    def run_client(self, name: str = "client", namespace: str = "shop", **options):
        return self.kubelet.run(self.world.declare(name, "a", namespace=namespace), **options)

    def is_in_the_clear(self, client, host: str) -> bool:
        """Whether what a client fetches from nginx can be read on the link."""
        link = self.world.capture()
        assert programs.curl(client, f"http://{host}/").stdout.encode() == SECRET
        wait_for(lambda: link.contains(SECRET) or any(TUNNEL_PORT in one.ports and one.payload for one in link.segments()), "the capture to have it")
        return link.stop().contains(SECRET)


@pytest.fixture
def town(request, world, cluster):
    """Node a: istio-cni and culvertd. Node b: culvert-cni and culvertd, with the pod `server` (echo on 7002, nginx on 80). Parameters: `nodes` that
    have istio-cni, its `settings`, the `tunnel` section of culvertd."""
    wanted = getattr(request, "param", {})
    world.tunnel = wanted.get("tunnel", {})
    with contextlib.ExitStack() as stack:
        kubelet = stack.enter_context(Kubelet(cluster, world))
        agents = {letter: stack.enter_context(NodeAgent(cluster, world.nodes[letter], **wanted.get("settings", {})))
                  for letter in wanted.get("nodes", "a")}
        server = world.declare("server", "b", namespace="shop")
        if "b" not in agents:
            cluster.add_workload(world, server)
        world.start_agents()
        for agent in agents.values():
            agent.wait_ready()
        pod = kubelet.run(server) if "b" in agents else world.add("server")
        programs.nginx(pod, {"index.html": SECRET})
        programs.echo_server(pod)
        yield Town(world, cluster, kubelet, agents)


KINDS = {"by iptables": {}, "over HBONE": {"tunnel": {"offer": ["hbone"]}}, "by nftables": {"settings": {"NATIVE_NFTABLES": "true"}},
         "on both nodes": {"nodes": "ab"}}


@pytest.mark.parametrize("town", KINDS.values(), ids=KINDS, indirect=True)
def test_a_new_pod_is_enrolled_by_the_plugin_and_talks_both_ways_with_its_own_address(town, request):
    client = town.run_client()
    assert town.kubelet.is_annotated(client.workload)
    [row] = town.culvertd.ctl("pods")
    assert (row["id"], row["identity"]) == (town.cluster.pod_uid("shop", "client"), client.identity)
    listed = client.run(["nft", "list", "tables"]).stdout if "nftables" in request.node.name else client.run(["iptables-nft-save"]).stdout
    assert ("istio-ambient-nat" if "nftables" in request.node.name else "ISTIO_OUTPUT") in listed
    programs.nginx(client, {"index.html": SECRET})
    for one, other in ((client, town.server), (town.server, client)):
        for host, own in ((other.v4, one.v4), (f"[{other.v6}]", one.v6)):
            wait_for(lambda o=one, h=host: not town.is_in_the_clear(o, h), f"{one.name} to use a tunnel to {host}", 20)
            assert programs.curl(one, f"http://{host}/peer").stdout.strip() == own
    with contextlib.closing(connect(client, town.server.v4)) as connection:
        assert echoes(connection)
        [row] = [row for row in town.culvertd.ctl("connections") if row["state"] == "open"]
        assert row["destination"]["identity"] == town.server.identity
        assert row["transport"] == ("hbone" if "HBONE" in request.node.name else "direct")


def test_a_pod_outside_the_mesh_is_left_alone(town):
    """The plugin is called for it, too."""
    outsider = town.run_client("outsider", "outside", ambient=False)
    assert town.kubelet.redirection(outsider.workload) is None
    assert town.culvertd.ctl("pods") == []
    assert "ISTIO" not in outsider.run(["iptables-nft-save"]).stdout
    assert town.is_in_the_clear(outsider, town.server.v4)


def test_a_running_pod_joins_with_its_namespaces_label_and_leaves_with_it(town):
    pod = town.run_client("client", "lab", ambient=False)
    programs.nginx(pod, {"index.html": SECRET})
    assert town.is_in_the_clear(pod, town.server.v4)
    town.kubelet.label_namespace("lab", ambient=True)
    wait_for(lambda: town.kubelet.is_annotated(pod.workload), "istio-cni to find the pod and enrol it")
    assert [row["identity"] for row in town.culvertd.ctl("pods")] == [pod.identity]
    for one, other in ((pod, town.server), (town.server, pod)):
        wait_for(lambda o=one, h=other.v4: not town.is_in_the_clear(o, h), f"{one.name} to use a tunnel", 20)
        assert programs.curl(one, f"http://{other.v4}/peer").stdout.strip() == one.v4
    town.kubelet.label_namespace("lab", ambient=False)
    wait_for(lambda: town.kubelet.redirection(pod.workload) is None, "istio-cni to let the pod go")
    assert town.culvertd.ctl("pods") == []
    wait_for(lambda: not pod.netns.listeners() & PORTS, "the listeners to go")
    for one, other in ((pod, town.server), (town.server, pod)):
        wait_for(lambda o=one, h=other.v4: town.is_in_the_clear(o, h), f"{one.name} to talk plainly", 20)


def test_culvertd_killed_and_started_again_is_told_of_its_pods_and_nothing_leaks_meanwhile(town):
    client = town.run_client()
    wait_for(lambda: talks(client, town.server.v4), "the first connection")
    link = town.world.capture()
    town.culvertd.kill()
    assert not talks(client, town.server.v4), "the rules are there and nobody listens"
    began = time.monotonic()
    town.culvertd.start(wait=False)
    wait_for(lambda: talks(client, town.server.v4, timeout=1), "connections to work again", 20, interval=0.05)
    assert time.monotonic() - began < scaled(5)
    town.culvertd.wait_ready()
    assert [row["identity"] for row in town.culvertd.ctl("pods")] == [client.identity]
    link.stop().assert_only_tunnels(client.v4)


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_connections_do_not_notice_that_istio_cni_goes_and_comes_back(town, ending):
    """`stop` is an upgrade's SIGTERM: the DaemonSet is still there. New pods wait until it is back."""
    client = town.run_client()
    late = town.world.declare("late", "a", namespace="shop")
    wait_for(lambda: talks(client, town.server.v4), "the first connection")
    with Traffic(client, town.server.v4) as traffic:
        getattr(town.cni, ending)()
        wait_for(lambda: not town.culvertd.is_ready(), "culvertd to notice")
        with pytest.raises(CniError, match="failed to contact node Istio CNI agent"):
            town.kubelet.run(late)
        town.cni.start()
        town.culvertd.wait_ready()
        pod = town.kubelet.make_sandbox(late)
        wait_for(lambda: talks(pod, town.server.v4), "the late pod's first connection")
    traffic.assert_undisturbed(rounds=100)
    assert {row["name"] for row in town.culvertd.ctl("pods")} == {"client", "late"}
    assert town.culvertd.metric("workload_manager_proxies_started_total") == 2, "a pod that is named again is not started again"


def test_a_new_pod_waits_while_culvertd_is_away(town):
    town.culvertd.kill()
    workload = town.world.declare("client", "a", namespace="shop")
    with pytest.raises(CniError, match="failed to contact node Istio CNI agent"):
        town.kubelet.run(workload)
    assert town.kubelet.redirection(workload) == "pending"
    town.culvertd.start()
    client = town.kubelet.make_sandbox(workload)
    assert town.kubelet.is_annotated(workload)
    wait_for(lambda: talks(client, town.server.v4), "the first connection")


def test_a_culvertd_that_takes_over_is_given_every_pod_and_no_new_connection_fails(town):
    """As a DaemonSet's surge does it: both are connected for a while, istio-cni gives new pods to the one that came last."""
    client = town.run_client()
    wait_for(lambda: talks(client, town.server.v4), "the first connection")
    old, new = town.culvertd, type(town.culvertd)(town.world.a)
    files = town.world.a.directory / "next"
    new.environment, new.starts = old.environment, 100
    new.extra_config = {"run_dir": str(files / "run"), "state_dir": str(files / "state"), "bpf": {"pin_dir": f"{town.world.a.pin_dir}next"},
                        "admin": {"metrics": "off", "readiness": "off", "local_port": 15100}}
    for path in (files / "run", files / "state"):
        path.mkdir(parents=True)
    new.start(wait=False)
    try:
        next_ctl = [*new.ctl_command()[:-1], str(files / "run/admin.sock"), "pods", "--json"]
        wait_for(lambda: client.identity in run(next_ctl).stdout, "the new agent to have the pod")
        outcomes, ending = [], threading.Thread(target=old.stop)
        ending.start()
        while ending.is_alive() or len(outcomes) < 100:
            outcomes.append(talks(client, town.server.v4))
        ending.join()
        assert all(outcomes), f"{outcomes.count(False)} of {len(outcomes)} failed"
        late = town.run_client("late")
        wait_for(lambda: talks(late, town.server.v4), "the late pod's first connection")
    finally:
        new.kill()


def namespaces_held(pid: int) -> set[int]:
    """The namespaces that a process has descriptors of, by inode."""
    kind, held = os.stat("/proc/self/ns/net").st_dev, set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            what = fd.stat()
            held |= {what.st_ino} if what.st_dev == kind else set()
    return held


def test_a_deleted_pod_is_gone_with_its_connections(town):
    before = namespaces_held(town.culvertd.pid)
    client = town.run_client()
    wait_for(lambda: talks(client, town.server.v4), "the first connection")
    assert namespaces_held(town.culvertd.pid) > before
    with contextlib.closing(connect(client, town.server.v4)) as connection:
        assert echoes(connection)
        town.kubelet.delete(client)
        wait_for(lambda: town.culvertd.ctl("pods") == [], "the pod to go")
        wait_for(lambda: town.culvertd.ctl("connections") == [], "its connection to end")
    assert town.culvertd.metric("workload_manager_proxies_stopped_total") == 1
    assert town.culvertd.metric("workload_manager_active_proxy_count") == 0
    wait_for(lambda: namespaces_held(town.culvertd.pid) == before, "the pod's namespace to be let go")
    assert town.culvertd.is_ready()


def test_a_new_sandbox_of_the_same_pod_takes_the_old_ones_place(town):
    """As after a reboot, or when a sandbox has died: the same uid in another network namespace."""
    client = town.run_client()
    wait_for(lambda: talks(client, town.server.v4), "the first connection")
    town.kubelet.destroy_sandbox(client)
    again = town.kubelet.make_sandbox(client.workload)
    wait_for(lambda: talks(again, town.server.v4), "the new sandbox's first connection")
    assert [row["identity"] for row in town.culvertd.ctl("pods")] == [client.identity]
    assert town.culvertd.metric("workload_manager_proxies_started_total") == 2


def test_probes_of_the_node_reach_the_application_where_plaintext_is_refused(town):
    """istio-cni's rule on the node gives them an address of their own, by which the pod's rules let them pass."""
    client = town.run_client()
    programs.nginx(client, {"index.html": SECRET})
    programs.echo_server(client)
    town.cluster.apply(clusters.policy("PeerAuthentication", "strict", "shop", {"mtls": {"mode": "STRICT"}}))
    stranger = town.run_client("stranger", "outside", ambient=False)
    wait_for(lambda: not talks(stranger, client.v4), "plaintext to be refused", 20)
    assert talks(town.server, client.v4)
    for host, source in ((client.v4, zds.PROBE_V4), (f"[{client.v6}]", zds.PROBE_V6)):
        assert town.world.a.netns.run(["curl", "-sS", "-g", "--max-time", "5", f"http://{host}/peer"]).stdout.strip() == source
    assert not any(zds.PROBE_V4 in line for line in town.culvertd.access_log_so_far())


def test_names_of_services_are_answered_in_a_pod_of_istio_cni(town):
    client = town.run_client()
    server = town.server
    town.cluster.add_service("web", "shop", "10.96.0.10", 80, 7002, "server", [("server", server.v4, "node-b")])
    resolv = town.world.a.directory / "pod-resolv.conf"
    resolv.write_text("nameserver 10.96.0.2\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:2\n")

    def resolved() -> str:
        command = f"mount --bind {resolv} /etc/resolv.conf && getent ahostsv4 web"
        return client.run(["unshare", "--mount", "sh", "-c", command], check=False).stdout

    wait_for(lambda: "10.96.0.10" in resolved(), "the name to resolve", 20)
    wait_for(lambda: talks(client, "10.96.0.10", 80), "the service to answer")
    town.cluster.delete("service", "shop", "web")
