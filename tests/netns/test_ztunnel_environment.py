# SPDX-License-Identifier: Apache-2.0
"""What ztunnel's environment says beside the control plane: LOCAL_XDS, PROXY_CONFIG."""

import contextlib
import json
import mmap
import signal
import time

from culvert_harness import programs, proto, scaled, wait_for
from culvert_harness.agent import LOCAL_PORT

VIP = "10.96.0.7"
SERVICE = {"name": "far", "namespace": "shop", "hostname": "far.example", "vips": [f"/{VIP}"], "ports": {80: 7002},
           "endpoints": {"shop/server": {"workloadUid": "shop/server", "port": {80: 7002}}}}
MACHINE = {"name": "machine", "namespace": "lab", "uid": "lab/machine", "workloadIps": ["192.0.2.9"]}
POLICY = {"name": "no-second", "namespace": "shop", "scope": "Namespace", "action": "Deny",
          "rules": [[[{"principals": [{"Exact": "cluster.local/ns/shop/sa/second"}]}]]]}


def answers(pod, host: str, port: int) -> bool:
    try:
        with contextlib.closing(pod.netns.socket()) as connection:
            connection.settimeout(scaled(10))
            connection.connect((host, port))
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


def start(world):
    world.start_with(client="a", second="a", server="b")
    programs.echo_server(world.pods["server"])
    return world.pods["client"], world.pods["second"]


def test_services_and_policies_of_local_xds_count_beside_those_of_the_file(world):
    path = world.directory / "local.json"
    path.write_text(json.dumps({"services": [SERVICE], "policies": [POLICY]}))
    world.a.agent.environment = {"LOCAL_XDS": json.dumps({"services": [SERVICE]})}
    world.b.agent.environment = {"LOCAL_XDS_PATH": str(path)}
    client, second = start(world)
    assert answers(client, VIP, 80)
    assert not answers(second, VIP, 80)
    [line] = world.b.agent.access_log("sa/second")
    assert "explicitly denied by: shop/no-second" in line


def test_a_dump_shows_local_xds_as_it_was_given_beside_what_is_in_force(world):
    world.a.agent.environment = {"LOCAL_XDS": json.dumps({"services": [SERVICE], "policies": [POLICY]})}
    world.a.agent.extra_config = {"admin": {"local_port": LOCAL_PORT}}
    start(world)
    dump = world.a.agent.dump()
    static = dump["staticConfig"]
    assert static["workloads"] == []
    assert static["policies"] == [POLICY]
    [service] = static["services"]
    assert service["vips"] == [f"/{VIP}"] and service["ports"] == {"80": 7002}
    assert service["endpoints"] == {"shop/server": {"workloadUid": "shop/server", "port": {"80": 7002}}}
    assert "far.example" in {row["hostname"] for row in dump["services"]}


def replace(path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_a_changed_local_file_is_in_force_without_a_signal_and_a_wrong_one_changes_nothing(world):
    path = world.directory / "local.json"
    path.write_text(json.dumps({"policies": [POLICY]}))
    world.b.agent.environment = {"LOCAL_XDS_PATH": str(path)}
    client, second = start(world)
    server = world.pods["server"]
    assert answers(client, server.v4, 7002) and not answers(second, server.v4, 7002)
    for wrong, message in ((json.dumps({"policies": [{**POLICY, "action": "Allow", "rule": []}]}), "policies[0].rule is not a key that is known there"),
                           ("", "the file is empty; write {} where it shall say nothing")):
        replace(path, wrong)
        wait_for(lambda m=message: f"the one in force stays: LOCAL_XDS_PATH {path}: {m}" in world.b.agent.log(), "the log to say what is wrong")
        assert not answers(second, server.v4, 7002)
    replace(path, "{}")
    wait_for(lambda: answers(second, server.v4, 7002), "the policy to be gone")


def test_beside_a_control_plane_a_changed_local_file_is_in_force_and_what_that_says_stays(plane):
    world = plane.world
    path = world.directory / "local.json"
    path.write_text(json.dumps({"policies": [POLICY]}))
    world.b.agent.environment["LOCAL_XDS_PATH"] = str(path)
    plane.add(*(world.declare(name, node, namespace="shop") for name, node in (("client", "a"), ("second", "a"), ("server", "b"))))
    world.start_agents()
    client, second, server = (world.add(name) for name in ("client", "second", "server"))
    programs.echo_server(server)
    wait_for(lambda: answers(client, server.v4, 7002), "the mesh to be known")
    assert not answers(second, server.v4, 7002)
    known = world.b.agent.known()
    replace(path, "policies: [{name: x}]")
    wait_for(lambda: f"LOCAL_XDS_PATH {path}: policies[0]." in world.b.agent.log(), "the log to say what is wrong")
    assert not answers(second, server.v4, 7002)
    replace(path, json.dumps({"workloads": [MACHINE]}))
    wait_for(lambda: answers(second, server.v4, 7002), "the policy to be gone")
    assert world.b.agent.known() == known | {"lab/machine"}
    assert [row["name"] for row in world.b.agent.dump()["staticConfig"]["workloads"]] == ["machine"]
    replace(path, "{}")
    wait_for(lambda: world.b.agent.known() == known, "the local workload to be gone")
    assert answers(client, server.v4, 7002)


def test_a_local_policy_is_in_force_again_when_the_control_plane_removes_its_own_of_that_name(plane):
    """A DENY must not be lost because somebody else had a policy of its name for a while."""
    world = plane.world
    world.b.agent.environment["LOCAL_XDS"] = json.dumps({"policies": [POLICY]})
    plane.add(*(world.declare(name, node, namespace="shop") for name, node in (("second", "a"), ("server", "b"))))
    world.start_agents()
    second, server = world.add("second"), world.add("server")
    programs.echo_server(server)
    wait_for(lambda: world.b.agent.known() >= {"Kubernetes//Pod/shop/second"}, "the mesh to be known")
    assert not answers(second, server.v4, 7002)
    plane.set(proto.deny("no-second", "shop", "somebody-else"))
    wait_for(lambda: answers(second, server.v4, 7002), "the control plane's policy to be in its place")
    plane.set(removed=["shop/no-second"])
    wait_for(lambda: not answers(second, server.v4, 7002), "the local policy to be back")


def test_the_local_file_is_read_again_at_sighup(world):
    """It changes by a mapping of its pages, which no watch of files is told of as long as the file stays open."""
    text = json.dumps({"workloads": [MACHINE]}).encode()
    path = world.directory / "local.json"
    path.write_bytes(b"{}".ljust(len(text)))
    world.b.agent.environment = {"LOCAL_XDS_PATH": str(path)}
    world.b.agent.start()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), len(text)) as pages:
        pages[:] = text
        time.sleep(scaled(0.3))
        assert world.b.agent.known() == set(), "the watch has seen it: this test would say nothing"
        world.b.agent.daemon.signal(signal.SIGHUP)
        wait_for(lambda: world.b.agent.known() == {"lab/machine"}, "the local file to be read again")


def test_a_wrong_variable_ends_the_start_and_is_named(world):
    for environment, message in (({"LOCAL_XDS": "policies: [{name: a, scope: Global, action: Allow, rule: []}]"},
                                  "invalid env var LOCAL_XDS (policies[0].rule is not a key that is known there)"),
                                 ({"PROXY_CONFIG": "statsPort: x"}, "invalid env var PROXY_CONFIG="),
                                 ({"LOCAL_XDS": "{}", "LOCAL_XDS_PATH": "/x"}, "both LOCAL_XDS and LOCAL_XDS_PATH are set")):
        world.a.agent.environment = environment
        world.a.agent.start(wait=False)
        assert world.a.agent.daemon.wait(scaled(10)) == 1
        assert message in world.a.agent.log()
        world.a.agent.daemon = None


def test_proxy_config_moves_the_metrics_port(world):
    world.a.agent.environment = {"PROXY_CONFIG": "{statsPort: 15520, concurrency: 1}"}
    world.a.agent.start()
    assert world.a.agent.http(15520, "/metrics")[0] == 200
    assert world.a.agent.ctl("status")["workers"] == 1
