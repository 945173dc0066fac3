# SPDX-License-Identifier: Apache-2.0
"""What a running agent takes over from a changed configuration file, without a restart and without touching live connections."""

import contextlib
import os
import resource
import signal
import socket
import threading
import time

from culvert_harness import programs, scaled, wait_for

SECRET = b"clear-text-that-must-never-leave"


def connect(pod, host: str, port: int, timeout: float = 10) -> socket.socket:
    connection = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.settimeout(scaled(timeout))
    connection.connect((host, port))
    return connection


def test_tunnel_time_limits_follow_the_file(world):
    """A silent peer holds its place for the new limit, while a connection from before goes on; tunnels that become idle end by the new limit."""
    world.extra_config = {"tunnel": {"handshake": {"timeout": "2m"}, "pool": {"idle_timeout": "1h"}}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.declare("stranger", "a", namespace="outside")
    world.namespaces["outside"] = {"enrol": False}
    world.start_agents()
    client, server, stranger = world.add("client"), world.add("server"), world.add("stranger", chain="plain")
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as before:
        before.sendall(b"x")
        assert before.recv(1) == b"x"
        world.extra_config = {"tunnel": {"handshake": {"timeout": "1s"}, "pool": {"idle_timeout": "1s"}}}
        world.reload()
        with contextlib.closing(connect(stranger, server.v4, 15008)) as silent:
            silent.settimeout(scaled(10))
            with contextlib.suppress(ConnectionResetError):
                assert silent.recv(100)[:1] in (b"", b"\x15")
        before.sendall(b"y")
        assert before.recv(1) == b"y"
    wait_for(lambda: world.a.agent.metric("culvert_tunnels_open") == 0, "the idle tunnel to be closed by the new limit", 10)


def echoes(connection: socket.socket) -> bool:
    connection.sendall(SECRET)
    return connection.recv(len(SECRET), socket.MSG_WAITALL) == SECRET


@contextlib.contextmanager
def knocking(pod, host: str):
    """A new connection after the other, each of which says SECRET. Whether one works is not its business."""
    is_over = threading.Event()

    def knock() -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError), contextlib.closing(connect(pod, host, 7002, 1)) as one:
                echoes(one)

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def few_descriptors(pid: int, more: int):
    """The process gets so many descriptors beside those that it has, and then none."""
    used = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    end = [number for number in range(len(used) + more + 1) if number not in used][more]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (end, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def listed(pod) -> dict:
    return {"id": pod.container_id, "netns": pod.netns.path, "name": pod.name, "namespace": "shop", "service_account": pod.name,
            "addresses": [pod.v4, pod.v6]}


def joined(node) -> dict[str, str]:
    return {pod["name"]: pod["state"] for pod in node.agent.ctl("pods")}


class TestPodsOfTheFile:
    """Pods that `pods:` lists, wired by a chain without culvert-cni."""

    def start(self, world):
        for name, node in (("client", "a"), ("second", "a"), ("server", "b")):
            world.declare(name, node, namespace="shop")
        world.b.agent.start()
        client, second = world.add("client", chain="plain"), world.add("second", chain="plain")
        world.a.agent.extra_config = {"pods": [listed(client), listed(second)], "drain": {"pod_leave_timeout": "2m"}}
        world.a.agent.start()
        server = world.add("server")
        programs.echo_server(server)
        wait_for(lambda: joined(world.a) == {"client": "joined", "second": "joined"}, "both pods of the file")
        return client, second, server

    def test_one_that_is_listed_no_longer_leaves_and_its_live_connection_goes_on(self, world):
        client, second, server = self.start(world)
        with contextlib.closing(connect(client, server.v4, 7002)) as live:
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            world.a.agent.extra_config["pods"] = [listed(second)]
            world.a.agent.reload()
            wait_for(lambda: joined(world.a)["client"] == "leaving", "the pod to leave")
            live.sendall(b"y")
            assert live.recv(1) == b"y"
        wait_for(lambda: joined(world.a) == {"second": "joined"}, "the pod to have left with its last connection")

    def test_one_that_was_taken_off_while_no_agent_ran_leaves_at_the_start(self, world):
        client, second, _ = self.start(world)
        world.a.agent.kill()
        world.a.agent.extra_config["pods"] = [listed(second)]
        world.a.agent.start()
        wait_for(lambda: joined(world.a) == {"second": "joined"}, "the pod that is listed no longer to be gone")

    def test_one_whose_entry_changes_joins_again_as_it_is_listed_now(self, world):
        client, second, server = self.start(world)
        world.workloads["client"].service_account = "other"
        changed = listed(client) | {"service_account": "other", "exclude_ports": {"outbound": [7002]}}
        world.a.agent.extra_config["pods"] = [changed, listed(second)]
        world.a.agent.reload()
        wait_for(lambda: any(pod["identity"].endswith("/sa/other") for pod in world.a.agent.ctl("pods")), "the new identity")
        with contextlib.closing(connect(client, server.v4, 7002)) as plain:
            plain.sendall(b"x")
            assert plain.recv(1) == b"x"
            assert not world.a.agent.ctl("connections"), "port 7002 is excluded now"

    def test_one_whose_account_changes_is_captured_throughout(self, world):
        client, second, server = self.start(world)
        capture = world.capture()
        with knocking(client, server.v4), contextlib.closing(connect(client, server.v4, 7002)) as live:
            assert echoes(live)
            for account in ("other", "another", "client"):
                world.a.agent.extra_config["pods"] = [listed(client) | {"service_account": account}, listed(second)]
                world.workloads["client"].service_account = account
                world.a.agent.reload()
                wait_for(lambda a=account: any(pod["identity"].endswith(f"/sa/{a}") for pod in world.a.agent.ctl("pods")), "the new identity")
            with contextlib.suppress(OSError):
                assert not echoes(live), "a connection of the old account goes on"
        with contextlib.closing(connect(client, server.v4, 7002)) as fresh:
            assert echoes(fresh)
        capture.stop()
        assert not capture.contains(SECRET)
        capture.assert_only_tunnels(client.v4)

    def test_one_whose_new_entry_is_wrong_stays_in_the_mesh_as_it_was(self, world):
        """Fault: another account, and an address that the pod does not have."""
        client, second, server = self.start(world)
        capture = world.capture()
        with contextlib.closing(connect(client, server.v4, 7002)) as live:
            assert echoes(live)
            wrong = listed(client) | {"service_account": "other", "addresses": ["10.1.0.99"]}
            world.a.agent.extra_config["pods"] = [wrong, listed(second)]
            with knocking(client, server.v4):
                world.a.agent.reload()
                wait_for(lambda: "none of the pod's addresses (10.1.0.99)" in world.a.agent.log(), "the entry to be refused")
                with contextlib.closing(connect(client, server.v4, 7002)) as fresh:
                    assert echoes(fresh)
                time.sleep(scaled(2.5))  # it has been tried again
            assert echoes(live)
        assert world.workloads["client"].identity in {pod["identity"] for pod in world.a.agent.ctl("pods") if pod["state"] == "joined"}
        capture.stop()
        assert not capture.contains(SECRET)
        capture.assert_only_tunnels(client.v4)

    def test_one_that_joins_anew_without_descriptors_is_captured_throughout(self, world):
        """Fault: they run out, each time at another step. Each time it is as it is listed once there are some."""
        client, second, server = self.start(world)
        agent, capture = world.a.agent, world.capture()
        v4_only = {"addresses": [client.v4]}
        for more, change in zip(range(1, 20, 2), (v4_only, {}, {"service_account": "other"}, v4_only | {"service_account": "another"}, {}) * 2, strict=True):
            entry = listed(client) | change
            world.workloads["client"].service_account = entry["service_account"]
            agent.extra_config["pods"] = [entry, listed(second)]
            agent.write_config()
            with knocking(client, server.v4):
                with few_descriptors(agent.pid, more):
                    agent.daemon.signal(signal.SIGHUP)
                    time.sleep(scaled(0.3))
                agent.reload()
                wait_for(lambda e=entry: any(pod["identity"].endswith("/" + e["service_account"]) and pod["addresses"] == e["addresses"]
                                             for pod in agent.ctl("pods") if pod["name"] == "client"), f"the pod as {change}", 20)
            with contextlib.closing(connect(client, server.v4, 7002)) as fresh:
                assert echoes(fresh)
        assert "Too many open files" in agent.log()
        capture.stop()
        assert not capture.contains(SECRET)
        capture.assert_only_tunnels(client.v4)

    def test_one_that_comes_back_while_it_leaves_is_captured_throughout(self, world):
        """Off the list and on it again while a connection lives. What is opened in between leaves as it is, as from any pod that has left."""
        client, second, server = self.start(world)
        with contextlib.closing(connect(client, server.v4, 7002)) as live:
            assert echoes(live)
            world.a.agent.extra_config["pods"] = [listed(second)]
            world.a.agent.reload()
            wait_for(lambda: joined(world.a)["client"] == "leaving", "the pod to leave")
            capture = world.capture()
            world.a.agent.extra_config["pods"] = [listed(client), listed(second)]
            world.a.agent.reload()
            wait_for(lambda: joined(world.a) == {"client": "joined", "second": "joined"}, "the pod to be back")
            with contextlib.suppress(OSError):
                echoes(live)
        with contextlib.closing(connect(client, server.v4, 7002)) as fresh:
            assert echoes(fresh)
        capture.stop()
        assert not capture.contains(SECRET)
        assert "has left the mesh" not in world.a.agent.log()

    def test_one_that_cannot_join_is_tried_again_and_forgotten_when_it_is_taken_off(self, world):
        client, second, _ = self.start(world)
        absent = listed(client) | {"id": "ghost", "name": "ghost", "netns": "/run/netns/there-is-none", "addresses": ["10.1.0.99"]}
        world.a.agent.extra_config["pods"] = [listed(client), listed(second), absent]
        world.a.agent.reload()
        wait_for(lambda: [p["state"] for p in world.a.agent.ctl("pods") if p["id"] == "ghost"] == ["failed"], "the failure to be shown")
        world.a.agent.extra_config["pods"] = [listed(client), listed(second)]
        world.a.agent.reload()
        wait_for(lambda: joined(world.a) == {"client": "joined", "second": "joined"}, "the failure to be forgotten")
