# SPDX-License-Identifier: Apache-2.0
"""Istio's traffic metrics over real traffic, read as Prometheus reads them: names, labels, flags, bytes of live connections, and how label sets
come and go. The readers are those of Prometheus' own Python library.
"""

import contextlib
import gzip
import http.client
import socket
import zlib

import pytest
from culvert_harness import Authority, envoy, programs, run, scaled, wait_for
from culvert_harness.agent import METRICS_PORT
from culvert_harness.names import NameServer
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text_format
from test_policy import from_account, policy

TRAFFIC = ["reporter", "source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace",
           "source_principal", "source_app", "source_version", "source_cluster", "destination_service",
           "destination_service_namespace", "destination_service_name", "destination_workload", "destination_canonical_service",
           "destination_canonical_revision", "destination_workload_namespace", "destination_principal", "destination_app",
           "destination_version", "destination_cluster", "request_protocol", "response_flags", "connection_security_policy",
           "source_region", "source_zone", "destination_region", "destination_zone"]
SOURCE = TRAFFIC[1:9]
COUNTERS = [f"istio_tcp_{what}_total" for what in ("connections_opened", "connections_closed", "connections_failed", "received_bytes", "sent_bytes")]
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
VIP = "10.96.0.10"


def fetch(agent, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """GET /metrics from inside the node."""
    connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=scaled(20))
    connection.sock = agent.node.netns.socket()
    connection.sock.settimeout(scaled(20))
    connection.sock.connect(("127.0.0.1", METRICS_PORT))
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()


def samples(agent, name: str, **labels: str) -> list:
    """Every sample of this name with these labels, by the strict reader."""
    _, body = fetch(agent, Accept="application/openmetrics-text;version=1.0.0")
    return [sample for family in openmetrics.text_string_to_metric_families(body.decode()) for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()]


def value(agent, name: str, **labels: str) -> float:
    return sum(sample.value for sample in samples(agent, name, **labels))


def one(agent, name: str, **labels: str) -> dict[str, str]:
    """The labels of the only such sample."""
    found = samples(agent, name, **labels)
    assert len(found) == 1, found
    return found[0].labels


def talk(client, host: str, port: int = 7002, say: bytes = b"hello") -> bool:
    """One echoed word; False where the connection fails."""
    with contextlib.suppress(OSError), contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(10))
        connection.connect((host, port))
        connection.sendall(say)
        return connection.recv(len(say)) == say
    return False


def server_of(world, *, protocol: str = "HBONE"):
    """`client` on node a, `server` behind the service shop/web on node b, an echo on its port 7002."""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop", protocol=protocol)
    world.mesh["services"] = [{"name": "web", "namespace": "shop", "addresses": [VIP], "ports": [{"port": 80, "target_port": 7002}],
                               "endpoints": [{"workload": "shop/server"}]}]
    world.start_agents()
    client, server = world.add("client"), world.add("server", chain="mesh" if protocol == "HBONE" else "plain")
    programs.echo_server(server)
    return client, server


class TestLabels:
    @pytest.mark.parametrize("tunnel", [{}, {"offer": ["hbone"]}], ids=["direct", "hbone"])
    def test_both_ends_tell_of_a_connection_through_a_tunnel(self, world, tunnel):
        world.tunnel = tunnel
        client, server = server_of(world)
        assert talk(client, VIP, 80)
        for agent, reporter in ((world.a.agent, "source"), (world.b.agent, "destination")):
            wait_for(lambda agent=agent: value(agent, "istio_tcp_connections_closed_total") == 1, f"{reporter} to tell of the end")
            labels = one(agent, "istio_tcp_connections_closed_total")
            assert list(labels) == TRAFFIC
            told = {"reporter": reporter, "source_workload": "client", "source_canonical_service": "client", "source_canonical_revision": "latest",
                    "source_workload_namespace": "shop", "source_principal": client.identity, "source_app": "client",
                    "source_version": "latest", "source_cluster": "Kubernetes", "destination_workload": "server",
                    "destination_workload_namespace": "shop", "destination_principal": server.identity, "request_protocol": "tcp",
                    "response_flags": "-", "connection_security_policy": "mutual_tls"}
            if reporter == "source" or tunnel:  # a direct tunnel's OPEN does not name the service
                told |= {"destination_service": "web.shop.svc.cluster.local", "destination_service_namespace": "shop",
                         "destination_service_name": "web"}
                agent.access_log('dst.service="web.shop.svc.cluster.local"')
            assert told.items() <= labels.items()
            assert value(agent, "istio_tcp_connections_opened_total") == 1
            assert value(agent, "istio_tcp_received_bytes_total") == value(agent, "istio_tcp_sent_bytes_total") == 5
            assert not samples(agent, "istio_tcp_connections_failed_total")

    def test_plain_text_has_no_principal_of_the_source(self, world):
        client, server = server_of(world, protocol="TCP")
        assert talk(client, server.v4)
        wait_for(lambda: value(world.a.agent, "istio_tcp_connections_closed_total") == 1, "the end")
        labels = one(world.a.agent, "istio_tcp_connections_closed_total")
        assert labels["source_principal"] == "unknown" and labels["connection_security_policy"] == "unknown"
        assert labels["destination_workload"] == "server" and labels["destination_principal"] == server.identity
        assert labels["destination_service"] == "unknown"

    def test_a_name_that_is_asked_of_dns_is_counted_with_who_asked(self, world):
        world.declare("client", "a", namespace="shop")
        server = world.declare("server", "b", namespace="shop")
        world.mesh["services"] = [{"name": "web", "namespace": "shop", "addresses": [VIP], "ports": [{"port": 80, "target_port": 7002}],
                                   "endpoints": [{"workload": "shop/named"}]}]
        config = world.mesh_config

        def with_name():
            made = config()
            made["workloads"].append({"name": "named", "namespace": "shop", "protocol": "TCP", "addresses": [], "hostname": "web.example"})
            return made

        world.mesh_config = with_name
        resolv_conf = world.directory / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.1\n")
        world.a.agent.command_prefix = ["unshare", "--mount", "--propagation", "slave", "sh", "-c",
                                        f'mount --bind {resolv_conf} /etc/resolv.conf && exec "$0" "$@"']
        with NameServer(world.a.netns) as names:
            names.table["web.example"] = [server.v4]
            world.start_agents()
            client = world.add("client")
            programs.echo_server(world.add("server", chain="plain"))
            assert talk(client, VIP, 80)
        labels = one(world.a.agent, "istio_on_demand_dns_total")
        assert list(labels) == [*SOURCE, "hostname"]
        assert labels["hostname"] == "web.example" and labels["source_workload"] == "client" and labels["source_principal"] == client.identity

    def test_the_far_end_in_another_network_is_who_it_says_it_is(self, world):
        world.declare("client", "a", namespace="shop")
        world.declare("one", "b", namespace="shop", peer_authentication="STRICT")
        world.declare("gateway", "b", namespace="istio-gateways")
        world.split_into_networks(VIP, target_port=7002)
        world.start_agents()
        client, far = world.add("client"), world.add("one")
        programs.echo_server(far)
        place = world.add("gateway", chain="plain")
        envoy.start(place, "gateway", *envoy.gateway(Authority.of(world).credentials(place.identity), {"web.shop.svc.cluster.local:80": far.v4}))
        assert talk(client, VIP, 80)
        wait_for(lambda: value(world.a.agent, "istio_tcp_connections_closed_total") == 1, "the end")
        labels = one(world.a.agent, "istio_tcp_connections_closed_total")
        assert labels["destination_workload"] == "one" and labels["destination_principal"] == far.identity
        assert labels["destination_service_name"] == "web" and labels["response_flags"] == "-"
        # The gateway has the client's connection, and the client's network is not ours: its baggage says who it is.
        labels = one(world.b.agent, "istio_tcp_connections_opened_total")
        assert labels["source_workload"] == "client" and labels["source_principal"] == client.identity


class TestFailures:
    def test_what_policy_denies_is_deny_where_it_is_denied(self, world):
        world.mesh["policies"] = [policy("no-client", "DENY", from_account("client"))]
        client, server = server_of(world)
        assert not talk(client, server.v4)
        wait_for(lambda: value(world.b.agent, "istio_tcp_connections_failed_total", response_flags="DENY") >= 1, "the refusal")
        assert one(world.b.agent, "istio_tcp_connections_failed_total")["source_principal"] == client.identity
        wait_for(lambda: value(world.a.agent, "istio_tcp_connections_failed_total", response_flags="CONNECT") >= 1, "the client's side")
        assert value(world.b.agent, "istio_tcp_connections_closed_total", response_flags="-") == 0

    def test_an_application_that_is_not_there_is_connect_at_both_ends(self, world):
        client, server = server_of(world)
        assert not talk(client, server.v4, 7999)
        for agent in (world.a.agent, world.b.agent):
            wait_for(lambda agent=agent: value(agent, "istio_tcp_connections_failed_total", response_flags="CONNECT") >= 1, "the failure")
            assert value(agent, "istio_tcp_connections_opened_total") == value(agent, "istio_tcp_connections_closed_total")

    def test_a_service_without_this_port_is_a_failed_connection_to_that_service(self, world):
        client, _ = server_of(world)
        assert not talk(client, VIP, 81)
        wait_for(lambda: value(world.a.agent, "istio_tcp_connections_failed_total", response_flags="CONNECT",
                               destination_service_name="web") == 1, "the failure")

    def test_a_peer_that_cannot_show_the_identity_is_tls_failure(self, world):
        world.declare("client", "a", namespace="shop")
        server = world.declare("server", "b", namespace="shop")
        world.start_agents()
        client, impostor = world.add("client"), world.add("server", chain="plain")
        certificate = world.directory / "impostor.pem"
        run.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=impostor",
                 "-keyout", str(certificate), "-out", str(certificate) + ".crt"])
        impostor.start(["openssl", "s_server", "-accept", "15008", "-key", str(certificate), "-cert", str(certificate) + ".crt",
                        "-alpn", "culvert/1,h2", "-quiet"], name="impostor")
        wait_for(lambda: 15008 in impostor.netns.listeners(), "the impostor to listen")
        assert not talk(client, server.v4)
        wait_for(lambda: value(world.a.agent, "istio_tcp_connections_failed_total", response_flags="TLS_FAILURE") >= 1, "the failure")


class TestLife:
    def test_bytes_are_counted_while_the_connection_lives(self, world):
        client, server = server_of(world)
        with contextlib.closing(client.netns.socket()) as connection:
            connection.settimeout(scaled(10))
            connection.connect((server.v4, 7002))
            for turn in range(1, 4):
                connection.sendall(b"x" * 1000)
                got = 0
                while got < 1000:
                    got += len(connection.recv(1000))
                for agent in (world.a.agent, world.b.agent):
                    for name in ("received_bytes", "sent_bytes"):
                        wait_for(lambda agent=agent, name=name, turn=turn: value(agent, f"istio_tcp_{name}_total") == turn * 1000, f"{name}, turn {turn}")
            assert value(world.a.agent, "istio_tcp_sockets_open", reporter="source") == 1
            assert value(world.a.agent, "istio_tcp_connections_closed_total") == 0

    def test_a_label_set_goes_after_its_time_and_comes_back_from_0(self, world):
        world.extra_config = {"metrics": {"label_expiry": "2s"}}
        client, server = server_of(world)
        assert talk(client, server.v4) and talk(client, server.v4)
        with contextlib.closing(client.netns.socket()) as held:
            held.settimeout(scaled(10))
            held.connect((VIP, 80))
            held.sendall(b"x")
            assert held.recv(1) == b"x"
            wait_for(lambda: not samples(world.a.agent, "istio_tcp_connections_opened_total", destination_service="unknown"), "the set to go")
            assert value(world.a.agent, "istio_tcp_connections_opened_total", destination_service_name="web") == 1  # it has a connection
            assert value(world.a.agent, "culvert_traffic_label_sets") == 1
            assert talk(client, server.v4)
            assert value(world.a.agent, "istio_tcp_connections_opened_total", destination_service="unknown") == 1

    def test_a_pod_that_leaves_takes_its_label_sets_along(self, world):
        world.extra_config = {"metrics": {"label_expiry": "1s"}}
        client, server = server_of(world)
        assert talk(client, server.v4)
        assert samples(world.a.agent, "istio_tcp_connections_opened_total", source_workload="client")
        client.cni_delete()
        wait_for(lambda: not samples(world.a.agent, "istio_tcp_connections_opened_total"), "nothing to be told of it")
        assert value(world.a.agent, "culvert_traffic_label_sets") == 0
        assert value(world.a.agent, "workload_manager_proxies_stopped_total") == 1

    def test_beyond_the_limit_connections_are_counted_as_overflow(self, world):
        world.extra_config = {"metrics": {"max_label_sets": 1}}
        client, server = server_of(world)
        assert talk(client, server.v4)
        for _ in range(3):
            assert talk(client, VIP, 80)
        assert value(world.a.agent, "istio_tcp_connections_opened_total", source_workload="client") == 1
        assert value(world.a.agent, "istio_tcp_connections_opened_total", source_workload="overflow", destination_service="overflow") == 3
        assert value(world.a.agent, "istio_tcp_received_bytes_total", source_workload="overflow") == 15
        assert value(world.a.agent, "culvert_traffic_folded_total") == 3
        assert value(world.a.agent, "culvert_traffic_label_sets") == value(world.a.agent, "culvert_traffic_label_sets_max") == 1


class TestScrape:
    @pytest.fixture
    def agent(self, world):
        client, server = server_of(world)
        assert talk(client, server.v4) and not talk(client, server.v4, 7999)
        wait_for(lambda: samples(world.a.agent, "istio_tcp_connections_failed_total"), "a failure to be told")
        return world.a.agent

    def test_both_formats_are_what_prometheus_reads_and_say_the_same(self, agent):
        answer, body = fetch(agent, Accept="application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3")
        assert answer.getheader("Content-Type") == OPENMETRICS
        strict = {family.name: family for family in openmetrics.text_string_to_metric_families(body.decode())}
        answer, body = fetch(agent, Accept="text/plain")
        assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        plain = {family.name: family for family in text_format.text_string_to_metric_families(body.decode())}
        assert {name for name, family in strict.items()} == {name for name, family in plain.items()}
        for name in COUNTERS:
            family, same = strict[name.removesuffix("_total")], plain[name.removesuffix("_total")]
            assert family.type == same.type == "counter"
            assert family.samples and {(sample.name, sample.value) for sample in family.samples} == {(sample.name, sample.value) for sample in same.samples}
            for sample in [*family.samples, *same.samples]:
                assert sample.name == name and list(sample.labels) == TRAFFIC
        for name, labels in (("istio_build", ["component", "tag"]), ("istio_tcp_sockets_open", ["reporter"]),
                             ("workload_manager_active_proxy_count", []), ("workload_manager_pending_proxy_count", []),
                             ("process_open_fds", []), ("process_max_fds", [])):
            assert strict[name].type == "gauge" and [list(sample.labels) for sample in strict[name].samples][0] == labels, name
        assert strict["istio_build"].samples[0].labels["component"] == "ztunnel"
        assert "workload_manager_proxies_started" in strict and "istio_on_demand_dns" in strict
        assert strict["workload_manager_proxies_started"].samples[0].value == 1

    def test_a_client_gets_the_coding_that_it_asks_for_and_none_unasked(self, agent):
        answer, body = fetch(agent, Accept_Encoding="identity")
        assert answer.getheader("Content-Encoding") is None and b"istio_tcp" in body
        answer, body = fetch(agent, Accept_Encoding="gzip;q=0.5, br")
        assert answer.getheader("Content-Encoding") == "gzip" and b"istio_tcp" in gzip.decompress(body)
        answer, body = fetch(agent, Accept_Encoding="deflate, gzip;q=0.1", Accept="application/openmetrics-text")
        assert answer.getheader("Content-Encoding") == "deflate" and zlib.decompress(body).endswith(b"# EOF\n")
