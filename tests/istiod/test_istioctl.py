# SPDX-License-Identifier: Apache-2.0
"""`istioctl ztunnel-config` on dumps of live agents: it reads them, and its tables hold what istiod and the pods are."""

import contextlib
import json

import pytest

from culvert_harness import cluster as clusters, programs, wait_for
from culvert_harness.agent import LOCAL_PORT


@pytest.fixture
def busy(mesh, cluster):
    """A service, a policy, and a live connection of the client through the service."""
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    cluster.add_service("web", "shop", "10.96.0.10", 80, 7002, "server", [("server", server.v4, "node-b")])
    cluster.apply(clusters.policy("AuthorizationPolicy", "no-nine", "shop",
                                  {"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["9"]}}],
                                                                "from": [{"source": {"principals": ["cluster.local/ns/zoo/sa/*"]}}]}]}))
    connections = []

    def connected() -> bool:
        connection = client.netns.socket()
        connection.settimeout(5)
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            connection.connect(("10.96.0.10", 80))
            connection.sendall(b"x")
            if connection.recv(1) != b"x":
                return False
            stack.pop_all()
        connections.append(connection)
        return True

    # Before it knows the service, the agent would let a connection through to the address, where it lingers as a row of its own.
    wait_for(lambda: any(service["name"] == "web" and service["endpoints"] for service in mesh.a.agent.dump()["services"]), "the service to arrive")
    wait_for(connected, "the service to answer", 20)
    wait_for(lambda: [row["name"] for row in mesh.b.agent.dump()["policies"]] == ["no-nine"], "the policy to arrive")
    yield mesh
    for connection in connections:
        connection.close()


def config(cluster, node, *arguments: str) -> str:
    """istioctl on a dump of that node's agent, saved as `curl localhost:15000/config_dump` saves it."""
    path = node.directory / "config_dump.json"
    node.netns.run(["curl", "-sSf", "-o", str(path), f"http://localhost:{LOCAL_PORT}/config_dump"])
    done = node.netns.run([str(cluster.home / "istioctl"), "ztunnel-config", *arguments, "-f", str(path)], timeout=60)
    assert not done.stderr, done.stderr
    return done.stdout


WORKLOADS = ("NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL")
SERVICES = ("NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS")
POLICIES = ("NAMESPACE", "POLICY NAME", "ACTION", "SCOPE")
CERTIFICATES = ("CERTIFICATE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE")
CONNECTIONS = ("WORKLOAD", "DIRECTION", "LOCAL", "REMOTE", "REMOTE TARGET", "PROTOCOL")


def rows(table: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Cells begin where their header does."""
    header, *lines = [line for line in table.splitlines() if line.strip()]
    assert header.split() == " ".join(columns).split(), header
    starts, at = [], 0
    for name in columns:
        starts.append(header.index(name, at))
        at = starts[-1] + len(name)
    return [{name: line[begin:end].strip() for name, begin, end in zip(columns, starts, [*starts[1:], None])} for line in lines]


def test_workloads(busy, cluster):
    server = busy.pods["server"]
    found = {row["POD NAME"]: row for row in rows(config(cluster, busy.a, "workloads"), WORKLOADS)}
    assert found["server"] == {"NAMESPACE": "shop", "POD NAME": "server", "ADDRESS": f"{server.v4},{server.v6}", "NODE": "node-b", "WAYPOINT": "None",
                               "PROTOCOL": "HBONE"}
    assert found["ztunnel-a"]["PROTOCOL"] == "TCP"
    [row] = json.loads(config(cluster, busy.a, "workloads", "--workload-namespace", "shop", "--workload-node", "node-b", "-o", "json"))
    assert row["uid"] == "Kubernetes//Pod/shop/server"
    assert row["serviceAccount"] == "server" and row["trustDomain"] == "cluster.local" and row["status"] == "Healthy"


def test_services(busy, cluster):
    [row] = [row for row in rows(config(cluster, busy.a, "services"), SERVICES) if row["SERVICE NAME"] == "web"]
    assert row == {"NAMESPACE": "shop", "SERVICE NAME": "web", "SERVICE VIP": "10.96.0.10", "WAYPOINT": "None", "ENDPOINTS": "1/1"}
    [row] = [row for row in json.loads(config(cluster, busy.a, "services", "-o", "json")) if row["name"] == "web"]
    assert row["hostname"] == "web.shop.svc.cluster.local" and row["ports"] == {"80": 7002}
    [endpoint] = row["endpoints"].values()
    assert endpoint["workloadUid"] == "Kubernetes//Pod/shop/server" and endpoint["port"] == {"80": 7002}


def test_policies(busy, cluster):
    [row] = rows(config(cluster, busy.b, "policies"), POLICIES)
    assert row == {"NAMESPACE": "shop", "POLICY NAME": "no-nine", "ACTION": "Deny", "SCOPE": "Namespace"}
    [row] = json.loads(config(cluster, busy.b, "policies", "-o", "json"))
    matches = [match for rule in row["rules"] for clause in rule for match in clause]
    assert {"destinationPorts": [9]} in matches
    assert any("principals" in match or "serviceAccounts" in match for match in matches), matches


def test_certificates(busy, cluster):
    found = rows(config(cluster, busy.a, "certificates"), CERTIFICATES)
    mine = [row for row in found if row["CERTIFICATE NAME"] == "spiffe://cluster.local/ns/shop/sa/client"]
    assert mine[0]["TYPE"] == "Leaf" and mine[-1]["TYPE"] == "Root", mine
    assert all(row["STATUS"] == "Available" and row["VALID CERT"] == "true" for row in mine), mine
    [row] = [row for row in json.loads(config(cluster, busy.a, "certificates", "-o", "json")) if row["identity"].endswith("/sa/client")]
    assert int(row["certChain"][0]["serialNumber"]) == int(mine[0]["SERIAL NUMBER"], 16)


def only_row(cluster, node, workload: str, *arguments: str) -> dict[str, str]:
    """The table's one row of that workload; attempts that came to nothing go within moments."""
    def found() -> dict[str, str]:
        mine = [row for row in rows(config(cluster, node, "connections", *arguments), CONNECTIONS) if row["WORKLOAD"] == workload]
        return mine[0] if len(mine) == 1 else {}
    return wait_for(found, f"one row of {workload}")


def test_connections(busy, cluster):
    row = only_row(cluster, busy.a, "client.shop")
    assert row["DIRECTION"] == "Outbound" and row["PROTOCOL"] == "HBONE", row
    assert row["LOCAL"].startswith("client.shop:") and row["REMOTE"] == "server.shop:15008", row
    assert row["REMOTE TARGET"] == "web.shop.svc.cluster.local:80", row
    row = only_row(cluster, busy.b, "server.shop", "--direction", "inbound")
    assert row["LOCAL"] == "server.shop:7002" and row["REMOTE"].startswith("client.shop:")
    found = json.loads(config(cluster, busy.b, "connections", "-o", "json", "--raw"))
    [pod] = [one for one in found if one["info"]["name"] == "server"]
    assert pod["state"] == "Up" and len(pod["connections"]["inbound"]) == 1


LOCAL = {"workloads": [{"name": "machine", "namespace": "lab", "serviceAccount": "lab", "workloadIps": ["192.0.2.7"], "protocol": "TCP",
                        "services": {"lab/bench.lab.example": {"80": 8080}}}],
         "services": [{"name": "bench", "namespace": "lab", "hostname": "bench.lab.example", "vips": ["/198.51.100.7"], "ports": {"80": 8080}}],
         "policies": [{"name": "locals", "namespace": "lab", "scope": "Namespace", "action": "Allow",
                       "rules": [[[{"principals": [{"Prefix": "cluster.local/ns/lab/"}]}]]]}]}


def test_a_dump_with_a_local_mesh_is_read_like_any(world, cluster):
    path = world.directory / "local.json"
    path.write_text(json.dumps(LOCAL))
    cluster.add_workload(world, world.declare("client", "a", namespace="shop"))
    world.a.agent.environment["LOCAL_XDS_PATH"] = str(path)
    world.start_agents()
    world.add("client")
    static = world.a.agent.dump()["staticConfig"]
    assert [len(static[kind]) for kind in ("workloads", "services", "policies")] == [1, 1, 1]
    assert static["workloads"][0]["services"] == {"lab/bench.lab.example": {"80": 8080}}
    workloads = {row["POD NAME"]: row for row in rows(config(cluster, world.a, "workloads"), WORKLOADS)}
    assert workloads["machine"]["ADDRESS"] == "192.0.2.7" and workloads["client"]["NODE"] == "node-a"
    [service] = [row for row in rows(config(cluster, world.a, "services"), SERVICES) if row["SERVICE NAME"] == "bench"]
    assert service["SERVICE VIP"] == "198.51.100.7" and service["ENDPOINTS"] == "1/1"
    assert "locals" in {row["POLICY NAME"] for row in rows(config(cluster, world.a, "policies"), POLICIES)}
    assert rows(config(cluster, world.a, "certificates"), CERTIFICATES)
    assert "POD NAME" in config(cluster, world.a, "all")


def test_all(busy, cluster):
    table = config(cluster, busy.a, "all")
    for header in ("POD NAME", "SERVICE VIP", "POLICY NAME", "CERTIFICATE NAME", "REMOTE TARGET"):
        assert header in table
    found = json.loads(config(cluster, busy.a, "all", "-o", "json"))
    assert found.keys() >= {"workloads", "services", "policies", "certificates"}
