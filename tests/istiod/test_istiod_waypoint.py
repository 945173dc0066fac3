# SPDX-License-Identifier: Apache-2.0
"""An Envoy as waypoint under an unchanged istiod, with agents on both sides of it: routes and policies of the API apply, nothing goes round it.

One world for all of them: client and other on node a, server and waypoint on node b. Each test takes back what it wrote.
"""

import contextlib

import pytest
from culvert_harness import World, cluster as clusters, programs, scaled, wait_for
from culvert_harness.traffic import Traffic, connect, echoes, talks
from culvert_harness.waypoint import Waypoint

WEB, ECHO = "10.96.0.10", "10.96.0.11"
USES = {"istio.io/use-waypoint": "waypoint"}


@pytest.fixture(scope="module")
def world(request, cluster):
    with World(request.node.nodeid) as made:
        cluster.attach(made)
        for name, node in (("client", "a"), ("other", "a"), ("server", "b")):
            cluster.add_workload(made, made.declare(name, node, namespace="shop"))
        cluster.add_workload(made, made.declare("library", "b", namespace="books"))
        made.declare("waypoint", "b", namespace="shop")
        made.start_agents()
        yield made
        cluster.detach(made)


@pytest.fixture(scope="module")
def waypoint(world, cluster):
    server = world.add("server")
    world.add("client")
    world.add("other")
    programs.nginx(server, {"index.html": b"hello", "admin": b"secret"})
    programs.echo_server(server)
    endpoints = [("server", server.v4, "node-b")]
    cluster.add_service("web", "shop", WEB, 80, 80, "server", endpoints, labels=USES, port_name="http")
    cluster.add_service("echo", "shop", ECHO, 7002, 7002, "server", endpoints, labels=USES)
    with Waypoint(cluster, world, "waypoint", traffic="all") as made:
        made.start()
        wait_for(lambda: peer(world) == made.workload.v4, "the service to be reached through the waypoint", 20)
        yield made


def get(world, path: str = "/", *options: str, client: str = "client", host: str = WEB) -> str:
    """Status line, headers and body; empty where there is no answer."""
    done = programs.curl(world.pods[client], f"http://{host}{path}", "-i", *options, check=False, timeout=5)
    return done.stdout if done.returncode == 0 else ""


def status(world, path: str = "/", *options: str, **where: str) -> int:
    answer = get(world, path, *options, **where)
    return int(answer.split()[1]) if answer else 0


def peer(world, host: str = WEB) -> str:
    """Whom the server sees."""
    return get(world, "/peer", host=host).rpartition("\n\n")[2].strip()


@contextlib.contextmanager
def written(cluster, *objects: dict):
    cluster.apply(*objects)
    try:
        yield
    finally:
        for one in objects:
            group = one["apiVersion"].partition("/")[0]
            cluster.delete(f"{one['kind'].lower()}.{group}", "shop", one["metadata"]["name"])


def test_a_request_reaches_the_server_in_the_waypoints_name(world, waypoint):
    link = world.capture()
    answer = get(world)
    assert answer.startswith("HTTP/1.1 200") and "x-envoy-upstream-service-time" in answer and answer.endswith("hello"), answer
    link.stop()
    client, server = world.pods["client"], world.pods["server"]
    assert not link.contains(b"GET / HTTP") and not link.contains(b"hello")
    assert not [one for one in link.segments() if {one.source, one.destination} == {client.v4, server.v4}]
    ends = [f'{side}.identity="{one.identity}"' for side, one in (("src", client), ("dst", waypoint))]
    world.a.agent.access_log(*ends)
    [row] = [row for row in world.b.agent.ctl("connections") if row["state"] == "open"]  # the waypoint keeps it for the next request
    assert row["source"]["identity"] == waypoint.identity and row["destination"]["identity"] == server.identity and row["transport"] == "hbone", row
    [service] = [service for service in world.a.agent.dump()["services"] if service["name"] == "web"]
    assert service["waypoint"]["destination"] == "shop/waypoint.shop.svc.cluster.local"


def test_an_http_route_applies(world, cluster, waypoint):
    def rule(value: str, **match) -> dict:
        return {**match, "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-route", "value": value}]}}],
                "backendRefs": [{"name": "web", "port": 80}]}

    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "by-header", "namespace": "shop"},
             "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": 80}],
                      "rules": [rule("two", matches=[{"headers": [{"name": "x-version", "value": "2"}]}]), rule("one")]}}
    assert "x-route" not in get(world)
    with written(cluster, route):
        wait_for(lambda: "x-route: one" in get(world), "the route")
        assert "x-route: two" in get(world, "/", "-H", "x-version: 2")
    wait_for(lambda: "x-route" not in get(world), "the route to be gone")


def test_policies_by_path_method_and_client_are_enforced_by_the_waypoint(world, cluster, waypoint):
    client = world.pods["client"].identity.removeprefix("spiffe://")
    refused = clusters.policy("AuthorizationPolicy", "no-admin", "shop", {
        "targetRefs": [{"group": "", "kind": "Service", "name": "web"}], "action": "DENY",
        "rules": [{"to": [{"operation": {"paths": ["/admin*"]}}]}, {"to": [{"operation": {"methods": ["DELETE"]}}]}]})
    allowed = clusters.policy("AuthorizationPolicy", "client-alone", "shop", {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}], "action": "ALLOW",
        "rules": [{"from": [{"source": {"principals": [client]}}]}]})
    assert status(world, "/admin") == status(world, client="other") == 200
    with written(cluster, refused):
        wait_for(lambda: status(world, "/admin") == 403, "the path to be refused")
        assert status(world, "/", "-X", "DELETE") == 403 and status(world) == 200
    with written(cluster, allowed):
        wait_for(lambda: status(world, client="other") == 403, "the other client to be refused")
        assert status(world) == 200
    wait_for(lambda: status(world, "/admin") == status(world, client="other") == 200, "the policies to be gone")


def test_a_server_that_takes_connections_from_the_waypoint_alone(world, cluster, waypoint):
    server = world.pods["server"]
    assert status(world, host=server.v4) == 200
    with written(cluster, clusters.policy("AuthorizationPolicy", "waypoint-alone", "shop", {
            "selector": {"matchLabels": {"app": "server"}}, "action": "ALLOW", "rules": [{"from": [{"source": {"principals": [waypoint.principal]}}]}]})):
        wait_for(lambda: status(world, host=server.v4) == 0, "the direct path to be refused")
        assert status(world) == 200 and peer(world) == waypoint.workload.v4
    wait_for(lambda: status(world, host=server.v4) == 200, "the policy to be gone")


def test_the_label_decides_for_new_connections(world, cluster, waypoint):
    client = world.pods["client"]
    wait_for(lambda: talks(client, ECHO), "the service to answer")
    with contextlib.closing(connect(client, ECHO)) as live:
        assert echoes(live)
        cluster.kubectl("label", "service", "web", "echo", "-n", "shop", "istio.io/use-waypoint-")
        wait_for(lambda: peer(world) == client.v4, "new connections to go straight to the server")
        assert echoes(live), "a connection that was open has gone"
        [row] = [row for row in world.a.agent.ctl("connections") if row["state"] == "open" and row["original_destination"] == f"{ECHO}:7002"]
        assert row["destination"]["identity"] == waypoint.identity, "it has moved"
        cluster.kubectl("label", "service", "web", "echo", "-n", "shop", "istio.io/use-waypoint=waypoint")
        wait_for(lambda: peer(world) == waypoint.workload.v4, "new connections to go through the waypoint again")


def test_a_namespaces_label_counts_for_services_without_their_own(world, cluster, waypoint):
    client = world.pods["client"]
    cluster.kubectl("label", "service", "web", "-n", "shop", "istio.io/use-waypoint=none", "--overwrite")
    cluster.kubectl("label", "namespace", "shop", "istio.io/use-waypoint=waypoint")
    wait_for(lambda: peer(world) == client.v4, "the service's own word to count")
    cluster.kubectl("label", "service", "web", "-n", "shop", "istio.io/use-waypoint-")
    wait_for(lambda: peer(world) == waypoint.workload.v4, "the namespace's label to count")
    cluster.kubectl("label", "service", "web", "-n", "shop", "istio.io/use-waypoint=waypoint")
    server = world.pods["server"]
    assert peer(world, server.v4) == waypoint.workload.v4, "its pods' addresses are guarded as well"
    cluster.kubectl("label", "namespace", "shop", "istio.io/use-waypoint-")
    wait_for(lambda: peer(world, server.v4) == client.v4, "the label to be gone")


def test_a_pods_own_waypoint_is_on_the_way_to_its_address(world, cluster, waypoint):
    client, server = world.pods["client"], world.pods["server"]
    assert peer(world, server.v4) == client.v4
    cluster.kubectl("label", "pod", "server", "-n", "shop", "istio.io/use-waypoint=waypoint")
    wait_for(lambda: peer(world, server.v4) == waypoint.workload.v4, "the pod to be reached through its waypoint")
    cluster.kubectl("label", "pod", "server", "-n", "shop", "istio.io/use-waypoint-")
    wait_for(lambda: peer(world, server.v4) == client.v4, "the label to be gone")


def test_a_waypoint_of_another_namespace_is_on_the_way_where_a_service_names_it(world, cluster, waypoint):
    library, host = world.add("library"), "10.96.0.12"
    programs.nginx(library, {"index.html": b"books"})
    elsewhere = USES | {"istio.io/use-waypoint-namespace": "shop"}
    cluster.add_service("library", "books", host, 80, 80, "library", [("library", library.v4, "node-b")], labels=elsewhere, port_name="http")
    wait_for(lambda: peer(world, host) == waypoint.workload.v4, "the service to be reached through the waypoint")
    assert get(world, host=host).endswith("books")
    [service] = [service for service in world.a.agent.dump()["services"] if service["name"] == "library"]
    assert service["waypoint"]["destination"] == "shop/waypoint.shop.svc.cluster.local"
    with written(cluster, clusters.policy("AuthorizationPolicy", "library-closed", "shop", {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}], "action": "DENY",
            "rules": [{"to": [{"operation": {"hosts": [host]}}]}]})):
        wait_for(lambda: status(world, host=host) == 403, "the waypoint's policy to count for it")
        assert status(world) == 200
    cluster.kubectl("label", "service", "library", "-n", "books", "istio.io/use-waypoint-")
    wait_for(lambda: peer(world, host) == world.pods["client"].v4, "the label to be gone")


def test_tcp_passes_too_and_more_connections_than_one_tunnel_may_carry(world, waypoint):
    client = world.pods["client"]
    with Traffic(client, ECHO) as traffic, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(contextlib.closing(connect(client, ECHO))) for _ in range(150)]  # the waypoint's tunnels: 100 streams
        assert all(echoes(one) for one in connections)
        rows = [row for row in world.a.agent.ctl("connections") if row["state"] == "open"]
        assert len([row for row in rows if row["transport"] == "hbone"]) >= 150
    traffic.assert_undisturbed()


def test_while_the_waypoint_is_down_or_has_no_endpoint_nothing_goes_round_it(world, cluster, waypoint):
    client, server = world.pods["client"], world.pods["server"]
    link = world.capture()
    waypoint.stop()
    wait_for(lambda: 15008 not in world.pods["waypoint"].netns.listeners(), "the waypoint to be gone")
    for _ in range(3):
        assert status(world) == 0 and not talks(client, ECHO, timeout=scaled(3))
    waypoint.set_ready(False)
    wait_for(lambda: world.a.agent.ctl("explain", client.v4, f"{WEB}:80")["outcome"] != "allowed", "the endpoint to be gone")
    assert status(world) == 0 and not talks(client, ECHO, timeout=scaled(3))
    link.stop()
    assert not [one for one in link.segments() if {one.source, one.destination} == {client.v4, server.v4}]
    assert not link.contains(b"GET / HTTP")
    waypoint.set_ready(True)
    waypoint.start()
    wait_for(lambda: status(world) == 200 and talks(client, ECHO), "the waypoint to be back", 20)
