# SPDX-License-Identifier: Apache-2.0
"""Certificates that were taken back: new connections are refused, live ones end, and nobody else notices. The lists come as Kubernetes
brings them: a volume whose symbolic links are swapped."""

import contextlib
import os
import socket
import time

import pytest
from culvert_harness import Authority, programs, scaled, wait_for

core = pytest.mark.core
REVOKED = "connection closed: peer certificate revoked by CRL"


class Volume:
    """A directory as the kubelet fills it: NAME -> ..data/NAME, ..data -> a directory of its own for each version."""

    def __init__(self, directory):
        self.directory, self.versions = directory, 0
        directory.mkdir()

    @property
    def path(self) -> str:
        return str(self.directory / "ca-crl.pem")

    def publish(self, text: str | None) -> None:
        """None: the volume has no such key any more."""
        self.versions += 1
        version = self.directory / f"..v{self.versions}"
        version.mkdir()
        if text is not None:
            (version / "ca-crl.pem").write_text(text)
        temporary = self.directory / "..data_tmp"
        temporary.symlink_to(version.name)
        temporary.rename(self.directory / "..data")
        if not os.path.islink(self.path):
            os.symlink("..data/ca-crl.pem", self.path)


@pytest.fixture
def volume(world):
    made = Volume(world.directory / "crl")
    world.extra_config = {"identity": {"revocation": {"path": made.path}}}
    return made


def start(world, volume, protocol: str):
    """Two clients on node a, a server on node b, and lists that take nobody back."""
    world.tunnel = {"offer": [protocol]}
    world.start_with(client="a", second="a", server="b")
    programs.echo_server(world.pods["server"])
    revoke(world, volume)
    wait_for(lambda: [in_force(node.agent) for node in (world.a, world.b)] == [["in force"]] * 2, "the empty list to be in force")
    return world


@pytest.fixture(params=["direct", "hbone"])
def shop(world, volume, request):
    return start(world, volume, request.param)


def revoke(world, volume, *pods) -> None:
    serials = [serial_of(pod) for pod in pods]
    volume.publish(Authority.of(world).revocation_list(serials))


def serial_of(pod) -> int:
    [row] = [row for row in pod.node.agent.ctl("certificates") if row["identity"] == pod.identity]
    return int(row["serial"])


def in_force(agent) -> list[str]:
    return [row["state"] for row in agent.ctl("status")["revocation"]["lists"]]


def entries(agent) -> int:
    return sum(row["entries"] for row in agent.ctl("status")["revocation"]["lists"])


def connect(pod, server) -> socket.socket:
    connection = pod.netns.socket()
    connection.settimeout(scaled(10))
    connection.connect((server.v4, 7002))
    return connection


def echoes(connection, word: bytes = b"x") -> bool:
    connection.sendall(word)
    return connection.recv(len(word)) == word


def fails(pod, server) -> bool:
    """A new connection brings nothing back."""
    try:
        with contextlib.closing(connect(pod, server)) as connection:
            return not echoes(connection)
    except OSError:
        return True


def ends_within(connection, seconds: float) -> float:
    """How long it took until the other side ended the connection."""
    connection.settimeout(scaled(seconds))
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        assert connection.recv(100) == b"", "data on a connection that was cut"
    return time.monotonic() - began


def cut_off(agent, reporter: str) -> float:
    return agent.metric("istio_tcp_connections_closed_total", reporter=reporter, response_flags="CERT_REVOKED")


@core
def test_live_connections_of_a_revoked_client_end_within_a_second_and_others_go_on(shop, volume):
    client, second, server = (shop.pods[name] for name in ("client", "second", "server"))
    with contextlib.closing(connect(client, server)) as live, contextlib.closing(connect(second, server)) as other:
        assert echoes(live) and echoes(other)
        revoke(shop, volume, client)
        assert ends_within(live, 1) < scaled(1)
        assert echoes(other)
        assert not fails(second, server)
    wait_for(lambda: cut_off(shop.b.agent, "destination") == 1, "the connection to be counted")
    assert shop.b.agent.metric("istio_crl_policy_rejections_total", reporter="destination") == 1
    shop.b.agent.access_log(REVOKED, client.identity)

    def refused_anew() -> bool:
        """The first may still have met the end of the tunnel that was cut."""
        assert fails(client, server)
        return shop.b.agent.metric("istio_crl_policy_rejections_total", reporter="destination") > 1
    wait_for(refused_anew, "a new tunnel to be refused as well")
    assert shop.b.agent.metric("istio_crl_untracked_connections_total") == 0


@core
def test_live_connections_to_a_revoked_server_end_within_a_second(shop, volume):
    client, server = shop.pods["client"], shop.pods["server"]
    with contextlib.closing(connect(client, server)) as live:
        assert echoes(live)
        revoke(shop, volume, server)
        assert ends_within(live, 1) < scaled(1)
    wait_for(lambda: cut_off(shop.a.agent, "source") == 1, "the connection to be counted")
    assert fails(client, server)
    wait_for(lambda: cut_off(shop.a.agent, "source") == 2, "the refused server to be counted")
    [_, line] = shop.a.agent.access_log(REVOKED, count=2)
    assert f"the certificate of {server.identity} has been revoked" in line
    # Taken off the list again, it is as good as ever.
    revoke(shop, volume)
    wait_for(lambda: not fails(client, server), "the server to be accepted again")


def test_a_thousand_live_connections_end_within_a_second(shop, volume):
    client, second, server = (shop.pods[name] for name in ("client", "second", "server"))
    with contextlib.ExitStack() as stack:
        live = [stack.enter_context(contextlib.closing(connect(client, server))) for _ in range(1_000)]
        other = stack.enter_context(contextlib.closing(connect(second, server)))
        assert all(echoes(connection) for connection in [*live, other])
        serials = [serial_of(client)]
        text = Authority.of(shop).revocation_list(serials)
        began = time.monotonic()
        volume.publish(text)
        for connection in live:
            ends_within(connection, 5)
        assert time.monotonic() - began < scaled(1)
        assert echoes(other)


def test_idle_tunnels_of_a_revoked_peer_are_closed(shop, volume):
    client, server = shop.pods["client"], shop.pods["server"]
    with contextlib.closing(connect(client, server)) as first:
        assert echoes(first)
    assert shop.a.agent.metric("culvert_tunnels_open") == 1
    revoke(shop, volume, client)
    for agent in (shop.a.agent, shop.b.agent):
        wait_for(lambda agent=agent: agent.metric("culvert_tunnels_open") == 0, "the idle tunnel to be closed")


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_session_of_a_revoked_peer_is_not_resumed(world, volume, who):
    world.extra_config["tunnel"] = {"pool": {"max_idle_per_peer": 0}}
    shop = start(world, volume, "direct")
    client, server = shop.pods["client"], shop.pods["server"]
    judge = shop.b.agent if who == "client" else shop.a.agent
    for _ in range(3):
        assert not fails(client, server)
    revoke(shop, volume, shop.pods[who])
    wait_for(lambda: entries(judge) == 1, "the list to be in force")
    resumed = judge.metric("culvert_tls_handshakes_resumed_total")  # one more may have been made for nobody, with the ticket of the last
    assert resumed > 0
    assert fails(client, server)
    assert judge.metric("culvert_tls_handshakes_resumed_total") == resumed


@pytest.mark.parametrize("shop", ["direct"], indirect=True)
def test_a_file_that_is_wrong_or_gone_leaves_the_lists_in_force(shop, volume):
    client, server = shop.pods["client"], shop.pods["server"]
    agent = shop.b.agent
    revoke(shop, volume, client)
    wait_for(lambda: entries(agent) == 1, "the list to be in force")
    good = Authority.of(shop).revocation_list([serial_of(client)])
    for number, wrong in enumerate((good[:len(good) // 2], "", "not a list", None, "x" * (17 << 20)), start=1):
        failures = agent.metric("culvert_crl_reload_failures_total")
        volume.publish(wrong)
        wait_for(lambda: agent.metric("culvert_crl_reload_failures_total") > failures, f"wrong file {number} to be noticed")
        assert agent.ctl("status")["revocation"]["error"]
        assert entries(agent) == 1
        assert fails(client, server)
    assert "the 1 in force stay" in agent.log()
    revoke(shop, volume)
    wait_for(lambda: not fails(client, server), "the next good file to be taken over")
    assert agent.ctl("status")["revocation"]["error"] == ""
    assert agent.metric("culvert_crl_next_update_timestamp_seconds") > time.time()


def test_without_lists_connections_work_and_the_first_one_counts_when_it_comes(world, volume):
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.start_agents()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)
    with contextlib.closing(connect(client, server)) as live:
        assert echoes(live)
        assert "there are none in force" in world.b.agent.log()
        revoke(world, volume, client)
        assert ends_within(live, 2) < scaled(2)


def test_fail_closed_is_not_ready_without_lists_and_refuses_what_none_speaks_of(world, volume):
    world.extra_config["identity"]["revocation"]["fail_closed"] = True
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    for node in (world.a, world.b):
        node.agent.start(wait=False)
    wait_for(lambda: "revocation lists" in world.b.agent.http(15021, "/healthz/ready")[1], "the agent to wait for lists")
    # Of another authority: they speak of nobody here.
    volume.publish(Authority.new(world.directory / "other-ca").revocation_list([]))
    for node in (world.a, world.b):
        node.agent.wait_ready()
    client, server = world.add("client"), world.add("server")
    programs.echo_server(server)
    assert in_force(world.b.agent) == ["not signed by a known issuer"]
    assert fails(client, server)
    [line] = world.a.agent.access_log()
    assert "no current revocation list speaks of" in line
    revoke(world, volume)
    wait_for(lambda: not fails(client, server), "connections to work with a list of the mesh's own authority")
