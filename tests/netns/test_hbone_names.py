# SPDX-License-Identifier: Apache-2.0
"""Endpoints that the mesh knows by a hostname: DNS says where they are, and may change its mind."""

import contextlib

import pytest
from culvert_harness import programs, wait_for
from culvert_harness.names import NameServer
from test_fidelity import connect

VIP, NAME = "10.96.0.7", "far.example.com"


@pytest.fixture
def named(world):
    """A service whose one endpoint is `far`, which has a hostname and no address; servers one and two have its identity."""
    world.tunnel = {"offer": ["direct", "hbone"]}
    world.declare("client", "a", namespace="shop")
    for name in ("one", "two"):
        world.declare(name, "b", namespace="shop", service_account="far")
    world.more_workloads = [{"name": "far", "namespace": "shop", "service_account": "far", "hostname": NAME}]
    world.mesh["services"] = [{"name": "far", "namespace": "shop", "addresses": [VIP], "ports": [{"port": 80, "target_port": 7002}],
                               "endpoints": [{"workload": "far"}]}]
    resolv = world.directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    # The agent's own view of /etc, without touching the machine's; mounts of /run/netns must still arrive.
    world.a.agent.command_prefix = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", f'mount --bind {resolv} /etc/resolv.conf && exec "$@"', "sh"]
    with NameServer(world.a.netns) as world.names:
        world.start_agents()
        world.add("client")
        for name in ("one", "two"):
            programs.nginx(world.add(name), {"name": name.encode()}, 7002)
        yield world


def ask(world) -> str:
    return programs.curl(world.pods["client"], f"http://{VIP}/name", check=False).stdout


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_an_endpoint_is_found_by_its_name(named, family):
    named.names.table[NAME] = [getattr(named.pods["one"], family)]
    capture = named.capture()
    assert ask(named) == "one"
    capture.stop().assert_only_tunnels()
    assert NAME in named.names.asked


def test_a_changed_answer_is_followed_when_the_old_ones_time_is_over(named):
    named.names.table[NAME] = [named.pods["one"].v4]
    assert ask(named) == "one"
    named.names.table[NAME] = [named.pods["two"].v4]
    wait_for(lambda: ask(named) == "two", "the new address to be used", 10, interval=0.2)
    for _ in range(5):
        assert ask(named) == "two"


def test_an_answer_is_kept_for_its_time(named):
    named.names.ttl_s = 60
    named.names.table[NAME] = [named.pods["one"].v4]
    for _ in range(10):
        assert ask(named) == "one"
    assert named.names.asked.count(NAME) == 2, "one question for each family"


def test_a_name_that_does_not_exist_refuses_the_connection_until_it_does(named):
    with pytest.raises(ConnectionResetError), contextlib.closing(connect(named.pods["client"], VIP, 80)) as connection:
        assert connection.recv(1)
    [line] = named.a.agent.access_log()
    assert NAME in line
    named.names.table[NAME] = [named.pods["two"].v4]
    wait_for(lambda: ask(named) == "two", "the name to be asked for again", 20, interval=0.2)


def test_a_name_server_that_says_nothing_is_an_error_in_time(named):
    named.names.close()
    with pytest.raises(ConnectionResetError), contextlib.closing(connect(named.pods["client"], VIP, 80, 20)) as connection:
        assert connection.recv(1)
