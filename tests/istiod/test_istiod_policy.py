# SPDX-License-Identifier: Apache-2.0
"""AuthorizationPolicy and PeerAuthentication, written to the API server, on live traffic."""

import contextlib

from culvert_harness import cluster as clusters, programs, wait_for


def connect(client, host: str, port: int):
    connection = client.netns.socket()
    connection.settimeout(10)
    connection.connect((host, port))
    return connection


def talks(client, host: str, port: int = 7002) -> bool:
    try:
        with contextlib.closing(connect(client, host, port)) as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


def ends(connection, within_s: float = 5) -> bool:
    connection.settimeout(within_s)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def deny(account: str, **selector) -> dict:
    return {"action": "DENY", "rules": [{"from": [{"source": {"principals": [f"cluster.local/ns/shop/sa/{account}"]}}]}], **selector}


def test_a_policy_counts_from_the_moment_it_is_written_until_it_is_deleted(mesh, cluster):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    wait_for(lambda: talks(client, server.v4), "the first connection")
    with contextlib.closing(connect(client, server.v4, 7002)) as live:
        live.sendall(b"x")
        assert live.recv(1) == b"x"
        cluster.apply(clusters.policy("AuthorizationPolicy", "others", "shop", deny("somebody-else")))
        wait_for(lambda: any("shop/others" in str(step) for step in mesh.b.agent.ctl("explain", "shop/client", f"{server.v4}:7002")["steps"]),
                 "the policy to arrive")
        live.sendall(b"y")
        assert live.recv(1) == b"y", "a policy about somebody else closed it"
        cluster.apply(clusters.policy("AuthorizationPolicy", "no-client", "shop", deny("client")))
        assert ends(live)
    assert not talks(client, server.v4)
    mesh.b.agent.access_log("connection closed due to policy change: explicitly denied by: shop/no-client")
    cluster.delete("authorizationpolicy", "shop", "no-client", "others")
    wait_for(lambda: talks(client, server.v4), "the policy to be gone")


def test_a_policy_with_a_selector_counts_for_the_pods_that_it_selects(mesh, cluster):
    client, server = mesh.pods["client"], mesh.pods["server"]
    programs.echo_server(server)
    programs.echo_server(client)
    wait_for(lambda: talks(client, server.v4) and talks(server, client.v4), "both ways")
    labels = cluster.kubectl("get", "pod", "server", "-n", "shop", "-o", "jsonpath={.metadata.labels.app}").stdout.strip()
    assert labels, "the pod has a label to select it by"
    cluster.apply(clusters.policy("AuthorizationPolicy", "selected", "shop",
                                  {"action": "ALLOW", "selector": {"matchLabels": {"app": labels}}}))
    wait_for(lambda: not talks(client, server.v4), "the policy, which allows nobody, to be in force")
    assert talks(server, client.v4)
    cluster.delete("authorizationpolicy", "shop", "selected")
    wait_for(lambda: talks(client, server.v4), "the policy to be gone")


def test_strict_peer_authentication_refuses_plaintext(mesh, cluster):
    client, server = mesh.pods["client"], mesh.pods["server"]
    mesh.declare("stranger", "a", namespace="outside")
    stranger = mesh.add("stranger", chain="plain")
    programs.echo_server(server)
    wait_for(lambda: talks(client, server.v4) and talks(stranger, server.v4), "both clients")
    cluster.apply(clusters.policy("PeerAuthentication", "strict", "shop", {"mtls": {"mode": "STRICT"}}))
    wait_for(lambda: not talks(stranger, server.v4), "STRICT to be in force")
    assert talks(client, server.v4)
    cluster.delete("peerauthentication", "shop", "strict")
    wait_for(lambda: talks(stranger, server.v4), "STRICT to be gone")
