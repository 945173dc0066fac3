# SPDX-License-Identifier: Apache-2.0
"""The port on loopback that answers what ztunnel answers there: dumps of a live agent, its log level, and its end."""

import base64
import contextlib
import json
import re
import socket
import subprocess
import threading
import time

import pytest

from culvert_harness import programs, run, scaled, wait_for
from culvert_harness.agent import LOCAL_PORT, METRICS_PORT, READINESS_PORT


@pytest.fixture
def open_mesh(world):
    """As `mesh`, with the local port."""
    world.extra_config = {"admin": {"local_port": LOCAL_PORT}}
    world.start_with(client="a", server="b")
    return world


def connect(client, host: str, port: int) -> socket.socket:
    connection = client.netns.socket()
    connection.settimeout(scaled(10))
    connection.connect((host, port))
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return connection


def curl(node, url: str, *options: str) -> subprocess.CompletedProcess:
    return node.netns.run(["curl", "-sS", "-g", "--max-time", str(scaled(30)), "-o", "-", "-w", "\n%{http_code}", *options, url], timeout=40)


def many_workloads(count: int) -> dict:
    return {"workloads": [{"name": f"workload-{i}", "namespace": "shop", "service_account": "many", "node": f"node-{i % 500}",
                           "addresses": [f"10.{100 + i // 62500}.{i // 250 % 250}.{i % 250}"]} for i in range(count)]}


@pytest.fixture
def large(world):
    """One agent that knows 20,000 workloads."""
    world.extra_config = {"admin": {"local_port": LOCAL_PORT}, "mesh": many_workloads(20_000)}
    world.a.agent.start(wait=False)
    world.a.agent.wait_ready(180)
    return world.a


def test_a_dump_shows_the_mesh_the_certificates_and_the_live_connections(open_mesh):
    client, server = open_mesh.pods["client"], open_mesh.pods["server"]
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as live:
        here = live.getsockname()
        here = f"{here[0]}:{here[1]}"
        for host in ("localhost", "127.0.0.1", "[::1]"):
            answer = curl(open_mesh.a, f"http://{host}:{LOCAL_PORT}/config_dump").stdout.rpartition("\n")
            assert answer[2] == "200", host
            dump = json.loads(answer[0])
        assert answer[0].startswith('{\n  "workloads": [\n    {\n'), "two spaces for each level"

        workloads = {row["name"]: row for row in dump["workloads"]}
        assert {"client", "server"} <= workloads.keys()
        assert workloads["server"]["workloadIps"] == [server.v4, server.v6]
        assert workloads["server"]["protocol"] == "HBONE"

        [mine] = [row for row in dump["certificates"] if row["identity"].endswith("/sa/client")]
        assert mine["state"] == "Available"
        pem = base64.b64decode(mine["certChain"][0]["pem"]).decode()
        shown = subprocess.run(["openssl", "x509", "-noout", "-serial", "-dates", "-dateopt", "iso_8601", "-ext", "subjectAltName"], input=pem,
                               capture_output=True, text=True, check=True).stdout
        assert int(re.search(r"serial=(\w+)", shown)[1], 16) == int(mine["certChain"][0]["serialNumber"])
        assert re.search(r"notBefore=(.*)", shown)[1].replace(" ", "T") == mine["certChain"][0]["validFrom"]
        assert re.search(r"notAfter=(.*)", shown)[1].replace(" ", "T") == mine["certChain"][0]["expirationTime"]
        assert mine["identity"] in shown
        assert mine["rootCerts"], "the mesh's root"
        everything = answer[0] + "".join(base64.b64decode(one["pem"]).decode() for row in dump["certificates"]
                                         for one in row["certChain"] + row["rootCerts"])
        assert "PRIVATE" not in everything

        [pod] = [row for row in dump["workloadState"].values() if row["info"]["name"] == "client"]
        assert pod["state"] == "Up"
        assert pod["info"] == {"name": "client", "namespace": "shop", "trustDomain": "cluster.local", "serviceAccount": "client"}
        assert pod["connections"]["outbound"] == [{"src": here, "originalDst": f"{server.v4}:7002", "actualDst": f"{server.v4}:15008",
                                                   "protocol": "HBONE", "tunnel": "direct"}]
        [pod] = [row for row in open_mesh.b.agent.dump()["workloadState"].values() if row["info"]["name"] == "server"]
        assert pod["connections"]["inbound"] == [{"src": here, "originalDst": None, "actualDst": f"{server.v4}:7002",
                                                  "protocol": "HBONE", "tunnel": "direct"}]
    wait_for(lambda: not any(row["connections"]["outbound"] for row in open_mesh.a.agent.dump()["workloadState"].values()),
             "the connection to be gone from the dump")


def test_the_port_is_loopbacks_and_without_a_cluster_it_is_off(mesh):
    assert LOCAL_PORT not in mesh.a.netns.listeners()
    dump = json.loads(run.run(mesh.a.agent.ctl_command("config-dump")).stdout)
    assert {"client", "server"} <= {row["name"] for row in dump["workloads"]}, "culvertctl needs no port"
    mesh.a.agent.stop()
    mesh.a.agent.extra_config = {"admin": {"local_port": LOCAL_PORT}}
    mesh.a.agent.start()
    assert mesh.a.agent.local("/")[0] == 200
    with contextlib.closing(mesh.b.netns.socket()) as other:
        other.settimeout(scaled(5))
        with pytest.raises(ConnectionRefusedError):
            other.connect((mesh.a.v4, LOCAL_PORT))


def test_a_browser_is_refused(open_mesh):
    for options in (["-H", "Host: evil.example"], ["-H", "Origin: http://evil.example"]):
        for path in ("config_dump", "quitquitquit"):
            assert curl(open_mesh.a, f"http://localhost:{LOCAL_PORT}/{path}", "-X", "POST", *options).stdout.endswith("\n403")
    assert open_mesh.a.agent.is_running()
    assert open_mesh.a.agent.is_ready()


def test_the_log_level_is_changed_by_scope_and_reset(open_mesh):
    client, server = open_mesh.pods["client"], open_mesh.pods["server"]
    programs.echo_server(server)
    agent = open_mesh.a.agent
    assert agent.local("/logging", method="POST") == (200, "current log level is debug\n")
    assert agent.local("/logging?level=access=off", method="POST") == (200, "current log level is debug,access=off\n")
    before = len(agent.access_log_so_far())
    connect(client, server.v4, 7002).close()
    wait_for(lambda: not agent.ctl("connections"), "the connection to end")
    assert agent.local("/logging?level=info&reset", method="POST") == (200, "current log level is info\n")
    connect(client, server.v4, 7002).close()
    assert len(agent.access_log(count=before + 1)) == before + 1


def test_quitquitquit_drains_and_the_agent_ends_well(open_mesh):
    client, server = open_mesh.pods["client"], open_mesh.pods["server"]
    programs.echo_server(server)
    with contextlib.closing(connect(client, server.v4, 7002)) as live:
        assert open_mesh.a.agent.local("/quitquitquit")[0] == 405
        assert open_mesh.a.agent.local("/quitquitquit", method="POST") == (200, "shutdown now\n")
        wait_for(lambda: not open_mesh.a.agent.is_reachable(LOCAL_PORT), "the port to be closed")
        assert open_mesh.a.agent.is_running()
        live.sendall(b"y")
        assert live.recv(1) == b"y"
    assert open_mesh.a.agent.daemon.wait(30) == 0
    assert "drained" in open_mesh.a.agent.log()


def test_a_port_that_is_taken_is_noted_and_traffic_goes_on(world):
    world.extra_config = {"admin": {"local_port": LOCAL_PORT}}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    with contextlib.closing(world.a.netns.socket()) as squatter:
        squatter.bind(("127.0.0.1", LOCAL_PORT))
        squatter.listen()
        world.start_agents()
        notes = world.a.agent.ctl("status")["notes"]
        assert any(f"127.0.0.1:{LOCAL_PORT}" in note and "admin.local_port" in note for note in notes), notes
        assert world.a.agent.is_ready(), "nothing depends on this port"
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        connect(client, server.v4, 7002).close()
    wait_for(lambda: world.a.agent.is_reachable(LOCAL_PORT), "the port to be taken when it is free")
    assert len(world.a.agent.dump()["workloads"]) == 2


def squat(stack, node, port: int) -> socket.socket:
    squatter = stack.enter_context(contextlib.closing(node.netns.socket()))
    squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    squatter.bind(("0.0.0.0", port))
    squatter.listen()
    return squatter


def test_metrics_and_readiness_ports_that_are_taken_are_waited_for_while_pods_are_served(world):
    """As beside an agent that drains: pods join and are served, the agent says that it is not ready, and is when the ports are free."""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    agent = world.a.agent
    world.b.agent.start()
    with contextlib.ExitStack() as stack:
        metrics, readiness = squat(stack, world.a, METRICS_PORT), squat(stack, world.a, READINESS_PORT)
        agent.start(wait=False)
        wait_for(lambda: agent.log().count("waits for its port") == 2, "both ports to be waited for")
        wait_for(lambda: (agent.run_dir / "admin.sock").exists(), "the agent to serve")
        client, server = world.add("client"), world.add("server")
        programs.echo_server(server)
        connect(client, server.v4, 7002).close()
        assert "serves pods, and waits for ports" in agent.log()
        assert agent.ctl("status")["pending"] == ["metrics listener", "readiness listener"]
        readiness.close()
        wait_for(lambda: agent.is_reachable(READINESS_PORT), "the readiness port to be served")
        assert agent.http(READINESS_PORT, "/healthz/ready") == (500, "not ready, pending: metrics listener\n")
        metrics.close()
        agent.wait_ready()
    assert agent.metric("istio_tcp_connections_opened_total") >= 1
    for name in ("metrics", "readiness"):
        assert agent.log().count(f"the {name} listener waits for its port") == agent.log().count(f"the {name} listener has its port now") == 1


def test_others_are_answered_while_large_dumps_go_out(large):
    """Median of the answers of another port during dumps of 20,000 workloads, one after the other."""
    sizes, stop = [], threading.Event()

    def dump_on_and_on() -> None:
        while not stop.is_set():
            sizes.append(len(large.agent.local("/config_dump", timeout=60)[1]))

    reader = threading.Thread(target=dump_on_and_on)
    reader.start()
    took = []
    try:
        deadline = time.monotonic() + scaled(60)
        while len(sizes) < 3 and time.monotonic() < deadline:
            began = time.monotonic()
            assert large.agent.http(READINESS_PORT, "/healthz/ready")[0] == 200
            took.append(time.monotonic() - began)
    finally:
        stop.set()
        reader.join()
    assert len(sizes) >= 3 and min(sizes) > 20_000 * 300
    assert sorted(took)[len(took) // 2] < scaled(0.1), sorted(took)[-10:]


def test_a_reader_that_stops_costs_little_and_one_dump_goes_out_at_a_time(large):
    agent = large.agent
    assert len(agent.dump()["workloads"]) == 20_000
    before = agent.rss_kib()
    with contextlib.closing(large.netns.socket()) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.settimeout(scaled(30))
        stuck.connect(("127.0.0.1", LOCAL_PORT))
        stuck.sendall(b"GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stuck.recv(12) == b"HTTP/1.1 200"
        status, text = agent.local("/config_dump")
        assert status == 503 and "another dump" in text
        assert agent.is_ready()
        assert agent.rss_kib() - before < 4096, "a piece of the dump, not the dump"
    wait_for(lambda: agent.local("/config_dump")[0] == 200, "the place of the reader that went away")
