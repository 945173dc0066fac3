# SPDX-License-Identifier: Apache-2.0
"""Certificates of istiod's CA and CRL_PATH, as ztunnel has it."""

import contextlib

import pytest
from culvert_harness import Authority, programs, scaled, wait_for


@pytest.fixture
def authority(world, cluster):
    directory = world.directory / "istiod-ca"
    directory.mkdir()
    for name in ("ca-cert.pem", "ca-key.pem"):
        (directory / name).write_text(cluster.authority_file(name))
    return Authority(directory / "issued", directory / "ca-cert.pem", directory / "ca-key.pem")


def test_a_list_of_istiods_self_made_ca_does_not_count_and_that_is_said(world, cluster, authority):
    """Its certificate lacks the key usage cRLSign (RFC 5280 section 6.3.3): lists are for CAs that are plugged in."""
    lists = world.directory / "ca-crl.pem"
    for node in world.nodes.values():
        node.agent.environment["CRL_PATH"] = str(lists)
    for name, node in (("client", "a"), ("server", "b")):
        cluster.add_workload(world, world.declare(name, node, namespace="shop"))
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)

    def echoes(connection) -> bool:
        connection.sendall(b"x")
        return connection.recv(1) == b"x"

    def opened():
        connection = client.netns.socket()
        connection.settimeout(scaled(10))
        try:
            connection.connect((server.v4, 7002))
            if echoes(connection):
                return connection
        except OSError:
            pass
        connection.close()
        return None

    with contextlib.closing(wait_for(opened, "the first connection")) as live:
        [row] = [row for row in world.a.agent.ctl("certificates") if row["identity"] == "spiffe://cluster.local/ns/shop/sa/client"]
        lists.with_suffix(".new").write_text(authority.revocation_list([int(row["serial"])]))
        lists.with_suffix(".new").rename(lists)
        for agent in (world.a.agent, world.b.agent):
            wait_for(lambda agent=agent: "count for nobody" in agent.log(), "the warning")
            assert [row["state"] for row in agent.ctl("status")["revocation"]["lists"]] == ["not signed by a known issuer"]
        assert echoes(live)
