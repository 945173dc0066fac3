# SPDX-License-Identifier: Apache-2.0
"""A mesh whose trust domain was renamed: agents that bear the old name and agents that bear the new one, each an alias of the other."""

import contextlib

import pytest
from culvert_harness import programs, scaled


def answers(pod, server) -> bool:
    try:
        with contextlib.closing(pod.netns.socket()) as connection:
            connection.settimeout(scaled(10))
            connection.connect((server.v4, 7002))
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


@pytest.fixture(params=["direct", "hbone"])
def renamed(world, request):
    """The client's node has the old trust domain, the server's node the new one."""
    world.tunnel = {"offer": [request.param]}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.a.agent.extra_config = {"trust_domain": "old.example", "trust_domain_aliases": ["new.example"]}
    world.b.agent.extra_config = {"trust_domain": "new.example", "trust_domain_aliases": ["old.example"]}
    return world


def begin(world):
    world.start_agents()
    client = world.add("client")
    server = world.add("server")
    programs.echo_server(server)
    return client, server


def test_the_two_halves_of_a_renamed_mesh_talk_and_the_log_shows_their_names(renamed):
    client, server = begin(renamed)
    assert answers(client, server) and answers(client, server)
    [line, *_] = renamed.b.agent.access_log()
    assert 'src.identity="spiffe://old.example/ns/shop/sa/client"' in line
    assert 'dst.identity="spiffe://new.example/ns/shop/sa/server"' in line


def test_without_aliases_they_do_not(renamed):
    for node in (renamed.a, renamed.b):
        del node.agent.extra_config["trust_domain_aliases"]
    client, server = begin(renamed)
    assert not answers(client, server)
    [line] = renamed.a.agent.access_log()
    assert "identity" in line


@pytest.mark.parametrize("domain, is_allowed", [("new.example", True), ("old.example", True), ("cluster.local", True), ("other.example", False)])
def test_a_policy_that_names_a_principal_by_any_of_the_names_lets_it_in(renamed, domain, is_allowed):
    renamed.b.agent.extra_config["mesh"] = {"policies": [
        {"name": "only", "namespace": "shop", "action": "ALLOW",
         "rules": [{"clauses": [{"matches": [{"principals": [f"{domain}/ns/shop/sa/client"]}]}]}]}]}
    client, server = begin(renamed)
    assert answers(client, server) == is_allowed
