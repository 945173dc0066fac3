# SPDX-License-Identifier: Apache-2.0
"""Where connections go by the services of the file: virtual addresses, names, the application tunnel, another network."""

import contextlib
import socket
import threading

import pytest
from culvert_harness import Authority, envoy, programs, scaled, wait_for
from culvert_harness.names import NameServer
from test_fidelity import connect

VIP, VIP6 = "10.96.0.10", "fd00:96::10"


def listen(pod, port: int, *, host: str = "") -> socket.socket:
    listener = pod.netns.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(16)
    listener.settimeout(scaled(20))
    return listener


def service(world, *names: str, **keys) -> None:
    world.mesh["services"] = [{"name": "web", "namespace": "shop", "addresses": [VIP, VIP6], "ports": [{"port": 80, "target_port": 8080}],
                               "endpoints": [{"workload": f"shop/{name}"} for name in names]} | keys]


@pytest.fixture
def routed(world):
    """client on a; one and two on b, which serve shop/web on port 8080."""
    world.declare("client", "a", namespace="shop")
    for name in ("one", "two"):
        world.declare(name, "b", namespace="shop")
    service(world, "one", "two")
    world.start_agents()
    for name in ("client", "one", "two"):
        world.add(name)
    for name in ("one", "two"):
        programs.nginx(world.pods[name], {"index.html": name.encode()}, 8080)
    return world


class TestServices:
    @pytest.mark.parametrize("host", [VIP, pytest.param(f"[{VIP6}]", marks=pytest.mark.core)])
    def test_a_virtual_address_reaches_every_endpoint_inside_tunnels(self, routed, host):
        capture = routed.capture()
        seen = {programs.curl(routed.pods["client"], f"http://{host}/").stdout for _ in range(20)}
        assert seen == {"one", "two"}
        capture.stop().assert_only_tunnels()
        routed.a.agent.access_log('dst.service="web.shop.svc.cluster.local"')

    def test_a_port_that_the_service_does_not_have_is_refused_and_not_passed_on(self, routed):
        # With a way to that address: what is passed on goes over the link, as the node's own does.
        routed.a.netns.run(["ip", "route", "add", f"{VIP}/32", "via", routed.b.v4])
        capture = routed.capture()
        routed.a.netns.run(["curl", "--silent", "--max-time", "0.2", f"http://{VIP}:82/"], check=False)
        done = programs.curl(routed.pods["client"], f"http://{VIP}:81/", check=False)
        assert done.returncode != 0
        wait_for(lambda: any("no healthy upstream" in line.lower() or "no_route" in line or "no way" in line for line in routed.a.agent.access_log_so_far()),
                 "the log to say why")
        assert not routed.a.agent.opened_log(), "nothing was opened for it"
        assert {flow[3] for flow in capture.stop().streams() if flow[2] == VIP} == {82}

    def test_an_endpoint_that_is_unhealthy_or_gone_gets_nothing_after_a_reload(self, routed):
        service(routed, "two")
        routed.reload()
        wait_for(lambda: {programs.curl(routed.pods["client"], f"http://{VIP}/").stdout for _ in range(5)} == {"two"}, "only two to serve")
        service(routed)
        routed.reload()
        wait_for(lambda: programs.curl(routed.pods["client"], f"http://{VIP}/", check=False).returncode != 0, "the service to have nobody")

    def test_a_pod_that_dials_its_own_service_may_reach_itself(self, routed):
        service(routed, "one")
        routed.reload()
        wait_for(lambda: programs.curl(routed.pods["one"], f"http://{VIP}/", check=False).stdout == "one", "one to reach itself")


@pytest.mark.parametrize("offer", ["hbone", "direct"])
def test_a_pods_own_address_is_seen_behind_a_service(world, offer):
    world.extra_config = {"tunnel": {"offer": [offer]}}
    world.declare("client", "a", namespace="shop")
    world.declare("one", "b", namespace="shop")
    service(world, "one")
    world.start_agents()
    client, one = world.add("client"), world.add("one")
    listener = listen(one, 8080)
    with contextlib.closing(connect(client, VIP, 80)) as connection:
        connection.sendall(b"x")
        accepted, peer = listener.accept()
        assert peer[0] == client.v4
        accepted.close()


def serve(listener: socket.socket, connection: socket.socket) -> bytes:
    """Takes the connection that has said "hello" at its other end, answers it; what came, whatever stood in front."""
    accepted, _ = listener.accept()
    with contextlib.closing(accepted):
        accepted.settimeout(scaled(10))
        received = b""
        while not received.endswith(b"hello"):
            received += accepted.recv(4096)
        accepted.sendall(b"bye")
        assert connection.recv(3) == b"bye"
    return received


def check_proxy_header(received: bytes, client, destination: str) -> None:
    assert received[:16] == b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + received[14:16]
    assert socket.inet_ntoa(received[16:20]) == client.v4 and socket.inet_ntoa(received[20:24]) == destination
    assert int.from_bytes(received[26:28], "big") == 80
    assert received[28] == 0xD0 and client.identity.encode() in received


@pytest.mark.parametrize("offer", [None, ["hbone"]], ids=["both", "hbone"])
class TestOnlyHbone:
    """What `culvert/1` cannot ask for. The agents offer both tunnels, unless told otherwise."""

    APPLICATION_TUNNEL = {"protocol": "PROXY", "port": 15088}

    @pytest.fixture
    def pair(self, world, offer):
        """client on a, one on b; agents are not started."""
        if offer:
            world.extra_config = {"tunnel": {"offer": offer}}
        world.declare("client", "a", namespace="shop")
        world.declare("one", "b", namespace="shop")
        return world

    @staticmethod
    def assert_why(world, offer, why: str) -> None:
        [row] = [row for row in world.a.agent.ctl("connections") if row["direction"] == "outbound"]
        assert row["why"].endswith("h2: nothing else is offered" if offer else why)

    def test_the_application_is_told_who_the_client_is_by_a_proxy_header(self, pair, offer):
        pair.workloads["one"].fields["application_tunnel"] = self.APPLICATION_TUNNEL
        pair.start_agents()
        client, one = pair.add("client"), pair.add("one")
        listener = listen(one, 15088, host="127.0.0.1")
        with contextlib.closing(connect(client, one.v4, 80)) as connection:
            connection.sendall(b"hello")
            check_proxy_header(serve(listener, connection), client, one.v4)
            self.assert_why(pair, offer, "h2: the workload has an application tunnel")

    @pytest.mark.parametrize("has_tunnel", [False, True], ids=["plain", "application-tunnel"])
    def test_a_waypoint_that_is_a_pod_behind_an_agent_is_asked_for_the_service(self, pair, offer, has_tunnel):
        if has_tunnel:
            pair.workloads["one"].fields["application_tunnel"] = self.APPLICATION_TUNNEL
        pair.declare("server", "b", namespace="shop")
        service(pair, "server", waypoint=pair.workloads["one"].v4)
        pair.start_agents()
        client, one = pair.add("client"), pair.add("one")
        listener = listen(one, 15088, host="127.0.0.1") if has_tunnel else listen(one, 80)
        with contextlib.closing(connect(client, VIP, 80)) as connection:
            connection.sendall(b"hello")
            received = serve(listener, connection)
            if has_tunnel:
                check_proxy_header(received, client, VIP)
            else:
                assert received == b"hello"
            self.assert_why(pair, offer, "h2: a waypoint is asked for what is behind it")
        assert "; h2: a waypoint is asked for what is behind it" in str(pair.a.agent.ctl("explain", "shop/client", f"{VIP}:80"))


class TestNames:
    def test_an_endpoint_that_is_a_name_is_asked_of_dns_and_a_changed_answer_is_followed(self, world):
        world.declare("client", "a", namespace="shop")
        one, two = world.declare("one", "b", namespace="shop"), world.declare("two", "b", namespace="shop")
        service(world, "named")
        config = world.mesh_config

        def with_name():
            made = config()
            made["workloads"].append({"name": "named", "namespace": "shop", "service_account": "one", "protocol": "TCP", "addresses": [],
                                      "hostname": "web.example"})
            return made

        world.mesh_config = with_name
        resolv_conf = world.directory / "resolv.conf"
        resolv_conf.write_text("nameserver 127.0.0.1\n")
        world.a.agent.command_prefix = ["unshare", "--mount", "--propagation", "slave", "sh", "-c",
                                        f'mount --bind {resolv_conf} /etc/resolv.conf && exec "$0" "$@"']
        with NameServer(world.a.netns) as names:
            names.table["web.example"] = [one.v4]
            world.start_agents()
            client = world.add("client")
            for name in ("one", "two"):
                programs.nginx(world.add(name, chain="plain"), {"index.html": name.encode()}, 8080)
            assert programs.curl(client, f"http://{VIP}/").stdout == "one"
            names.table["web.example"] = [two.v4]
            wait_for(lambda: programs.curl(client, f"http://{VIP}/").stdout == "two", "the new address")
            del names.table["web.example"]
            wait_for(lambda: programs.curl(client, f"http://{VIP}/", check=False).returncode != 0, "the name to be gone")


NAME = "web.shop.svc.cluster.local:80"


class TestOtherNetwork:
    """Envoy is the gateway: it sees CONNECT for the service's name and, inside, TLS that is not for it."""

    @pytest.fixture(params=["v4", "v6"])
    def networks(self, world, request):
        """client on a; on b the service's one, another workload, and the gateway: its addresses, and the service's, are of the family. `lead(pod)`
        starts the gateway with the way to this pod."""
        world.declare("client", "a", namespace="shop")
        for name in ("one", "other"):
            world.declare(name, "b", namespace="shop", peer_authentication="STRICT")
        world.declare("gateway", "b", namespace="istio-gateways")
        world.vip = VIP if request.param == "v4" else VIP6
        world.split_into_networks(world.vip, target_port=8080, family=request.param)
        world.start_agents()
        world.add("client")
        for name in ("one", "other"):
            programs.nginx(world.add(name), {"index.html": name.encode()}, 8080)
        place = world.add("gateway", chain="plain")
        credentials = Authority.of(world).credentials(place.identity)
        world.lead = lambda pod: envoy.start(place, "gateway", *envoy.gateway(credentials, {NAME: getattr(pod, request.param)}))
        return world

    def test_a_service_of_another_network_is_reached_inside_a_tunnel_to_its_gateway(self, networks):
        client = networks.pods["client"]
        networks.lead(networks.pods["one"])
        capture = networks.capture()
        for _ in range(3):
            assert programs.curl(client, f"http://{host(networks.vip)}/").stdout == "one"
        capture.stop().assert_only_tunnels()
        [line, *_] = networks.b.agent.access_log('direction="inbound"')
        assert client.identity in line and NAME in line

    def test_a_gateway_that_leads_to_another_identity_is_a_reset_and_that_one_hears_nothing(self, networks):
        networks.lead(networks.pods["other"])
        assert networks.pods["other"].identity in refused(networks)
        assert not networks.b.agent.access_log_so_far()

    def test_a_gateway_that_is_down_is_a_reset_until_it_is_back(self, networks):
        gateway = networks.lead(networks.pods["one"])
        assert programs.curl(networks.pods["client"], f"http://{host(networks.vip)}/").stdout == "one"
        gateway.kill()
        wait_for(lambda: 15008 not in networks.pods["gateway"].netns.listeners(), "the gateway to be gone")
        capture = networks.capture()
        refused(networks)
        one = networks.pods["one"]
        assert not [segment for segment in capture.stop().segments() if segment.destination in (one.v4, one.v6)], "a way round the gateway"
        networks.lead(one)
        assert programs.curl(networks.pods["client"], f"http://{host(networks.vip)}/").stdout == "one"


def host(address: str) -> str:
    """As URLs have it."""
    return f"[{address}]" if ":" in address else address


def refused(world) -> str:
    """A connection to the service must end by a reset without a byte; the line about it, not about the outer tunnel, which has port 0."""
    before = len(world.a.agent.access_log_so_far())
    with pytest.raises(ConnectionResetError), contextlib.closing(connect(world.pods["client"], world.vip, 80)) as connection:
        assert connection.recv(1), "a clean end for a connection that never was"
    return wait_for(lambda: [line for line in world.a.agent.access_log_so_far()[before:] if ":0 src." not in line], "the line")[0]
