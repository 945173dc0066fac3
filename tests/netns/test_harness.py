# SPDX-License-Identifier: Apache-2.0
"""The harness itself: what the other tests conclude is only worth something when plain pods behave as plain pods do."""

import contextlib

import pytest
from culvert_harness import WaitTimeout, World, programs, wait_for
from culvert_harness.run import binary
from culvert_harness.world import BPF_DIR

SECRET = b"four-and-twenty-blackbirds"


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_plain_pods_on_two_nodes_reach_each_other(plain, family):
    client, server = plain.pods["client"], plain.pods["server"]
    programs.transfer_server(server)
    [line] = client.flowtool("transfer", getattr(server, family), 7001, "--up", 300_000, "--down", 200_000)
    assert line["ok"]


def test_a_plain_server_sees_the_client_pods_address(plain):
    client, server = plain.pods["client"], plain.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    assert programs.curl(client, f"http://{server.v4}/peer").stdout.strip() == client.v4
    assert programs.curl(client, f"http://[{server.v6}]/peer").stdout.strip() == client.v6


def test_a_capture_of_plain_traffic_shows_its_payload(plain):
    """The proofs of absence elsewhere rest on this: without a mesh the same capture finds the bytes."""
    client, server = plain.pods["client"], plain.pods["server"]
    programs.nginx(server, {"index.html": SECRET})
    capture = plain.capture()
    assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
    capture.stop()
    assert capture.contains(SECRET)
    with pytest.raises(AssertionError, match="beside the tunnel"):
        capture.assert_only_tunnels(client.v4)


@pytest.mark.parametrize("ending", ["half-close", "server-resets", "client-resets", "server-closes"])
def test_flowtool_tells_how_a_plain_connection_ended(plain, ending):
    client, server = plain.pods["client"], plain.pods["server"]
    serve = programs.transfer_server(server)
    amounts = () if ending == "server-closes" else ("--up", 50_000, "--down", 50_000)
    [line] = client.flowtool("transfer", server.v4, 7001, *amounts, "--ending", ending)
    assert line["ok"], line
    [seen] = wait_for(lambda: programs.reports(serve), "the server's report")
    assert seen["ok"], seen
    assert seen["peer"].startswith(client.v4)


def test_flowtool_notices_a_connection_that_ends_early(plain):
    client, server = plain.pods["client"], plain.pods["server"]
    serve = programs.transfer_server(server)
    transfer = client.start([binary("flowtool"), "transfer", server.v4, "7001", "--up", "99999999999", "--down", "99999999999", "--pause-us-max",
                             "1000"])
    wait_for(lambda: "7001" in server.run(["ss", "-Htn", "state", "established"]).stdout, "the connection")
    serve.kill()
    assert transfer.wait() != 0


def test_bridge_and_host_local_work_as_first_plugin(world):
    world.declare("client", "a")
    world.declare("server", "b")
    for node in world.nodes.values():
        node.chains["plain"] = node.chain("plain", meshed=False, main="bridge")
    client, server = world.add("client", chain="plain"), world.add("server", chain="plain")
    programs.echo_server(server, tell_peer=True)
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(5)
        connection.connect((server.v4, 7002))
        assert connection.recv(200).decode().startswith(client.v4 + ":")


def test_a_world_leaves_nothing_behind(request):
    made = World(request.node.nodeid)
    with made:
        made.declare("client", "a")
        pod = made.add("client", chain="plain")
        sleeper = pod.start(["sleep", "1000"])
        assert made.leftover_namespaces()
    assert not made.leftover_namespaces()
    assert not made.directory.exists()
    assert not list(BPF_DIR.glob(made.prefix + "*"))
    assert not sleeper.is_running()


def test_a_world_clears_away_what_a_dead_run_of_the_same_name_left(request):
    dead = World(request.node.nodeid)
    dead.__enter__()
    dead.declare("client", "a")
    dead.add("client", chain="plain").start(["sleep", "1000"])
    dead.lock.release()  # as its death would do
    with World(request.node.nodeid) as made:
        made.declare("client", "a")
        made.add("client", chain="plain")
    assert not made.leftover_namespaces()


def test_waiting_has_an_end():
    with pytest.raises(WaitTimeout, match="the impossible"):
        wait_for(lambda: False, "the impossible", timeout=0.1)
