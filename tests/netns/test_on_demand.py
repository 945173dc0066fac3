# SPDX-License-Identifier: Apache-2.0
"""An agent that asks its control plane for workloads and services one by one, when a connection needs them: what waits for the answer, what the
answer does, and that nothing unknown leaves in plain text whatever the control plane does. The control plane is scripted."""

import contextlib
import errno
import socket
import threading
import time

import pytest
from culvert_harness import programs, proto, scaled, wait_for
from culvert_harness.collector import ERROR, PORT, UNSET, Collector
from culvert_harness.traffic import connect, echoes, refused, talks

UID = "Kubernetes//Pod/shop/"
WAIT_S = 5.0  # how long a connection waits
ABSENT_S = 10.0  # how long nobody's address stays so without another question


def make_village(plane, config: dict | None = None):
    """As `town`, but the agent of `client`, with this configuration, asks for what it needs; beside `server` there is `plain` on its node, outside the mesh."""
    world = plane.world
    world.a.agent.extra_config = config or {}
    world.a.agent.environment["XDS_ON_DEMAND"] = "true"
    plane.add(world.declare("client", "a", namespace="shop"), world.declare("server", "b", namespace="shop"))
    world.declare("plain", "b", namespace="elsewhere")
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("server"))
    programs.echo_server(world.add("plain", chain="plain"))
    wait_for(lambda: UID + "client" in world.a.agent.known(), "the pod of the own node, which comes unasked")
    return plane


@pytest.fixture
def village(plane):
    return make_village(plane)


def asked(plane, name: str | None = None, letter: str = "a") -> list[str]:
    """The names that the agent has asked for, one entry for each time; or how often it was this one."""
    names = [name for r in list(plane.requests) if r.node in ("", f"node-{letter}") and not r.is_first and not r.nonce for name in r.subscribe
             if name != "culvert/nobody"]
    return names if name is None else [one for one in names if one == name]


def sent(agent) -> set[str]:
    """What the control plane has said, without what the agent knows by itself."""
    return {uid for uid in agent.known() if uid.startswith(UID)}


def held(agent) -> float:
    return agent.metric("culvert_on_demand_held_total")


def test_a_workload_of_another_node_is_asked_for_once_and_reached_by_a_tunnel(village):
    world = village.world
    agent, client, server = world.a.agent, world.pods["client"], world.pods["server"]
    village.set(proto.workload("other", "shop", "node-b", ["10.2.0.99"]))
    assert sent(agent) == {UID + "client"} and agent.dump()["config"]["xdsOnDemand"] is True
    told = agent.ctl("explain", UID + "client", f"{server.v4}:7002")
    assert told["outcome"] == "undecided" and any(f"/{server.v4} is not known here yet" in step["text"] for step in told["steps"]), told
    assert asked(village) == [], "a person's question is none to the control plane"
    with contextlib.closing(connect(client, server.v4)) as connection:
        assert echoes(connection)
        [row] = [row for row in agent.ctl("connections") if row["state"] == "open"]
        assert row["transport"] == "direct" and row["destination"]["identity"].endswith("/sa/server"), row
    for _ in range(5):
        assert talks(client, server.v4)
    assert asked(village) == [f"/{server.v4}"] and held(agent) == 1
    assert sent(agent) == {UID + "client", UID + "server"}
    assert agent.ctl("explain", UID + "client", f"{server.v4}:7002")["outcome"] == "allowed"
    # Later news of it arrives by itself, and when it is removed its address is open again.
    village.set(proto.workload("server", "shop", "node-b", [server.v4, server.v6], canonical_name="renamed"))
    wait_for(lambda: any(w["canonicalName"] == "renamed" for w in agent.dump()["workloads"]), "the change")
    village.set(removed=[UID + "server"])
    wait_for(lambda: UID + "server" not in agent.known(), "the removal")
    assert talks(client, world.pods["plain"].v4)
    assert "undecided" == agent.ctl("explain", UID + "client", f"{server.v4}:7002")["outcome"]


def test_a_service_is_asked_for_by_its_virtual_address_and_its_changes_follow(village):
    world = village.world
    agent, client, server = world.a.agent, world.pods["client"], world.pods["server"]
    name = "shop/web.shop.svc.cluster.local"
    village.set(proto.service("web", "shop", "10.96.0.10", {80: 7002}),
                proto.workload("server", "shop", "node-b", [server.v4, server.v6], services={name: {80: 7002}}))
    assert talks(client, "10.96.0.10", 80)
    assert asked(village) == ["/10.96.0.10"]
    village.set(removed=[UID + "server"])
    wait_for(lambda: not talks(client, "10.96.0.10", 80), "the service to have no endpoint")
    village.set(proto.workload("server", "shop", "node-b", [server.v4, server.v6], services={name: {80: 7002}}))
    wait_for(lambda: talks(client, "10.96.0.10", 80), "its endpoint to come back unasked")
    assert asked(village) == ["/10.96.0.10"]


def test_nobodys_address_is_left_alone_for_a_while_and_then_asked_for_again(village):
    """Fault: istiod does not tell that a workload came to an address that was nobody's. The question is put again."""
    world = village.world
    agent, client, plain = world.a.agent, world.pods["client"], world.pods["plain"]
    began = time.monotonic()
    for _ in range(10):
        assert talks(client, plain.v4)
    assert asked(village, f"/{plain.v4}") == [f"/{plain.v4}"] and held(agent) == 1
    assert agent.metric("culvert_on_demand_names", state="absent") == 1
    # It joins the mesh. From then on nothing goes there in plain text once the first answer is too old.
    village.set(proto.workload("plain", "elsewhere", "node-b", [plain.v4]))
    wait_for(lambda: not talks(client, plain.v4), "a tunnel to be wanted, which the pod does not take", ABSENT_S + 5, interval=0.2)
    assert time.monotonic() - began < scaled(ABSENT_S + 5)
    assert asked(village, f"/{plain.v4}") == [f"/{plain.v4}"] * 2
    assert agent.metric("culvert_on_demand_names") == 0


def test_a_slow_answer_is_waited_for(village):
    world = village.world
    village.answers_names = 1.5
    began = time.monotonic()
    assert talks(world.pods["client"], world.pods["server"].v4, timeout=10)
    assert time.monotonic() - began >= 1.5
    assert len(asked(village)) == 1


def test_without_an_answer_a_connection_is_refused_and_nothing_leaves(village):
    """Fault: the control plane answers no question. Five seconds, then the end; not one SYN on the wire, and no question for each connection."""
    world = village.world
    client, server = world.pods["client"], world.pods["server"]
    village.answers_names = False
    wire = world.capture(expression=f"tcp and host {server.v4}")
    took: list[float] = []
    threads = [threading.Thread(target=lambda: took.append(refused(client, server.v4))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 8 and min(took) >= WAIT_S - 0.5 and max(took) < scaled(WAIT_S + 3), took
    assert list(wire.stop().segments()) == []
    assert len(asked(village)) == 1
    world.a.agent.access_log(f"the control plane has not said who /{server.v4} is")
    # An answer that comes too late serves the next one.
    with village.lock:
        [stream] = village._live("node-a")
        village._answer_names(stream, [f"/{server.v4}"])
    wait_for(lambda: UID + "server" in world.a.agent.known(), "the answer")
    assert talks(client, server.v4)


def test_an_answer_that_cannot_be_taken_is_none(village):
    """Fault: the workload comes as garbage. It is refused by name, its connections are refused in their time, and when it comes right they work."""
    world = village.world
    client, server = world.pods["client"], world.pods["server"]
    village.answers_names = False
    wire = world.capture(expression=f"tcp and host {server.v4}")
    took: list[float] = []
    thread = threading.Thread(target=lambda: took.append(refused(client, server.v4)))
    thread.start()
    wait_for(lambda: asked(village), "the question")
    said = proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS)
    village.resource(said, UID + "server", b"\xff\xff")
    said.resources[-1].aliases.append(f"/{server.v4}")
    nonce = village.send(said, node="node-a")
    answer = wait_for(lambda: village.of(nonce), "the NACK")
    assert answer.error.startswith(UID + "server: "), answer
    thread.join()
    assert took[0] >= WAIT_S - 0.5
    assert list(wire.stop().segments()) == []
    good = village.response(proto.ADDRESS, [UID + "server"])
    village.send(good, node="node-a")
    wait_for(lambda: UID + "server" in world.a.agent.known(), "the workload")
    assert talks(client, server.v4)


def test_a_stream_that_is_lost_while_a_connection_waits_is_asked_again(village):
    """Fault: the stream ends between question and answer. The next one is asked for what is open, with what is known, and the connection goes on."""
    world = village.world
    client, server = world.pods["client"], world.pods["server"]
    assert talks(client, world.pods["plain"].v4)
    village.answers_names = False
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(talks(client, server.v4, timeout=10)))
    thread.start()
    wait_for(lambda: asked(village, f"/{server.v4}"), "the question")
    village.answers_names = True
    village.end_streams()
    thread.join()
    assert done == [True]
    assert len(asked(village, f"/{server.v4}")) == 2
    first = village.firsts(proto.ADDRESS)[-1]
    assert first.initial.keys() == {UID + "client"} and first.subscribe[0] == "*" and first.unsubscribe == ["*"], first


def test_while_nobody_answers_what_is_known_stays_in_force(village):
    """Fault: the control plane is away for longer than nobody's address stays so. Workloads and nobody's addresses are as they were."""
    world = village.world
    client, server, plain = (world.pods[name] for name in ("client", "server", "plain"))
    assert talks(client, server.v4) and talks(client, plain.v4)
    village.stop()
    time.sleep(ABSENT_S + 2)
    assert talks(client, server.v4) and talks(client, plain.v4)
    assert refused(client, "10.2.0.98") >= WAIT_S - 0.5
    village.restart()
    wait_for(lambda: village.is_connected("a"), "the stream", 20)
    wait_for(lambda: talks(client, plain.v4) and talks(client, server.v4), "everything as before", 10)


def test_the_client_of_an_inbound_connection_is_asked_for_and_told_of(village):
    world = village.world
    world.b.agent.stop()
    world.b.agent.environment["XDS_ON_DEMAND"] = "true"
    world.b.agent.start()
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: UID + "server" in world.b.agent.known(), "the agent to be back")
    wait_for(lambda: talks(client, server.v4), "a connection", 10)
    assert asked(village, f"/{client.v4}", "b") == [f"/{client.v4}"]
    assert UID + "client" in world.b.agent.known()
    wait_for(lambda: world.b.agent.metric("istio_tcp_connections_closed_total", reporter="destination", source_workload="client") >= 1, "its name in the metrics")
    # A control plane that does not say who it is costs a moment, no connection.
    village.answers_names = False
    plain = world.pods["plain"]
    began = time.monotonic()
    assert talks(plain, server.v4)
    assert 0.9 <= time.monotonic() - began < scaled(WAIT_S)


def test_a_syn_that_waits_for_the_far_end_waits_for_the_answer_first(plane):
    """capture.answer_syn: after_connect with it, and spans: connect() itself waits, succeeds, or fails, and the spans say what came of it."""
    with Collector(plane.world) as collector:
        otlp = {"endpoint": f"http://127.0.0.1:{PORT}"}
        village = make_village(plane, {"capture": {"answer_syn": "after_connect"}, "tracing": {"otlp": otlp, "sampling": 100, "export_interval": "100ms"}})
        world = village.world
        agent, client, server = world.a.agent, world.pods["client"], world.pods["server"]
        village.answers_names = 0.5
        began = time.monotonic()
        with contextlib.closing(connect(client, server.v4)) as connection:
            assert time.monotonic() - began >= 0.5
            assert echoes(connection)
        with pytest.raises(ConnectionRefusedError):
            connect(client, server.v4, 7199)
        assert (agent.metric("culvert_syns_held_total"), agent.metric("culvert_syns_unheld_total"), held(agent)) == (2, 0, 1)
        village.answers_names = False
        began = time.monotonic()
        with pytest.raises(OSError) as failure:
            connect(client, "10.2.0.98")
        assert failure.value.errno in (errno.EHOSTUNREACH, errno.ECONNREFUSED)
        assert WAIT_S - 0.5 <= time.monotonic() - began < scaled(WAIT_S + 3)
        good, refused_one, unknown = sorted((span for span in collector.wait_for(3) if span.node == "node-a"), key=lambda span: span.start_ns)
        assert (good.status, refused_one.status, unknown.status) == (UNSET, ERROR, ERROR)
        assert good.attributes["destination.workload.name"] == refused_one.attributes["destination.workload.name"] == "server"
        assert good.end_ns - good.start_ns >= 0.5e9, "the wait for the answer is in the span"
        assert "the control plane has not said who /10.2.0.98 is" in unknown.message


def opened(pod, hosts: list[str], port: int = 7002) -> list[socket.socket]:
    """Connections that are on their way or have failed at once."""
    connections = []
    for host in hosts:
        connection = pod.netns.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        connection.setblocking(False)
        assert connection.connect_ex((host, port)) in (0, errno.EINPROGRESS)
        connections.append(connection)
    return connections


def test_a_thousand_connections_to_two_hundred_unknown_addresses_are_two_hundred_questions(village):
    world = village.world
    agent, client = world.a.agent, world.pods["client"]
    village.answers_names = 3.0
    hosts = [f"10.99.{i // 100}.{i % 100}" for i in range(200)] * 5
    connections = opened(client, hosts)
    wait_for(lambda: held(agent) == 1000, "all to wait")
    # Nobody has these, and nobody is there: each goes on by itself, before its patience ends.
    wait_for(lambda: "mesh" not in {row["state"] for row in agent.ctl("connections")}, "all to go on", 4.5)
    assert agent.metric("culvert_connections_closed_total", reason="no_route") == 0
    for connection in connections:
        connection.close()
    assert sorted(asked(village)) == sorted(f"/{host}" for host in set(hosts))
    requests = [r for r in village.requests if r.node in ("", "node-a") and r.subscribe and not r.is_first]
    assert len(requests) < 150, "many names go in one request"
    assert not any("has not said who" in line for line in agent.access_log_so_far())
    village.answers_names = True
    assert talks(client, world.pods["server"].v4)


def test_a_scan_of_twenty_thousand_addresses_has_a_bound(village):
    """Fault: one pod connects to 20,000 addresses. What is remembered of them has a limit, of names and of memory; others are served meanwhile."""
    world = village.world
    agent, client, server = world.a.agent, world.pods["client"], world.pods["server"]
    assert talks(client, server.v4)
    before = agent.rss_kib()
    # Somebody who answers with a reset: this is about names. Connections that wait for nobody use up descriptors, which have a test of their own.
    world.a.netns.run(["ip", "route", "add", "local", "10.100.0.0/14", "dev", "lo"])
    most = 0.0
    for i in range(100):
        for connection in opened(client, [f"10.{100 + i % 4}.{i}.{j}" for j in range(200)]):
            connection.close()
        if i % 10 == 0:
            most = max(most, agent.metric("culvert_on_demand_names"))
            assert talks(client, server.v4), "a known workload"
    most = max(most, agent.metric("culvert_on_demand_names"))
    assert 500 < most <= 8192, most
    assert agent.rss_kib() < before + (48 << 10), (before, agent.rss_kib())
    wait_for(lambda: agent.metric("culvert_on_demand_names") == 0, "all of it to be forgotten", 50, interval=0.5)
    assert talks(client, server.v4) and talks(client, world.pods["plain"].v4)


def test_what_a_control_plane_does_not_read_does_not_pile_up(village):
    """Fault: the stream lives, but nothing of it is read, while one pod connects to 16,000 addresses. So many of its connections wait as one pod may have, the others are
    refused at once; what is to be asked has a limit, and all is well when the control plane reads again."""
    world = village.world
    agent, client, server = world.a.agent, world.pods["client"], world.pods["server"]
    assert talks(client, server.v4)
    prefix = "fd00:1111:2222:3333:4444:5555"  # long names: flow control lets few of them through
    world.a.netns.run(["ip", "-6", "route", "add", "local", f"{prefix}::/96", "dev", "lo"])
    village.reads.clear()
    before = agent.rss_kib()
    for i in range(80):
        for connection in opened(client, [f"{prefix}:{0x1000 + i:x}:{0x1000 + j:x}" for j in range(200)]):
            connection.close()
    assert held(agent) > 1000 and agent.metric("culvert_connections_closed_total", reason="no_route") > 1000
    assert agent.metric("culvert_on_demand_names") <= 8192
    assert agent.rss_kib() < before + (48 << 10), (before, agent.rss_kib())
    assert talks(client, server.v4), "who is known is served"
    village.reads.set()
    wait_for(lambda: agent.metric("culvert_on_demand_names", state="asked") == 0, "every question to be answered", 20)
    assert talks(client, world.pods["plain"].v4)
