# SPDX-License-Identifier: Apache-2.0
"""ztunnel's place taken: its environment, pods by istio-cni's socket (scripted) and rules, everything about them by an unchanged istiod."""

import contextlib
import threading

import pytest
from culvert_harness import programs, wait_for, zds
from test_istiod import connect, exchange


@pytest.fixture
def town(world, cluster):
    """Node a: client, not yet brought. Node b: server, by culvert-cni. (world, client, peer)"""
    path = world.a.directory / "ztunnel.sock"
    world.a.agent.environment["INPOD_UDS"] = str(path)
    server = world.declare("server", "b", namespace="shop")
    cluster.add_workload(world, server)
    client = world.declare("client", "a", namespace="shop")
    with zds.IstioCni(path) as cni:
        world.a.agent.start(wait=False)
        world.b.agent.start()
        pod = world.add("client", chain="plain")
        zds.capture(pod, dns=True)
        peer = cni.accept()
        peer.ask(zds.SNAPSHOT)
        world.a.agent.wait_ready()
        programs.echo_server(world.add("server"))
        yield world, pod, peer, client


def test_connections_of_a_new_pod_wait_for_what_istiod_says_of_it(town, cluster):
    world, pod, peer, client = town
    server = world.pods["server"]
    peer.add(pod)
    outcome = []
    with contextlib.closing(connect(pod, server.v4, 7002)) as connection:
        connection.sendall(b"x")
        waiter = threading.Thread(target=lambda: outcome.append(connection.recv(1)))
        waiter.start()
        assert world.a.agent.ctl("connections") == []  # taken by nobody yet
        cluster.add_workload(world, client)
        waiter.join(10)
        assert outcome == [b"x"]
        [row] = world.a.agent.ctl("connections")
        assert row["source"]["identity"] == client.identity
        assert row["destination"]["identity"] == server.identity


def test_a_pod_that_istiod_does_not_name_is_refused_until_it_does(town, cluster):
    world, pod, peer, client = town
    server = world.pods["server"]
    peer.add(pod)
    wait_for(lambda: "timed out waiting for workload Kubernetes//Pod/shop/client" in world.a.agent.log(), "the wait to end", 10)
    assert not exchange(pod, server.v4)
    world.a.agent.access_log("failed to fetch information about local workload")
    cluster.add_workload(world, client)
    wait_for(lambda: exchange(pod, server.v4), "the pod to be served")


def test_another_account_than_istio_cni_said_is_another_pod(town, cluster):
    world, pod, peer, client = town
    cluster.add_pod("client", "shop", "intruder", "node-a", [client.v4], world.a.v4)
    wait_for(lambda: "Kubernetes//Pod/shop/client" in world.a.agent.known(), "istiod to name the pod")
    peer.add(pod)
    wait_for(lambda: "timed out waiting for workload" in world.a.agent.log(), "the wait to end", 10)
    assert not exchange(pod, world.pods["server"].v4)


def test_names_of_services_are_answered_as_istiod_has_them(town, cluster):
    world, pod, peer, client = town
    server = world.pods["server"]
    cluster.add_workload(world, client)
    peer.add(pod)
    cluster.add_service("web", "shop", "10.96.0.10", 80, 7002, "server", [("server", server.v4, "node-b")])
    resolv = world.a.directory / "pod-resolv.conf"
    resolv.write_text("nameserver 10.96.0.2\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:2\n")

    def resolved() -> str:
        return pod.run(["unshare", "--mount", "sh", "-c", f"mount --bind {resolv} /etc/resolv.conf && getent ahostsv4 web"], check=False).stdout

    wait_for(lambda: "10.96.0.10" in resolved(), "the name to resolve", 20)
    wait_for(lambda: exchange(pod, "10.96.0.10", 80), "the service to answer")
    cluster.delete("service", "shop", "web")
