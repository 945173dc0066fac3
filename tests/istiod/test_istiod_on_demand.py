# SPDX-License-Identifier: Apache-2.0
"""An agent that asks an unchanged istiod for workloads and services one by one (XDS_ON_DEMAND), on live traffic."""

import contextlib
import time

import pytest

from culvert_harness import cluster as clusters, programs, wait_for
from culvert_harness.traffic import connect, echoes, talks

UID = "Kubernetes//Pod/shop/"


@pytest.fixture
def sparse(world, cluster):
    """As `mesh`, with both agents on demand, and a pod that nobody needs."""
    for node in world.nodes.values():
        node.agent.environment["XDS_ON_DEMAND"] = "true"
    for name, node in (("client", "a"), ("server", "b")):
        cluster.add_workload(world, world.declare(name, node, namespace="shop"))
    cluster.add_pod("idle", "shop", "idle", "node-b", ["10.2.0.90"], world.b.v4)
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("server"))
    wait_for(lambda: UID + "client" in world.a.agent.known(), "the node's own pod, which comes unasked")
    return world


def test_a_pod_of_another_node_comes_when_it_is_needed_and_not_before(sparse):
    client, server = sparse.pods["client"], sparse.pods["server"]
    assert UID + "server" not in sparse.a.agent.known()
    with contextlib.closing(connect(client, server.v4)) as connection:
        assert echoes(connection), "the first connection waits for istiod, and works"
        [row] = [row for row in sparse.a.agent.ctl("connections") if row["state"] == "open"]
        assert row["transport"] == "direct" and row["destination"]["identity"] == "spiffe://cluster.local/ns/shop/sa/server"
    assert UID + "server" in sparse.a.agent.known() and UID + "idle" not in sparse.a.agent.known()
    assert UID + "client" in sparse.b.agent.known(), "the client, for the other side"
    assert sparse.a.agent.metric("culvert_on_demand_held_total") == 1


def test_a_service_comes_with_its_endpoints_and_follows_their_changes(sparse, cluster):
    client, server = sparse.pods["client"], sparse.pods["server"]
    cluster.add_service("web", "shop", "10.96.0.20", 80, 7002, "server", [("server", server.v4, "node-b")])
    wait_for(lambda: talks(client, "10.96.0.20", 80), "the service; it may have been asked for before istiod knew it", 30, interval=0.5)
    assert UID + "server" in sparse.a.agent.known()
    cluster.kubectl("patch", "pod", "server", "-n", "shop", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Succeeded"}}')
    wait_for(lambda: not talks(client, "10.96.0.20", 80), "the service to have no endpoint", 20)
    cluster.kubectl("patch", "pod", "server", "-n", "shop", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Running"}}')
    wait_for(lambda: talks(client, "10.96.0.20", 80), "its endpoint to come back unasked", 20)
    cluster.delete("service", "shop", "web")


def test_nobodys_address_passes_and_is_asked_for_again_when_somebody_may_have_it(sparse, cluster):
    """istiod says removed of an address that it does not know, and does not say when somebody gets it: the agent asks again."""
    sparse.declare("late", "b", namespace="shop")
    client, late = sparse.pods["client"], sparse.make_pod("late", chain="plain")
    late.cni_add()
    programs.echo_server(late)
    assert talks(client, late.v4), "nobody's address is passed as it was dialled"
    assert sparse.a.agent.metric("culvert_on_demand_names", state="absent") == 1
    cluster.add_workload(sparse, sparse.workloads["late"])
    # It takes no tunnel, since it never joined: what fails now is a connection that is no longer let out in plain text.
    wait_for(lambda: not talks(client, late.v4), "the question to be put again", 25, interval=0.5)
    assert UID + "late" in sparse.a.agent.known()


def test_a_removed_pod_is_forgotten_and_its_address_may_be_anothers(sparse, cluster):
    client, server = sparse.pods["client"], sparse.pods["server"]
    cluster.add_pod("extra", "shop", "extra", "node-b", ["10.2.0.91"], sparse.b.v4)
    time.sleep(0.5)
    assert not talks(client, "10.2.0.91", timeout=2)
    wait_for(lambda: UID + "extra" in sparse.a.agent.known(), "the pod to be known")
    cluster.delete("pod", "shop", "extra")
    wait_for(lambda: UID + "extra" not in sparse.a.agent.known(), "the removal to arrive", 20)
    cluster.add_pod("next", "shop", "next", "node-b", ["10.2.0.91"], sparse.b.v4)
    time.sleep(0.5)
    assert not talks(client, "10.2.0.91", timeout=2)
    wait_for(lambda: UID + "next" in sparse.a.agent.known(), "the one that has the address now")
    assert talks(client, server.v4)


def test_policies_come_whole_and_count(sparse, cluster):
    client, server = sparse.pods["client"], sparse.pods["server"]
    assert talks(client, server.v4)
    spec = {"action": "DENY", "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]}]}
    cluster.apply(clusters.policy("AuthorizationPolicy", "no-client", "shop", spec))
    wait_for(lambda: not talks(client, server.v4), "the policy")
    cluster.delete("authorizationpolicy", "shop", "no-client")
    wait_for(lambda: talks(client, server.v4), "the policy to be gone")


def test_after_istiod_was_away_what_is_known_is_followed_again(sparse, cluster):
    client, server = sparse.pods["client"], sparse.pods["server"]
    assert talks(client, server.v4)
    cluster.stop_istiod()
    assert talks(client, server.v4)
    cluster.add_pod("extra", "shop", "extra", "node-b", ["10.2.0.92"], sparse.b.v4)
    cluster.start_istiod()
    wait_for(lambda: "10.2.0.92" in str(sparse.a.agent.known()) or not talks(client, "10.2.0.92", timeout=1) and UID + "extra" in sparse.a.agent.known(),
             "a pod that came meanwhile, when it is needed", 40, interval=0.5)
    cluster.kubectl("delete", "pod", "server", "-n", "shop", "--grace-period=0", "--force")
    wait_for(lambda: UID + "server" not in sparse.a.agent.known(), "the removal of one that was known before", 40)
