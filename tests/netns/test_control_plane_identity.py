# SPDX-License-Identifier: Apache-2.0
"""Who a pod is under a control plane: its workload there says it, whoever brought the pod. The agents' TRUST_DOMAIN is cluster.local throughout."""

import contextlib
import os
import signal
import struct

import pytest
from culvert_harness import control_plane, programs, proto, scaled, scripted_ca, wait_for, zds
from culvert_harness.traffic import connect, echoes, refused, talks, tunnel_ports

DOMAIN = "td.example"


def spiffe(name: str, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/ns/shop/sa/{name}"


def identity(agent, name: str) -> str:
    return next(row["identity"] for row in agent.ctl("pods") if row["name"] == name)


def asked(plane) -> set[str]:
    return {call.identity for call in list(plane.ca.calls)}


def only(*principals: str):
    """ALLOW for these clients, in the namespace shop."""
    m = proto.messages()
    match = m.Match(principals=[m.StringMatch(exact=principal) for principal in principals])
    return m.Authorization(name="only", namespace="shop", scope=1, action=0, rules=[m.Rule(clauses=[m.Clause(matches=[match])])])


@pytest.fixture
def plane(world):
    with control_plane.ControlPlane(world, has_ca=True) as made:
        yield made


@pytest.fixture
def lenient_b(plane):
    """Node b, when it is started, takes clients of other.example for those of its own trust domain."""
    plane.world.b.agent.extra_config = {"trust_domain_aliases": ["other.example"]}


@pytest.fixture
def town(plane):
    """`client` on node a and `server` on node b, of the trust domain td.example; culvert-cni brings them after they were named."""
    world = plane.world
    plane.add(world.declare("client", "a", namespace="shop"), world.declare("server", "b", namespace="shop"), trust_domain=DOMAIN)
    world.declare("late", "a", namespace="shop")
    world.start_agents()
    wait_for(lambda: asked(plane) == {spiffe("client"), spiffe("server")}, "certificates for both, before the pods")
    world.add("client")
    programs.echo_server(world.add("server"))
    return plane


@pytest.fixture
def node_of_istio_cni(plane):
    """The same, but istio-cni brings node a's pods; its agent is not started. (plane, cni)"""
    world = plane.world
    world.declare("client", "a", namespace="shop")
    plane.add(world.declare("server", "b", namespace="shop"), trust_domain=DOMAIN)
    world.a.directory.mkdir(parents=True, exist_ok=True)
    world.a.agent.extra_config = {"zds": {"socket": str(world.a.directory / "zds.sock")}}
    with zds.IstioCni(world.a.directory / "zds.sock") as cni:
        world.b.agent.start()
        programs.echo_server(world.add("server"))
        yield plane, cni


def test_pods_have_the_trust_domain_that_their_workloads_have(town):
    world = town.world
    a, b = world.a.agent, world.b.agent
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: talks(client, server.v4), "a connection")
    assert identity(a, "client") == spiffe("client") and identity(b, "server") == spiffe("server")
    assert asked(town) == {spiffe("client"), spiffe("server")}, "another identity was asked for"
    assert {row["identity"] for row in a.ctl("certificates")} == {spiffe("client")}
    b.access_log(f'src.identity="{spiffe("client")}"', f'dst.identity="{spiffe("server")}"')
    # Policies that name principals mean the same.
    town.set(only(f"{DOMAIN}/ns/shop/sa/client"))
    wait_for(lambda: len(b.dump()["policies"]) == 1, "the policy")
    assert talks(client, server.v4)
    town.set(only("cluster.local/ns/shop/sa/client"))
    wait_for(lambda: not talks(client, server.v4), "another principal's policy to refuse")
    wait_for(lambda: a.ctl("explain", "shop/client", f"{server.v4}:7002")["outcome"] == "denied", "the client's own agent to know it too")


def test_a_pod_that_joins_before_it_is_named_gets_its_identity_with_its_name(town):
    world = town.world
    agent, server = world.a.agent, world.pods["server"]
    pod = world.add("late")
    assert identity(agent, "late") == spiffe("late", "cluster.local"), "as configured, until it is known"
    town.add(world.workloads["late"], trust_domain=DOMAIN)
    wait_for(lambda: identity(agent, "late") == spiffe("late"), "the pod to be who it is")
    wait_for(lambda: talks(pod, server.v4), "a connection")
    assert spiffe("late", "cluster.local") not in {row["identity"] for row in agent.ctl("certificates")}, "nobody is that any more"
    world.b.agent.access_log(f'src.identity="{spiffe("late")}"')


def test_a_pod_at_an_address_that_another_one_had_is_not_taken_for_that_one(plane):
    """The control plane still lists who had the address before. Its policies let everybody in, and are not the new pod's."""
    world = plane.world
    server = world.declare("server", "b", namespace="shop")
    world.declare("stranger", "a", protocol="TCP")
    plane.set(proto.workload("old", "other", "node-b", [server.v4, server.v6]))
    world.start_agents()
    wait_for(lambda: "Kubernetes//Pod/other/old" in world.b.agent.known(), "the old pod to be known")
    programs.echo_server(world.add("server"))
    stranger = world.add("stranger", chain="plain")
    with contextlib.closing(connect(stranger, server.v4)) as waiting:
        waiting.sendall(b"x")
        waiting.settimeout(scaled(1))
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        plane.add(server)
        waiting.settimeout(scaled(5))
        assert waiting.recv(1) == b"x", "a connection that waited for the pod's own policies"
    [line] = world.b.agent.access_log()
    assert 'dst.workload="server" dst.namespace="shop"' in line, line


def test_a_line_of_the_access_log_names_who_it_was_when_the_connection_was_made(town):
    """The far end's pod goes while the connection lives, and another one gets its address."""
    world = town.world
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: talks(client, server.v4), "a connection")
    before = len(world.a.agent.access_log()), len(world.b.agent.access_log())
    with contextlib.closing(connect(client, server.v4)) as live:
        assert echoes(live)
        town.set(proto.workload("heir", "other", "node-a", [client.v4]), proto.workload("heir", "other", "node-b", [server.v4]),
                 removed=["Kubernetes//Pod/shop/client", "Kubernetes//Pod/shop/server"])
        for node in (world.a, world.b):
            wait_for(lambda n=node: "Kubernetes//Pod/other/heir" in n.agent.known(), f"the change at {node.name}")
        assert echoes(live)
    for node, count in zip((world.a, world.b), before, strict=True):
        line = node.agent.access_log(count=count + 1)[-1]
        assert 'src.workload="client" src.namespace="shop"' in line and 'dst.workload="server" dst.namespace="shop"' in line, line


def test_an_agent_that_starts_anew_takes_its_pods_for_nobody_else(town):
    """It has them before the control plane has said a word."""
    world = town.world
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: talks(client, server.v4), "a connection")
    world.a.agent.stop()
    world.a.agent.start()
    wait_for(lambda: talks(client, server.v4), "a connection after the restart")
    assert identity(world.a.agent, "client") == spiffe("client")
    assert asked(town) == {spiffe("client"), spiffe("server")}, "another identity was asked for"


def test_a_change_of_the_trust_domain_leaves_live_connections_and_makes_new_ones_with_the_new_one(town):
    world = town.world
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: talks(client, server.v4), "a connection")
    with contextlib.closing(connect(client, server.v4)) as live:
        assert echoes(live)
        town.add(world.workloads["client"], world.workloads["server"], trust_domain="other.example")
        wait_for(lambda: identity(world.a.agent, "client") == spiffe("client", "other.example"), "the client's identity")
        wait_for(lambda: identity(world.b.agent, "server") == spiffe("server", "other.example"), "the server's identity")
        wait_for(lambda: talks(client, server.v4), "a new connection")
        assert echoes(live)
    world.b.agent.access_log(f'src.identity="{spiffe("client", "other.example")}"')


def test_a_handshake_that_the_change_overtakes_carries_nothing_of_the_pod(lenient_b, town):
    """It was begun with the old identity; the connection that waits for it is made with the new one."""
    world = town.world
    client, server, new = world.pods["client"], world.pods["server"], spiffe("client", "other.example")
    os.kill(world.b.agent.pid, signal.SIGSTOP)
    try:
        waiting = connect(client, server.v4)
        # Its first message is out: a worker that has not come so far begins with the new identity, and needs no other tunnel.
        wait_for(lambda: "bytes_sent:" in client.run(["ss", "-Htin", "state", "established", "dport", "=", ":15008"]).stdout,
                 "the handshake to wait for its answer")
        [port] = tunnel_ports(client)
        town.add(world.workloads["client"], trust_domain="other.example")
        wait_for(lambda: identity(world.a.agent, "client") == new, "the client's identity")
        wait_for(lambda: port not in tunnel_ports(client), "the handshake to be left", 5)  # before its own time is over
    finally:
        os.kill(world.b.agent.pid, signal.SIGCONT)
    with contextlib.closing(waiting):
        assert echoes(waiting)
    [line] = world.b.agent.access_log()
    assert f'src.identity="{new}"' in line, line


def test_until_there_is_a_certificate_of_the_new_identity_the_old_one_serves(town):
    """Fault: the CA refuses the identity that the control plane has just given the pod."""
    world = town.world
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: talks(client, server.v4), "a connection")
    new = spiffe("client", "other.example")
    town.ca.faults[new] = scripted_ca.refuses
    town.add(world.workloads["client"], trust_domain="other.example")
    wait_for(lambda: len(town.ca.calls_for(new)) >= 2, "the CA to refuse it")
    assert identity(world.a.agent, "client") == spiffe("client") and talks(client, server.v4)
    town.ca.faults.clear()
    wait_for(lambda: identity(world.a.agent, "client") == new, "the new identity", 20)
    town.add(world.workloads["server"], trust_domain="other.example")
    wait_for(lambda: talks(client, server.v4), "a connection of the new identities")
    wait_for(lambda: spiffe("client") not in {row["identity"] for row in world.a.agent.ctl("certificates")}, "the old certificate to be let go")


def test_a_pod_of_istio_cni_waits_for_its_name_and_no_certificate_is_asked_for_before(node_of_istio_cni):
    plane, cni = node_of_istio_cni
    world = plane.world
    agent, server = world.a.agent, world.pods["server"]
    client = world.add("client", chain="plain")
    zds.capture(client)
    agent.start(wait=False)
    peer = cni.accept()
    peer.add(client)
    peer.ask(zds.SNAPSHOT)
    agent.wait_ready()
    with contextlib.closing(connect(client, server.v4)) as waiting:
        assert {row["identity"] for row in agent.ctl("certificates")} == set()
        plane.add(world.workloads["client"], trust_domain=DOMAIN)
        assert echoes(waiting), "a connection that waited for the name"
    assert identity(agent, "client") == spiffe("client")
    assert asked(plane) == {spiffe("client"), spiffe("server")}
    world.b.agent.access_log(f'src.identity="{spiffe("client")}"')


def test_a_pod_that_only_local_xds_names_is_served_by_its_names(node_of_istio_cni):
    """LOCAL_XDS beside a control plane that does not know the pod: it is found by namespace, name, account and node, whatever its uid."""
    plane, cni = node_of_istio_cni
    world = plane.world
    agent, server = world.a.agent, world.pods["server"]
    client = world.add("client", chain="plain")
    zds.capture(client, dns=True)
    local = world.a.directory / "local.yaml"
    entry = {"uid": "file-client", "name": "client", "namespace": "shop", "serviceAccount": "client", "trustDomain": DOMAIN, "protocol": "HBONE",
             "node": "node-a", "workloadIps": [client.v4, client.v6]}
    local.write_text(f"workloads: [{entry}]\n")
    agent.environment["LOCAL_XDS_PATH"] = str(local)
    agent.extra_config = agent.extra_config | {"dns": {"capture": True}}
    plane.set(proto.service("web", "shop", "10.96.0.1", {80: 7002}))
    agent.start(wait=False)
    peer = cni.accept()
    peer.add(client)
    peer.ask(zds.SNAPSHOT)
    agent.wait_ready()
    wait_for(lambda: talks(client, server.v4), "a connection")
    assert identity(agent, "client") == spiffe("client")
    # Its questions are answered from the mesh, and not with SERVFAIL.
    question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x03web\x04shop\x03svc\x07cluster\x05local\0" + struct.pack(">HH", 1, 1)
    with contextlib.closing(client.netns.socket(kind=2)) as connection:
        connection.settimeout(scaled(5))
        connection.connect(("10.254.0.53", 53))
        connection.send(question)
        answer = connection.recv(512)
    assert answer[3] & 0x0F == 0 and answer.endswith(bytes([10, 96, 0, 1])), answer
    # It is the pod of that account only.
    local.write_text(f"workloads: [{entry | {'serviceAccount': 'other'}}]\n")
    wait_for(lambda: not talks(client, server.v4), "another account's workload to be another's")
    assert refused(client, server.v4) < scaled(10)
