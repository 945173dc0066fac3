# SPDX-License-Identifier: Apache-2.0
"""Spans of connections: what is in them, which trace they belong to, and what a collector that is away, slow or unwilling does to them and to traffic."""

import contextlib
import ipaddress
import pathlib
import socket
import time

import pytest
from cryptography import x509
from google.protobuf import any_pb2, duration_pb2

from culvert_harness import programs, run, scaled, wait_for
from culvert_harness.collector import CLIENT, ERROR, PORT, SERVER, UNSET, Collector, Refusal, grpc, messages
from culvert_harness.scripted_ca import Issuer
from culvert_harness.traffic import refused

ECHO, CLOSED = 7002, 7999
TRACING = {"otlp": {"endpoint": f"http://127.0.0.1:{PORT}", "timeout": "2s"}, "sampling": 100, "export_interval": "100ms"}


@pytest.fixture
def collector(world):
    with Collector(world) as made:
        yield made


def start(world, *, offer: str = "hbone", **tracing) -> None:
    """Both agents with these keys of `tracing`; a client and an echo server."""
    world.tunnel = {"offer": [offer]}
    world.extra_config = world.extra_config | {"tracing": TRACING | tracing}
    world.start_with(client="a", server="b")
    programs.echo_server(world.pods["server"])


def connect(world, port: int = ECHO) -> socket.socket:
    connection = world.pods["client"].netns.socket()
    connection.settimeout(scaled(10))
    connection.connect((world.pods["server"].v4, port))
    return connection


def exchange(world, text: bytes = b"hello") -> None:
    """One whole connection: `text` there and back."""
    with contextlib.closing(connect(world)) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while more := connection.recv(65536):
            received += more
        assert received == text


def sample(agent, percentage: int) -> None:
    """The running agent takes it over."""
    agent.extra_config = {"tracing": {"sampling": percentage}}
    taken = agent.log().count("configuration in force")
    agent.reload()
    wait_for(lambda: agent.log().count("configuration in force") > taken, "the new share to be in force")


def after(*refusals: Refusal):
    """A collector's answers: these, then yes."""
    left = list(refusals)

    def answer(_request):
        if left:
            raise left.pop(0)
        return messages().Response()
    return answer


def fail(world) -> None:
    """One that the application's host refuses."""
    refused(world.pods["client"], world.pods["server"].v4, CLOSED)


@pytest.mark.parametrize("offer", ["hbone", "direct"])
def test_the_spans_of_both_agents_are_one_trace(world, collector, offer):
    start(world, offer=offer)
    before = time.time_ns()
    exchange(world, b"x" * 5000)
    collector.wait_for(2)
    after = time.time_ns()
    [(client, server)] = collector.traces().values()
    assert (client.kind, client.node, client.parent) == (CLIENT, "node-a", "")
    assert (server.kind, server.node, server.parent) == (SERVER, "node-b", client.id)
    assert client.flags & 0xff == server.flags & 0xff == 1, "sampled"
    assert (client.flags & 0x300, server.flags & 0x300) == (0x100, 0x300), "whether the parent was remote"
    pods = world.pods
    for span in (client, server):
        assert before - 10**6 <= span.start_ns <= span.end_ns <= after
        assert (span.status, span.message) == (UNSET, "")
        a = span.attributes
        assert (a["client.address"], a["source.address"]) == (pods["client"].v4, pods["client"].v4)
        assert a["client.port"] == a["source.port"] > 1023
        assert (a["server.address"], a["server.port"]) == (pods["server"].v4, ECHO)
        assert (a["destination.address"], a["destination.port"]) == (pods["server"].v4, ECHO)
        assert (a["network.transport"], a["network.type"], a["connection.mtls"], a["culvert.tunnel"]) == ("tcp", "ipv4", True, offer)
        assert (a["source.principal"], a["destination.principal"]) == (world.workloads["client"].identity, world.workloads["server"].identity)
        assert (a["source.workload.name"], a["source.workload.namespace"]) == ("client", "shop")
        assert (a["destination.workload.name"], a["destination.workload.namespace"]) == ("server", "shop")
        assert a["connection.sent.bytes"] == a["connection.received.bytes"] == 5000
        assert (a["response_flags"], a["culvert.close_reason"]) == ("-", "completed")
        assert (a["tls.protocol.version"], a["tls.cipher"][:4]) == ("1.3", "TLS_")
        assert "error.type" not in a
        assert (span.resource["service.name"], span.resource["k8s.cluster.name"]) == ("culvertd", "Kubernetes")
    assert (client.attributes["network.peer.address"], client.attributes["network.peer.port"]) == (pods["server"].v4, 15008)
    assert server.attributes["network.peer.address"] == pods["client"].v4
    for letter in "ab":
        wait_for(lambda at=world.nodes[letter].agent: at.metric("culvert_spans_exported_total") == 1, "the collector's answer")
        assert world.nodes[letter].agent.metric("culvert_spans_dropped_total") == 0


@pytest.mark.parametrize("offer", ["hbone", "direct"])
def test_a_connection_that_failed_is_an_error_at_both_agents(world, collector, offer):
    start(world, offer=offer)
    fail(world)
    collector.wait_for(2)
    [(client, server)] = collector.traces().values()
    assert (client.status, server.status) == (ERROR, ERROR)
    assert server.attributes["error.type"] == server.attributes["culvert.close_reason"] == "upstream_refused"
    assert server.attributes["response_flags"] == client.attributes["response_flags"] == "CONNECT"
    assert server.message.startswith("connection failed: refused by the application")
    assert client.message


def test_the_agent_where_a_connection_begins_decides(world, collector):
    """And a running agent takes another share over from its file."""
    start(world)
    sample(world.a.agent, 0)
    for _ in range(5):
        exchange(world)
    sample(world.a.agent, 100)
    exchange(world)
    collector.wait_for(2)
    [(client, server)] = collector.traces().values()
    assert (client.kind, server.kind) == (CLIENT, SERVER)


@pytest.mark.parametrize("offer", ["hbone", "direct"])
def test_an_agent_may_decide_by_itself(world, collector, offer):
    start(world, offer=offer, follow_parent=False)
    sample(world.a.agent, 0)
    exchange(world)
    [server] = collector.wait_for(1)
    assert (server.kind, server.node, len(server.parent)) == (SERVER, "node-b", 16), "the parent is told though nobody recorded it"


def test_a_share_is_about_that_many_and_both_agents_choose_the_same(world, collector):
    start(world, sampling=30, follow_parent=False)
    total = 200
    for _ in range(total):
        exchange(world)
    wait_for(lambda: len(collector.taken) > 0 and time.monotonic() - collector.calls[-1][0] > scaled(1), "no more spans to come")
    traces = collector.traces()
    assert 0.15 * total < len(traces) < 0.45 * total  # 30 %, five times its standard deviation away
    assert all([span.kind for span in spans] == [CLIENT, SERVER] for spans in traces.values())


def test_a_client_outside_the_mesh_begins_a_trace_at_the_server(world, collector):
    start(world)
    world.declare("outside", "a", namespace="shop")
    world.reload()
    outside = world.add("outside", chain="plain")
    with contextlib.closing(outside.netns.socket()) as connection:
        connection.settimeout(scaled(10))
        connection.connect((world.pods["server"].v4, ECHO))
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
    [span] = collector.wait_for(1)
    assert (span.kind, span.parent, span.attributes["connection.mtls"], span.attributes["culvert.tunnel"]) == (SERVER, "", False, "tcp")
    assert "tls.cipher" not in span.attributes and "source.principal" not in span.attributes


# What a collector does.
def settle(world, letter: str = "a") -> None:
    """Every span of this agent has found its fate."""
    agent = world.nodes[letter].agent
    wait_for(lambda: agent.metric("culvert_spans_queued") == 0, "an empty queue")


def test_a_collector_that_was_away_gets_the_spans_when_it_is_back(world, collector):
    for wire in collector.wires.values():
        wire.refuse()
    start(world)
    for _ in range(3):
        exchange(world)
    for letter in "ab":
        wait_for(lambda at=world.nodes[letter].agent: at.metric("culvert_span_export_failures_total") >= 1, "a call that failed")
    for _ in range(2):
        exchange(world)
    for wire in collector.wires.values():
        wire.accept()
    collector.wait_for(10, 40)
    assert len(collector.traces()) == 5
    for letter in "ab":
        agent = world.nodes[letter].agent
        assert agent.metric("culvert_spans_dropped_total") == 0
        assert "spans are not taken by http://127.0.0.1:4317" in agent.log()
        assert "again" in agent.log()


def test_a_collector_that_hangs_is_given_up_and_asked_again(world, collector):
    start(world)
    collector.wires["a"].hold()
    exchange(world)
    agent = world.a.agent
    wait_for(lambda: agent.metric("culvert_span_export_failures_total") >= 1, "a call that took too long", 20)
    for _ in range(20):
        exchange(world)  # as if nothing were
    collector.wires["a"].cut()
    collector.wires["a"].release()
    wait_for(lambda: len({span.id for span in collector.taken if span.node == "node-a"}) == 21, "every span of node a", 40)
    assert agent.metric("culvert_spans_dropped_total") == 0


@pytest.mark.parametrize("code", ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"])
def test_what_may_work_later_is_sent_again(world, collector, code):
    collector.wires["b"].refuse()
    collector.answer = after(Refusal(grpc.StatusCode[code]), Refusal(grpc.StatusCode[code]))
    start(world)
    exchange(world)
    collector.wait_for(1)
    assert len(collector.calls) == 3
    assert len({spans[0].id for _, spans, _ in collector.calls}) == 1
    first, second, third = (at for at, _, _ in collector.calls)
    assert second - first >= 0.45 and third - second >= 0.9, "half of 1 s at least, then of 2 s"
    agent = world.a.agent
    wait_for(lambda: agent.metric("culvert_spans_exported_total") == 1, "the collector's answer")
    assert agent.metric("culvert_span_export_failures_total") == 2


@pytest.mark.parametrize("code", ["UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION",
                                  "UNIMPLEMENTED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_what_will_never_work_is_lost_and_counted(world, collector, code):
    def answer(_request):
        raise Refusal(grpc.StatusCode[code], "no, never")

    collector.wires["b"].refuse()
    collector.answer = answer
    start(world)
    exchange(world)
    agent = world.a.agent
    wait_for(lambda: agent.metric("culvert_spans_dropped_total", reason="rejected") == 1, "a lost span")
    collector.answer = None
    exchange(world)
    collector.wait_for(1)
    assert len(collector.calls) == 2
    assert collector.calls[0][1][0].id != collector.taken[0].id
    assert "no, never" in agent.log()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_an_answer_of_any_size_costs_no_memory(world, collector, compression):
    """Fault: what the collector says is 100 MiB, as it is or in 100 KiB of gzip. It is not read to its end, and the spans count as lost."""
    collector.wires["b"].refuse()
    start(world)
    exchange(world)
    collector.wait_for(1)
    agent = world.a.agent
    before = agent.rss_kib()
    words = messages().Partial(error_message="x" * (100 << 20))
    collector.compression = compression
    collector.answer = lambda _request: messages().Response(partial_success=words)
    failures = agent.metric("culvert_span_export_failures_total")
    most = 0
    exchange(world)

    def failed() -> bool:
        nonlocal most
        most = max(most, agent.rss_kib())
        return agent.metric("culvert_span_export_failures_total") > failures
    wait_for(failed, "the answer to be refused", 30)
    assert most < before + (16 << 10), (before, most)
    collector.answer, collector.compression = None, grpc.Compression.NoCompression
    exported = agent.metric("culvert_spans_exported_total")
    exchange(world)
    wait_for(lambda: agent.metric("culvert_spans_exported_total") == exported + 1, "the next span to be taken")


def retry_after(seconds: int) -> bytes:
    """google.rpc.Status with RetryInfo."""
    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value
    info = field(1, duration_pb2.Duration(seconds=seconds).SerializeToString())
    detail = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info)
    return bytes([1 << 3, 8]) + field(3, detail.SerializeToString())


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_a_collector_may_say_when_it_can_take_more(world, collector, code):
    collector.wires["b"].refuse()
    collector.answer = after(Refusal(grpc.StatusCode[code], "slower", retry_after(4)))
    start(world)
    exchange(world)
    collector.wait_for(1)
    assert collector.calls[1][0] - collector.calls[0][0] >= 3.9


def test_a_collector_that_takes_a_part_is_not_asked_again(world, collector):
    collector.wires["b"].refuse()
    collector.answer = lambda _request: messages().Response(partial_success=messages().Partial(rejected_spans=1, error_message="too long"))
    start(world, export_interval="2s")
    for _ in range(3):
        exchange(world)
    agent = world.a.agent
    wait_for(lambda: agent.metric("culvert_spans_exported_total") + agent.metric("culvert_spans_dropped_total") == 3, "three spans to be settled")
    assert agent.metric("culvert_spans_dropped_total", reason="rejected") == len(collector.calls)
    assert "too long" in agent.log()


def test_a_slow_collector_costs_spans_and_no_traffic(world, collector):
    """The queue has a limit, and what is beyond it is counted to the last one."""
    collector.wires["b"].refuse()

    def answer(_request):
        time.sleep(1)
        return messages().Response()

    collector.answer = answer
    start(world, max_queued_spans=4)
    total = 60
    for _ in range(total):
        exchange(world)
    settle(world)
    agent = world.a.agent
    wait_for(lambda: agent.metric("culvert_spans_exported_total") + agent.metric("culvert_spans_dropped_total") == total, "every span to be settled")
    assert agent.metric("culvert_spans_dropped_total", reason="queue_full") >= 1
    assert agent.metric("culvert_spans_exported_total") == len(collector.taken)
    assert agent.metric("istio_tcp_connections_closed_total", reporter="source", response_flags="-") == total


def test_a_burst_does_not_wait_for_the_interval(world, collector):
    collector.wires["b"].refuse()
    start(world, export_interval="1m")
    for _ in range(512):
        exchange(world)
    collector.wait_for(512, 10)
    assert len(collector.calls) == 1


# The end.
def test_what_waits_is_sent_when_the_agent_ends(world, collector):
    start(world, export_interval="1m")
    exchange(world)
    live = connect(world)
    live.sendall(b"x")
    assert live.recv(1) == b"x"
    assert not collector.taken
    world.a.agent.extra_config = {"drain": {"timeout": "1s"}}
    world.a.agent.reload()
    assert world.a.agent.stop() == 0
    live.close()
    reasons = sorted(span.attributes["culvert.close_reason"] for span in collector.wait_for(2))
    assert reasons == ["completed", "drained"]


@pytest.mark.parametrize("how", ["refuse", "hold"])
def test_a_dead_collector_does_not_hold_up_the_end(world, collector, how):
    start(world, export_interval="1m")
    exchange(world)
    getattr(collector.wires["a"], how)()
    began = time.monotonic()
    assert world.a.agent.stop() == 0
    assert time.monotonic() - began < scaled(4)


# How it is told where the collector is.
def test_the_environment_of_opentelemetry_and_tls(world):
    trust = Issuer("collector")
    roots = world.directory / "collector-roots.pem"
    roots.write_text(trust.pem)
    credentials = grpc.ssl_server_credentials([trust.server_credentials([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])])
    for node in world.nodes.values():
        node.agent.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{PORT}", "OTEL_EXPORTER_OTLP_CERTIFICATE": str(roots),
            "OTEL_EXPORTER_OTLP_HEADERS": "X-Tenant=shop%20one", "OTEL_SERVICE_NAME": "node-proxy",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.name=overruled", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "1.0", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Collector(world, credentials) as collector:
        world.start_with(client="a", server="b")
        programs.echo_server(world.pods["server"])
        exchange(world)
        collector.wait_for(2)
        [(client, server)] = collector.traces().values()
    assert server.parent == client.id
    assert client.resource["service.name"] == "node-proxy"
    assert client.resource["deployment.environment.name"] == "test"
    assert all(metadata["x-tenant"] == "shop one" for _, _, metadata in collector.calls)


def test_a_collector_with_a_certificate_of_somebody_else_gets_nothing(world):
    roots = world.directory / "collector-roots.pem"
    roots.write_text(Issuer("collector").pem)
    other = Issuer("other")
    credentials = grpc.ssl_server_credentials([other.server_credentials([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])])
    with Collector(world, credentials) as collector:
        start(world, otlp={"endpoint": f"127.0.0.1:{PORT}", "roots": str(roots)})
        exchange(world)
        wait_for(lambda: world.a.agent.metric("culvert_span_export_failures_total") >= 1, "a handshake that failed")
        assert not collector.calls
        roots.write_text(other.pem)  # read again before each call
        collector.wait_for(2, 40)


def test_without_a_collector_nothing_of_it_is_there(mesh):
    programs.echo_server(mesh.pods["server"])
    exchange(mesh)
    agent = mesh.a.agent
    assert not [name for name in agent.metrics() if "span" in name]
    names = {path.joinpath("comm").read_text().strip() for path in pathlib.Path(f"/proc/{agent.pid}/task").iterdir()}
    assert len(names) and not [name for name in names if "grpc" in name or "event_engine" in name], names


def test_a_wrong_address_ends_the_start_and_says_what_to_write(world):
    world.a.agent.extra_config = {"tracing": {"otlp": {"endpoint": "http://collector:4318/v1/traces"}}}
    world.a.agent.start(wait=False)
    assert world.a.agent.daemon.wait(scaled(20)) == 1
    assert "tracing.otlp.endpoint" in world.a.agent.log() and "without a path" in world.a.agent.log()
    empty = world.directory / "empty.yaml"
    empty.write_text("")
    done = run.run([run.binary("culvertd"), "--check-config", str(empty)], check=False,
                   env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    assert done.returncode == 1
    assert "invalid env var OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (grpc is the only protocol here" in done.stderr
