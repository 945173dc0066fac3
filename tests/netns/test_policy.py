# SPDX-License-Identifier: Apache-2.0
"""Authorization policies at the server's agent: who is let in, what is said about who is not, and what a change does to live connections."""

import contextlib
import os
import socket
import time

import pytest
from culvert_harness import programs, scaled, wait_for

DIRECT, HBONE = {}, {"offer": ["hbone"]}


def policy(name: str, action: str, match: dict | None = None, **more) -> dict:
    rules = [{}] if match is None else [{"clauses": [{"matches": [match]}]}]
    return {"name": name, "namespace": "shop", "action": action, "rules": rules} | more


def from_account(*accounts: str) -> dict:
    return {"service_accounts": [f"shop/{account}" for account in accounts]}


class Mesh:
    """`client` and `other` on node a, `stranger` there outside the mesh, `server` on node b; echo on 7002 and 7003 of the server."""

    def __init__(self, world, tunnel: dict, policies: list[dict]):
        self.world = world
        world.tunnel = tunnel
        world.mesh["policies"] = policies
        for name, node in (("client", "a"), ("other", "a"), ("server", "b")):
            world.declare(name, node, namespace="shop")
        world.declare("stranger", "a", namespace="outside")
        world.namespaces["outside"] = {"enrol": False}
        world.start_agents()
        self.client, self.other, self.stranger, self.server = (world.add(name) for name in ("client", "other", "stranger", "server"))
        for port in (7002, 7003):
            programs.echo_server(self.server, port)

    def connect(self, pod, port: int = 7002, host: str | None = None) -> socket.socket:
        host = host or self.server.v4
        connection = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        connection.settimeout(scaled(10))
        connection.connect((host, port))
        return connection

    def talks(self, pod, port: int = 7002, host: str | None = None) -> bool:
        with contextlib.suppress(ConnectionError), contextlib.closing(self.connect(pod, port, host)) as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
        return False

    def change(self, policies: list[dict]) -> None:
        self.world.mesh["policies"] = policies
        self.world.b.agent.write_config()  # no signal: the agent watches the file

    def logged(self, *parts: str) -> list[str]:
        return self.world.b.agent.access_log(*parts)


def echoes(connection: socket.socket) -> bool:
    connection.sendall(b"y")
    return connection.recv(1) == b"y"


def ends(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(scaled(within_s))
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("tunnel", [DIRECT, HBONE], ids=["direct", "hbone"])
class TestPolicies:
    def test_a_denied_account_is_refused_before_the_application_and_the_log_names_the_policy(self, world, tunnel):
        mesh = Mesh(world, tunnel, [policy("no-other", "DENY", from_account("other"))])
        assert mesh.talks(mesh.client)
        assert not mesh.talks(mesh.other)
        assert mesh.talks(mesh.stranger)
        mesh.logged("connection closed due to policy rejection: explicitly denied by: shop/no-other")
        assert world.b.agent.metric("culvert_connections_closed_total", reason="policy_denied") >= 1
        if tunnel == HBONE:
            assert world.a.agent.access_log("error=")

    def test_an_allow_policy_shuts_out_who_is_not_named(self, world, tunnel):
        mesh = Mesh(world, tunnel, [policy("only-client", "ALLOW", from_account("client") | {"destination_ports": [7002]})])
        with contextlib.closing(mesh.connect(mesh.client)) as live:
            assert echoes(live)
            [row] = [row for row in world.b.agent.ctl("connections") if row["direction"] == "inbound" and row["state"] == "open"]
            assert "allowed by: shop/only-client" in row["why"], row
        assert mesh.talks(mesh.client, host=mesh.server.v6)
        assert not mesh.talks(mesh.client, 7003)
        assert not mesh.talks(mesh.other)
        assert not mesh.talks(mesh.stranger)
        mesh.logged("allow policies exist, but none allowed")

    def test_a_change_closes_exactly_the_live_connections_that_it_denies(self, world, tunnel):
        mesh = Mesh(world, tunnel, [])
        with contextlib.ExitStack() as stack:
            live = {pod.name: stack.enter_context(contextlib.closing(mesh.connect(pod))) for pod in (mesh.client, mesh.other, mesh.stranger)}
            assert all(echoes(connection) for connection in live.values())
            mesh.change([policy("no-other", "DENY", from_account("other")), policy("no-plaintext", "DENY", {"not_principals": ["*"]})])
            started = time.monotonic()
            assert ends(live["other"], 2) and ends(live["stranger"], 2)
            assert time.monotonic() - started < scaled(2)
            assert echoes(live["client"])
            changed = "connection closed due to policy change: explicitly denied by: shop/"
            assert mesh.logged(changed + "no-other") and mesh.logged(changed + "no-plaintext")
            mesh.change([])
            wait_for(lambda: mesh.talks(mesh.other) and mesh.talks(mesh.stranger), "the policies to be gone")
            assert echoes(live["client"])


def test_a_workloads_own_list_counts_as_soon_as_it_changes(world):
    mesh = Mesh(world, DIRECT, [])
    with contextlib.closing(mesh.connect(mesh.client)) as live:
        assert echoes(live)
        read = world.b.agent.log().count("configuration in force")
        mesh.change([policy("here", "DENY", from_account("client"), scope="WORKLOAD", workloads=["other"])])
        wait_for(lambda: world.b.agent.log().count("configuration in force") > read, "the file to be read")
        assert mesh.talks(mesh.client) and echoes(live)
        mesh.change([policy("here", "DENY", from_account("client"), scope="WORKLOAD", workloads=["server"])])
        assert ends(live, 5)
        assert not mesh.talks(mesh.client)


def test_explain_says_what_connections_get(world):
    mesh = Mesh(world, DIRECT, [policy("no-other", "DENY", from_account("other"))])
    for pod, outcome in ((mesh.client, "allowed"), (mesh.other, "denied"), (mesh.stranger, "allowed")):
        source = pod.v4 if pod is mesh.stranger else f"shop/{pod.name}"
        told = world.b.agent.ctl("explain", source, f"{mesh.server.v4}:7002")
        assert told["outcome"] == outcome, told
        assert mesh.talks(pod) == (outcome == "allowed")
    steps = world.b.agent.ctl("explain", "shop/other", f"{mesh.server.v4}:7002")["steps"]
    assert any(step["decided_by"] == "policy shop/no-other" and "rule 1 of 1 matches" in step["text"] for step in steps)


def test_peer_authentication_that_becomes_strict_closes_live_plaintext(world):
    mesh = Mesh(world, DIRECT, [])
    with contextlib.closing(mesh.connect(mesh.stranger)) as plain, contextlib.closing(mesh.connect(mesh.client)) as tunnelled:
        assert echoes(plain) and echoes(tunnelled)
        world.mesh["peer_authentication"] = "STRICT"
        mesh.change([])
        assert ends(plain, 5)
        assert echoes(tunnelled)


def test_a_dry_run_refuses_nothing_and_says_what_it_would(world):
    mesh = Mesh(world, DIRECT, [policy("trial", "DENY", from_account("other"), dry_run=True)])
    assert mesh.talks(mesh.client) and mesh.talks(mesh.other)
    wait_for(lambda: "would be denied (explicitly denied by: shop/trial)" in world.b.agent.log(), "the log to say so")
    assert world.b.agent.metric("culvert_policy_dry_run_denied_total") == 1


def test_a_thousand_policy_flips_in_a_minute_lose_no_allowed_connection_and_leak_nothing(world):
    mesh = Mesh(world, DIRECT, [])
    agent = world.b.agent
    descriptors = lambda: len(os.listdir(f"/proc/{agent.pid}/fd"))  # noqa: E731
    deny = [policy("flip", "DENY", from_account("other"))]
    with contextlib.closing(mesh.connect(mesh.client)) as live:
        assert echoes(live) and mesh.talks(mesh.other)
        for _ in range(20):
            mesh.change(deny)
            mesh.change([])
        fds_before, rss_before = descriptors(), agent.rss_kib()
        started = time.monotonic()
        for flip in range(1_000):
            mesh.change(deny if flip % 2 == 0 else [])
            if flip % 10 == 0:
                assert echoes(live)
                assert mesh.talks(mesh.client), f"an allowed connection was lost at flip {flip}"
            if flip % 50 == 0:
                mesh.talks(mesh.other)
            time.sleep(max(0.0, started + flip * 0.03 - time.monotonic()))
        assert time.monotonic() - started < scaled(60)
        wait_for(lambda: mesh.talks(mesh.other), "the last state, without the policy, to be in force")
        assert echoes(live)
    wait_for(lambda: not agent.ctl("connections"), "every connection to have ended")
    assert descriptors() <= fds_before + 8
    assert agent.rss_kib() <= rss_before + 8 * 1024
