# SPDX-License-Identifier: Apache-2.0
"""A real istiod that dies under load, loses its memory, or is late: what agents and applications notice."""

import contextlib
import time

import pytest
from culvert_harness import World, cluster as clusters, programs, proto, wait_for
from culvert_harness.observer import Observer
from culvert_harness.traffic import Traffic, connect, echoes, talks

UID = "Kubernetes//Pod/shop/"
OLD_VIP, NEW_VIP, MOVED_VIP = "10.96.0.71", "10.96.0.72", "10.96.0.73"


def deny(account: str, **selector) -> dict:
    return {"action": "DENY", "rules": [{"from": [{"source": {"principals": [f"cluster.local/ns/shop/sa/{account}"]}}]}], **selector}


def is_told_its_address(pod, host: str) -> bool:
    """Whether what answers on port 80 speaks first, as the server on port 7003 does and the one on 7002 does not."""
    with contextlib.suppress(OSError), contextlib.closing(connect(pod, host, 80)) as connection:
        connection.settimeout(1)
        return connection.recv(len(pod.v4)).decode() == pod.v4
    return False


def target_ports(world, name: str) -> list[int]:
    return [port["target_port"] for service in world.a.agent.ctl("services") if service["name"] == name for port in service["ports"]]


def test_istiod_killed_and_restarted_under_load(mesh, cluster):
    """Fault: kill -9, and pods, services and a policy change while it is away: one service goes, one comes, one has another target port. Nothing
    flaps; on its return removals arrive, and the policy closes whom it denies."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    programs.echo_server(server, 7003, tell_peer=True)

    def serve(name: str, address: str, target_port: int) -> None:
        cluster.add_service(name, "shop", address, 80, target_port, "server", [("server", server.v4, "node-b")])

    serve("old", OLD_VIP, 7002)
    serve("moved", MOVED_VIP, 7002)
    cluster.add_workload(mesh, mesh.declare("other", "a", namespace="shop"))
    other = mesh.add("other")
    cluster.add_pod("gone", "shop", "gone", "node-b", ["10.2.0.77"], mesh.b.v4)
    wait_for(lambda: talks(client, server.v4) and talks(other, server.v4), "the first connections")
    wait_for(lambda: UID + "gone" in mesh.a.agent.known() & mesh.b.agent.known(), "the pod to be known")
    wait_for(lambda: talks(client, OLD_VIP, 80) and talks(client, MOVED_VIP, 80), "the services")
    with Traffic(client, server.v4) as traffic, contextlib.closing(connect(other, server.v4)) as denied:
        assert echoes(denied)
        cluster.stop_istiod()
        cluster.delete("pod", "shop", "gone")
        cluster.add_pod("new", "shop", "new", "node-b", ["10.2.0.78"], mesh.b.v4)
        cluster.delete("service", "shop", "old")
        cluster.delete("endpointslice", "shop", "old-1")
        serve("new", NEW_VIP, 7002)
        serve("moved", MOVED_VIP, 7003)
        cluster.apply(clusters.policy("AuthorizationPolicy", "no-other", "shop", deny("other")))
        assert talks(client, OLD_VIP, 80) and talks(client, MOVED_VIP, 80)
        assert not talks(client, NEW_VIP, 80, 1), "nobody has said that it exists"
        assert not is_told_its_address(client, MOVED_VIP), "nobody has said that it is at the other port"
        assert UID + "gone" in mesh.a.agent.known() and mesh.a.agent.is_ready() and mesh.b.agent.is_ready()
        assert echoes(denied), "a connection was closed although nobody has said so yet"
        cluster.start_istiod()
        for agent in (mesh.a.agent, mesh.b.agent):
            wait_for(lambda a=agent: UID + "gone" not in a.known() and UID + "new" in a.known(), "both changes", 40)
        wait_for(lambda: talks(client, NEW_VIP, 80, 1), "the new service")
        wait_for(lambda: is_told_its_address(client, MOVED_VIP) and target_ports(mesh, "moved") == [7003], "the service's other port")
        assert target_ports(mesh, "old") == [] and not talks(client, OLD_VIP, 80, 1)
        denied.settimeout(20)
        with contextlib.suppress(ConnectionError):
            assert denied.recv(1) == b"", "the policy closes it"
        assert not talks(other, server.v4)
    traffic.assert_undisturbed(rounds=50)
    cluster.delete("authorizationpolicy", "shop", "no-other")


@pytest.fixture
def doomed(worker_id):
    """A control plane of its own, to be ruined."""
    with clusters.Cluster(f"istiod-suite-doomed-{worker_id}") as made:
        yield made


def test_etcd_wiped(doomed, request):
    """Fault: the whole memory of the cluster is lost, and comes back empty. Whatever istiod says then, agents live, live connections stay, and
    what is written anew counts."""
    with World(request.node.nodeid) as world:
        doomed.attach(world)
        for name, node in (("client", "a"), ("server", "b")):
            doomed.add_workload(world, world.declare(name, node, namespace="shop"))
        world.start_agents()
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        wait_for(lambda: talks(client, server.v4), "the first connection")
        with contextlib.closing(connect(client, server.v4)) as live:
            assert echoes(live)
            before = world.a.agent.known()
            doomed.wipe()
            seen = []
            # Whatever is said within twenty seconds of the API's return.
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                known = world.a.agent.known()
                if not seen or seen[-1] != known:
                    seen.append(known)
                assert echoes(live), "a live connection was touched"
                time.sleep(0.2)
            print("what node a knew before:", sorted(before), "and after, in steps:", [sorted(step) for step in seen])
            assert world.a.agent.is_running() and world.b.agent.is_running()
            doomed.apply_config()
            doomed.restore(world)
            wait_for(lambda: {UID + "client", UID + "server"} <= world.a.agent.known() & world.b.agent.known(), "istiod to name the pods again", 60)
            assert echoes(live)
            wait_for(lambda: talks(client, server.v4), "a new connection", 20)


def test_how_long_the_key_of_a_policy_stays_unknown(mesh, cluster):
    """Not a fault but a race: a policy with a selector is a key at its workloads and an object of its own, on two types of one stream. A
    workload that names a policy which has not come holds new connections, so the gap has to be short."""
    server = mesh.pods["server"]
    programs.echo_server(server)
    wait_for(lambda: talks(mesh.pods["client"], server.v4), "the first connection")
    gaps = []
    metadata = {"NAMESPACE": "istio-system", "NODE_NAME": "node-b", "CLUSTER_ID": "Kubernetes", "NAME": "observer"}
    with Observer(cluster.netns, 15010, cluster.directory, metadata, "ztunnel~192.168.77.2~observer.istio-system~istio-system.svc.cluster.local") as observer:
        wait_for(lambda: observer.first(proto.ADDRESS, UID + "server"), "istiod to answer")
        for i in range(5):
            name = f"selected-{i}"
            key = f"shop/{name}"
            cluster.apply(clusters.policy("AuthorizationPolicy", name, "shop", deny("nobody", selector={"matchLabels": {"app": "server"}})))

            def keyed(value: bytes, key=key) -> bool:
                return key in proto.messages().Address.FromString(value).workload.authorization_policies

            named = wait_for(lambda: observer.first(proto.ADDRESS, UID + "server", keyed), "the workload to name it")
            came = wait_for(lambda k=key: observer.first(proto.AUTHORIZATION, k), "the policy")
            gaps.append(came - named)
            cluster.delete("authorizationpolicy", "shop", name)
    assert not observer.errors
    print("the policy came this much after its key (s; negative: before):", [round(gap, 4) for gap in gaps])
    assert max(gaps) < 1.0, gaps
