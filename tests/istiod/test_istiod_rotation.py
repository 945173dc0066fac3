# SPDX-License-Identifier: Apache-2.0
"""istiod's plugged-in CA moves to another root, as an operator does it: both trusted, the new one signs, the old one gone. Agents and
connections live on; each step counts for new tunnels as soon as certificates have been renewed."""

import contextlib
import json

import pytest
from culvert_harness import Credentials, h2peer, programs, tls13, wait_for
from culvert_harness.plugged_ca import CertificateDirectory, Root
from culvert_harness.traffic import Traffic, connect, echoes, talks

LIFETIME = "10s"  # certificates are renewed each 5 s, so that a step takes no longer
STEP_S = 20


@pytest.fixture
def plugged(world, cluster):
    """istiod with a CA of two roots to be, signing with the old one. (directory, old, new)"""
    old, new = Root(world.directory / "old"), Root(world.directory / "new")
    files = CertificateDirectory(world.directory / "cacerts")
    files.sign_with(old)
    files.trust(old)
    cluster.stop_istiod()
    cluster.istiod_environment = {"ROOT_CA_DIR": str(files.path), "ISTIO_MULTIROOT_MESH": "true"}
    cluster.start_istiod()
    yield files, old, new
    cluster.stop_istiod()
    cluster.istiod_environment = {}
    cluster.start_istiod()


def published(cluster) -> str:
    """The roots as istiod publishes them in every namespace."""
    return json.loads(cluster.kubectl("get", "configmap", "istio-ca-root-cert", "-n", "istio-system", "-o", "json").stdout)["data"]["root-cert.pem"]


def mount(cluster, *roots: Root, nodes) -> None:
    """What kubelets do with that: the file follows, whole."""
    wanted = "".join(root.pem for root in roots).split()
    text = wait_for(lambda: (got := published(cluster)).split() == wanted and got, "istiod to publish the roots", 20)
    for node in nodes:
        write(node, text)


def write(node, text: str) -> None:
    path = node.directory / "secrets" / "root-cert.pem"
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def held(agent) -> list[tuple[list[int], list[int]]]:
    """Of each identity with a certificate: serials of the chain, and of the roots."""
    rows = [row for row in agent.dump()["certificates"] if row["state"] == "Available"]
    return [([int(one["serialNumber"]) for one in row["certChain"]], [int(one["serialNumber"]) for one in row["rootCerts"]]) for row in rows]


def wait_all(world, what: str, holds) -> None:
    for node in world.nodes.values():
        wait_for(lambda agent=node.agent: (rows := held(agent)) and all(holds(chain, roots) for chain, roots in rows), f"{node.name}: {what}", STEP_S)


def lets_in(world, root: Root) -> bool:
    """Whether the server's agent takes a peer whose certificate is of that root."""
    stranger, server = world.pods["stranger"], world.pods["server"]
    credentials = root.credentials(stranger.identity)
    bundle = root.directory / "both.pem"
    bundle.write_text("".join((root.directory.parent / name / "root.crt").read_text() for name in ("old", "new")))
    context = tls13.Context(Credentials(credentials.certificate, credentials.key, str(bundle)))
    with contextlib.suppress(OSError), h2peer.Link.dial(stranger, server.v4, context) as link:
        stream = link.open(f"{server.v4}:7002")
        stream.sendall(b"x")
        return stream.recv() == b"x"
    return False


def test_a_root_is_replaced_under_live_connections(world, cluster, plugged):
    files, old, new = plugged
    world.tunnel = {"pool": {"max_idle_per_peer": 0}}  # each connection has a handshake of its own
    for name, node in (("client", "a"), ("stranger", "a"), ("server", "b")):
        cluster.add_workload(world, world.declare(name, node, namespace="shop"))
    for node in world.nodes.values():
        node.agent.environment["SECRET_TTL"] = LIFETIME
    mount(cluster, old, nodes=world.nodes.values())
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    world.add("stranger", chain="plain")
    programs.echo_server(server)
    wait_for(lambda: talks(client, server.v4), "the first connection")
    assert lets_in(world, old) and not lets_in(world, new)
    with contextlib.closing(connect(client, server.v4)) as live:
        with Traffic(client, server.v4) as traffic:
            files.trust(old, new)
            mount(cluster, old, new, nodes=world.nodes.values())
            wait_all(world, "both roots trusted", lambda chain, roots: set(roots) == {old.serial, new.serial})
            assert echoes(live) and lets_in(world, old) and lets_in(world, new)

            files.sign_with(new)
            wait_all(world, "the new one's leaves", lambda chain, roots: new.intermediate.serial_number in chain)
            assert echoes(live) and lets_in(world, old) and lets_in(world, new)

            files.trust(new)
            mount(cluster, new, nodes=[world.a])
            wait_all(world, "the old one gone", lambda chain, roots: roots == [new.serial])
            assert echoes(live) and lets_in(world, new) and not lets_in(world, old)
        traffic.assert_undisturbed(rounds=50)

        # A node whose file is that of long ago: its agent does not talk to whom it cannot know, and mends when the file follows.
        write(world.b, old.pem)
        cluster.stop_istiod()
        cluster.start_istiod()
        cluster.add_pod("extra", "shop", "extra", "node-b", ["10.2.0.77"], world.b.v4)
        uid = "Kubernetes//Pod/shop/extra"
        wait_for(lambda: uid in world.a.agent.known(), "node a to hear of it", STEP_S)
        wait_for(lambda: "or with a certificate that" in world.b.agent.log(), "node b to say why not")
        assert uid not in world.b.agent.known() and echoes(live)
        mount(cluster, new, nodes=[world.b])
        wait_for(lambda: uid in world.b.agent.known(), "node b to hear of it", STEP_S)
        assert echoes(live)
        wait_for(lambda: talks(client, server.v4), "a new connection", STEP_S)
