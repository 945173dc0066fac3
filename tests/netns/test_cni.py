# SPDX-License-Identifier: Apache-2.0
"""culvert-cni as the CNI specification and a runtime see it, last in a real chain."""

import concurrent.futures
import copy
import json
import statistics
import time

import pytest
from culvert_harness import CniError, programs, run, wait_for
from culvert_harness.cni import TRY_AGAIN_LATER, call

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")


@pytest.fixture
def node(world):
    """Node a with its agent and one declared pod."""
    world.declare("client", "a", namespace="shop")
    world.a.agent.start()
    return world.a


def own_config(node, version: str = "1.0.0", **extra) -> dict:
    plugin = copy.deepcopy(node.chains["mesh"].conflist["plugins"][-1])
    return plugin | {"cniVersion": version, "name": "mesh"} | extra


def pods(node) -> set[str]:
    return {pod["name"] for pod in node.agent.ctl("pods")}


@pytest.mark.core
def test_add_passes_the_previous_result_on_and_joins_the_pod(world, node):
    pod = world.make_pod("client")
    plain = node.chain("mesh", meshed=False)
    meshed = node.chains["mesh"]
    assert [p["type"] for p in meshed.conflist["plugins"]] == ["ptp", "culvert-cni"]
    result = pod.cni_add()
    assert {ip["address"].split("/")[0] for ip in result["ips"]} == {pod.v4, pod.v6}
    assert any(i["name"] == "eth0" and i.get("sandbox") == pod.netns.path for i in result["interfaces"])
    assert plain.conflist["plugins"][0] == meshed.conflist["plugins"][0]
    [joined] = node.agent.ctl("pods")
    assert joined["name"] == "client" and joined["identity"] == pod.identity and set(joined["addresses"]) == {pod.v4, pod.v6}
    assert joined["state"] == "joined"


def test_prev_result_comes_back_as_it_went_in_with_what_we_do_not_know(world, node):
    pod = world.make_pod("client")
    pod.chain_name = "plain"
    result = copy.deepcopy(pod.cni_add())
    result["interfaces"][0]["fromTheFuture"] = {"kept": [1, 2.5, "three", None]}
    result["dns"] = {"nameservers": ["10.96.0.10"], "search": ["svc.cluster.local"]}
    env = {"CNI_CONTAINERID": pod.container_id, "CNI_NETNS": pod.netns.path, "CNI_IFNAME": "eth0",
           "CNI_ARGS": ";".join(f"{k}={v}" for k, v in pod.cni_args.items())}
    answer, _ = call("culvert-cni", "ADD", own_config(node, prevResult=result), env=env)
    assert answer == result


@pytest.mark.parametrize("version", VERSIONS[:3])  # what Debian's plugins before it speak
def test_a_whole_chain_in_each_version(world, node, version):
    node.chains["mesh"] = node.chain("mesh", meshed=True, version=version)
    pod = world.make_pod("client")
    assert pod.cni_add()["cniVersion"] == version
    if version != "0.3.1":  # CHECK came with 0.4.0
        pod.cni_check()
    pod.cni_delete()


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_answered(version):
    answer, _ = call("culvert-cni", "VERSION", {"cniVersion": version})
    assert answer["cniVersion"] == version
    assert set(VERSIONS) <= set(answer["supportedVersions"])


def test_add_twice_is_add_once(world, node):
    pod = world.add("client")
    env = {"CNI_CONTAINERID": pod.container_id, "CNI_NETNS": pod.netns.path, "CNI_IFNAME": "eth0",
           "CNI_ARGS": ";".join(f"{k}={v}" for k, v in pod.cni_args.items())}
    call("culvert-cni", "ADD", own_config(node, prevResult=pod.result), env=env)
    assert len(node.agent.ctl("pods")) == 1
    pod.cni_check()


class TestAgentAway:
    def test_add_fails_with_try_again_later_within_five_seconds_and_leaves_the_pod_unwired(self, world, node):
        node.agent.kill()
        pod = world.make_pod("client")
        with pytest.raises(CniError) as caught:
            pod.cni_add()
        assert caught.value.plugin == "culvert-cni"
        assert caught.value.code == TRY_AGAIN_LATER
        assert caught.value.seconds < run.scaled(5)
        # The runtime tore it down: nothing runs unmeshed.
        assert "eth0" not in pod.run(["ip", "-br", "link"]).stdout

    def test_a_pod_outside_the_mesh_does_not_need_the_agent(self, world, node):
        world.declare("legacy", "a", namespace="legacy")
        world.namespaces["legacy"] = {"enrol": False}
        node.agent.reload()
        node.agent.kill()
        pod = world.add("legacy")
        assert pod.v4 in pod.run(["ip", "-br", "addr"]).stdout

    def test_del_succeeds_and_the_agent_hears_of_it_when_it_is_back(self, world, node):
        pod = world.add("client")
        node.agent.kill()
        pod.cni_delete()
        pod.netns.delete()
        node.agent.start()
        wait_for(lambda: not node.agent.ctl("pods"), "the pod to be forgotten")

    def test_add_succeeds_again_once_the_agent_is_back(self, world, node):
        node.agent.kill()
        pod = world.make_pod("client")
        with pytest.raises(CniError):
            pod.cni_add()
        node.agent.start()
        pod.cni_add()
        assert pods(node) == {"client"}


class TestDel:
    def test_del_takes_the_pod_out(self, world, node):
        pod = world.add("client")
        pod.cni_delete()
        wait_for(lambda: not node.agent.ctl("pods"), "the pod to leave")

    def test_del_is_idempotent_and_needs_no_earlier_add(self, world, node):
        pod = world.make_pod("client")
        pod.cni_delete()
        pod.cni_add()
        pod.cni_delete()
        pod.cni_delete()

    def test_del_works_with_an_empty_netns(self, world, node):
        pod = world.add("client")
        pod.netns.delete()
        call("culvert-cni", "DEL", own_config(node), env={"CNI_CONTAINERID": pod.container_id, "CNI_NETNS": "", "CNI_IFNAME": "eth0"})
        wait_for(lambda: not node.agent.ctl("pods"), "the pod to leave")

    def test_del_works_without_agent_netns_and_earlier_add(self, world, node):
        node.agent.kill()
        call("culvert-cni", "DEL", own_config(node), env={"CNI_CONTAINERID": "never-added", "CNI_NETNS": "/run/netns/nowhere", "CNI_IFNAME": "eth0"})


class TestCheck:
    def test_check_passes_for_a_joined_pod(self, world, node):
        world.add("client").cni_check()

    def test_check_fails_when_the_pod_left(self, world, node):
        pod = world.add("client")
        node.agent.ctl("leave", pod.container_id)
        wait_for(lambda: not node.agent.ctl("pods"), "the pod to leave")
        with pytest.raises(CniError):
            pod.cni_check()


class TestGcAndStatus:
    def test_gc_removes_what_the_runtime_no_longer_knows(self, world, node):
        world.declare("second", "a", namespace="shop")
        node.agent.reload()
        world.add("client")
        second = world.add("second")
        valid = [{"containerID": second.container_id, "ifname": "eth0"}]
        call("culvert-cni", "GC", own_config(node, "1.1.0", **{"cni.dev/valid-attachments": valid}), env={"CNI_PATH": "/usr/lib/cni"})
        wait_for(lambda: pods(node) == {"second"}, "the first pod to go")

    def test_status_says_whether_pods_can_be_added(self, world, node):
        call("culvert-cni", "STATUS", own_config(node, "1.1.0"), env={"CNI_PATH": "/usr/lib/cni"})
        node.agent.kill()
        with pytest.raises(CniError) as caught:
            call("culvert-cni", "STATUS", own_config(node, "1.1.0"), env={"CNI_PATH": "/usr/lib/cni"})
        assert caught.value.code in (50, 51)


def test_errors_have_the_specifications_form(world, node):
    with pytest.raises(CniError) as caught:
        call("culvert-cni", "ADD", own_config(node, "9.9.9"), env={"CNI_CONTAINERID": "x", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0"})
    assert caught.value.code == 1  # incompatible CNI version
    with pytest.raises(CniError) as caught:
        call("culvert-cni", "ADD", own_config(node), env={"CNI_CONTAINERID": "x", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0"})
    assert "prevResult" in str(caught.value)


def test_sixty_adds_and_dels_at_once(world, node):
    """Fault: 30 ADDs, then 30 more together with the DELs of the first, then those of the rest. Every one succeeds, and nothing stays behind."""
    count = 12 if run.SLOW else 60
    for index in range(count):
        world.declare(f"p{index}", "a", namespace="shop")
    node.agent.reload()
    made = [world.make_pod(f"p{index}") for index in range(count)]
    early, late = made[::2], made[1::2]
    with concurrent.futures.ThreadPoolExecutor(max_workers=count) as pool:
        list(pool.map(lambda pod: pod.cni_add(), early))
        assert pods(node) == {pod.name for pod in early}
        list(pool.map(lambda pod: pod.cni_delete() if pod in early else pod.cni_add(), made))
        wait_for(lambda: pods(node) == {pod.name for pod in late}, "the first pods to leave")
        for pod in late[:3]:
            pod.cni_check()
        list(pool.map(lambda pod: pod.cni_delete(), late))
    wait_for(lambda: not node.agent.ctl("pods"), "all pods to leave", 30)


def test_the_plugin_is_one_small_file_without_tls_libraries():
    path = run.binary("culvert-cni")
    listed = run.run(["sh", "-c", f"ldd {path} 2>&1 || true"]).stdout
    assert not any(name in listed for name in ("libssl", "libcrypto", "grpc", "libbpf")), listed


def test_the_time_that_the_plugin_adds(world, node, record_property):
    """Not a bar (bench/ has those): a plugin that takes a second is broken."""
    seconds = []
    for index in range(5):
        world.declare(f"t{index}", "a", namespace="shop")
    node.agent.reload()
    for index in range(5):
        world.add(f"t{index}")
        seconds.append(node.chains["mesh"].last_seconds["culvert-cni"])
    record_property("culvert_cni_add_seconds", json.dumps(seconds))
    assert statistics.median(seconds) < run.scaled(0.5)


def test_a_chained_pod_serves_at_once(world, node):
    """ADD returns only when hooks, maps and listeners are verified: the first connection is captured already."""
    world.declare("server", "b", namespace="shop")
    node.agent.reload()
    world.b.agent.start()
    server = world.add("server")
    programs.echo_server(server)
    capture = world.capture()
    client = world.add("client")
    started = time.monotonic()
    client.flowtool("latency", server.v4, 7002, "--count", 3)
    assert time.monotonic() - started < run.scaled(5)
    capture.stop()
    capture.assert_only_tunnels(client.v4)
