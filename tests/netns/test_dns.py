# SPDX-License-Identifier: Apache-2.0
"""DNS of a pod whose port 53 goes to the agent, by istio-cni's rules or by our own programs: names of the mesh, everything else from a real server
(dnsmasq)."""

import contextlib
import random
import socket
import struct
import threading

import pytest
from culvert_harness import run, scaled, wait_for, zds

A, CNAME, TXT, AAAA, SRV = 1, 5, 16, 28, 33
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4
NOBODY = "10.254.0.53"  # no such host: only a captured question is answered
NOBODY_V6 = "fd00:254::53"
HEADLESS = 60  # endpoints: more than fit 512 bytes


def service(name, addresses, **more):
    return {"name": name, "namespace": "shop", "addresses": addresses, "ports": [{"port": 80, "target_port": 7002}], **more}


@pytest.fixture(params=["rules", "programs"])
def town(world, request):
    """`client` on node a with DNS captured; dnsmasq in node a is what the agent's resolv.conf names."""
    world.declare("client", "a", namespace="shop")
    for number in range(HEADLESS):
        world.more_workloads.append({"name": f"db-{number}", "namespace": "shop", "service_account": "db", "addresses": [f"10.7.0.{number + 1}"]})
    world.mesh["services"] = [service("web", ["10.96.0.1", "fd96::1"]), service("four", ["10.96.0.4"]),
                              service("db", [], endpoints=[{"workload": f"db-{number}"} for number in range(HEADLESS)]),
                              service("api", ["10.96.0.9"], hostname="api.example.com")]
    agent = world.a.agent
    world.a.directory.mkdir(parents=True, exist_ok=True)
    resolv = world.a.directory / "resolv.conf"
    resolv.write_text(f"nameserver {world.a.v4}\n")
    agent.command_prefix = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", f'mount --bind {resolv} /etc/resolv.conf && exec "$@"', "sh"]
    agent.extra_config = {"dns": {"capture": True}}
    if request.param == "programs":
        agent.start(wait=False)
        agent.wait_ready()
        world.add("client")
        start_upstream(world)
        yield world
        return
    agent.extra_config["zds"] = {"socket": str(world.a.directory / "zds.sock")}
    with zds.IstioCni(world.a.directory / "zds.sock") as cni:
        agent.start(wait=False)
        client = world.add("client", chain="plain")
        zds.capture(client, dns=True)
        peer = cni.accept()
        peer.add(client)
        peer.ask(zds.SNAPSHOT)
        agent.wait_ready()
        start_upstream(world)
        yield world


def start_upstream(world):
    daemon = run.Daemon(world.a.netns.command([
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--bind-interfaces",
        f"--listen-address={world.a.v4}", "--except-interface=lo", "--host-record=real.example.org,203.0.113.7,2001:db8::7", "--log-queries",
        "--log-facility=-", "--local=/#/", *[f"--txt-record=large.example.org,{'x' * 200}" for _ in range(1)],
        *[f"--host-record=many.example.org,203.0.113.{number}" for number in range(1, 80)]]), world.a.directory / "dnsmasq.log")
    world.daemons.append(daemon)
    world.upstream = daemon
    wait_for(lambda: 53 in world.a.netns.listeners(), "dnsmasq to listen")


class Reply:
    def __init__(self, data: bytes):
        self.data = data
        self.id, flags, questions, answers, _, _ = struct.unpack(">6H", data[:12])
        self.code, self.truncated, self.authoritative, self.recursion = flags & 15, bool(flags & 0x200), bool(flags & 0x400), bool(flags & 0x80)
        at = 12
        for _ in range(questions):
            at = self._name(at)[1] + 4
        self.records = []
        for _ in range(answers):
            name, at = self._name(at)
            kind, _, ttl, size = struct.unpack(">HHIH", data[at:at + 10])
            at += 10
            body = data[at:at + size]
            value = socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, body) if kind in (A, AAAA) else \
                self._name(at)[0] if kind == CNAME else body
            self.records.append((name, kind, value, ttl))
            at += size

    def _name(self, at):
        labels, behind = [], None
        while length := self.data[at]:
            if length >= 0xC0:
                behind = behind or at + 2
                at = (length & 0x3F) << 8 | self.data[at + 1]
                continue
            labels.append(self.data[at + 1:at + 1 + length].decode())
            at += 1 + length
        return ".".join(labels), behind or at + 1

    def values(self, kind):
        return sorted(value for _, k, value, _ in self.records if k == kind)


def question(name, kind=A, *, size=None, flags=0x0100):
    head = struct.pack(">6H", random.randrange(65536), flags, 1, 0, 0, 1 if size else 0)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    return head + labels + struct.pack(">HH", kind, 1) + (b"\0" + struct.pack(">HHIH", 41, size, 0, 0) if size else b"")


def ask(pod, name, kind=A, *, server=NOBODY, tcp=False, timeout=8.0, **options):
    query = question(name, kind, **options)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with contextlib.closing(pod.netns.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)) as connection:
        connection.settimeout(scaled(timeout))
        connection.connect((server, 53))  # a reply from another address would not be taken
        if tcp:
            connection.sendall(struct.pack(">H", len(query)) + query)
            data = receive(connection)
        else:
            connection.send(query)
            data = connection.recv(65535)
    reply = Reply(data)
    assert reply.id == struct.unpack(">H", query[:2])[0]
    return reply


def receive(connection):
    def exactly(count):
        data = b""
        while len(data) < count:
            part = connection.recv(count - len(data))
            assert part, "closed"
            data += part
        return data
    return exactly(struct.unpack(">H", exactly(2))[0])


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_services_are_found_by_every_form_of_their_name_over_both_families_of_transport(town, tcp):
    client = town.pods["client"]
    for name in ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "WEB.Shop"):
        for server in (NOBODY, NOBODY_V6):
            reply = ask(client, name, tcp=tcp, server=server)
            assert (reply.code, reply.authoritative, reply.recursion) == (NOERROR, True, True)
            assert reply.records == [(name, A, "10.96.0.1", 30)]
        assert ask(client, name, AAAA, tcp=tcp).values(AAAA) == ["fd96::1"]
    for other in (A, AAAA):
        reply = ask(client, "four", other, tcp=tcp)
        assert (reply.code, reply.authoritative, len(reply.records)) == (NOERROR, True, 1 if other == A else 0)


def test_a_name_through_a_search_domain_is_an_alias(town):
    client = town.pods["client"]
    reply = ask(client, "api.example.com.shop.svc.cluster.local")
    assert [record[:3] for record in reply.records] == [("api.example.com.shop.svc.cluster.local", CNAME, "api.example.com"),
                                                        ("api.example.com", A, "10.96.0.9")]


def test_a_headless_service_is_its_endpoints_and_what_does_not_fit_is_asked_for_over_tcp(town):
    client = town.pods["client"]
    small = ask(client, "db")
    assert small.truncated and 0 < len(small.records) < HEADLESS and len(small.data) <= 512
    for whole in (ask(client, "db", size=4096), ask(client, "db", tcp=True)):
        assert not whole.truncated
        assert whole.values(A) == sorted(f"10.7.0.{number + 1}" for number in range(HEADLESS))


def test_the_rest_is_asked_of_the_real_server_and_passed_on_as_it_is(town):
    client = town.pods["client"]
    for tcp in (False, True):
        assert ask(client, "real.example.org", tcp=tcp).values(A) == ["203.0.113.7"]
        assert ask(client, "real.example.org", AAAA, tcp=tcp).values(AAAA) == ["2001:db8::7"]
        assert ask(client, "unknown.example.org", tcp=tcp).code == NXDOMAIN
    assert ask(client, "large.example.org", TXT, size=1232).values(TXT) == [b"\xc8" + b"x" * 200]
    assert ask(client, "many.example.org").truncated
    assert len(ask(client, "many.example.org", tcp=True).records) == 79
    assert ask(client, "web", SRV).code == NXDOMAIN
    log = town.upstream.output()
    # Asked from the pod's own address, so that policies for the pod hold.
    assert f"query[A] real.example.org from {client.v4}" in log
    assert "web.shop" not in log


def test_getent_in_the_pod_resolves_both_kinds(town):
    client = town.pods["client"]
    resolv = town.a.directory / "pod-resolv.conf"
    resolv.write_text(f"nameserver {NOBODY}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")

    def getent(name):
        return client.run(["unshare", "--mount", "sh", "-c", f"mount --bind {resolv} /etc/resolv.conf && getent ahostsv4 {name}"]).stdout

    assert "10.96.0.1" in getent("web")
    assert "10.96.0.9" in getent("api.example.com")
    assert "203.0.113.7" in getent("real.example.org")


def test_without_a_server_the_mesh_is_answered_and_the_rest_fails_in_time(town):
    client = town.pods["client"]
    town.upstream.kill()
    assert ask(client, "web").values(A) == ["10.96.0.1"]
    assert ask(client, "real.example.org", timeout=10).code == SERVFAIL
    assert town.a.agent.metric("istio_dns_upstream_failures_total") == 1
    start_upstream(town)
    assert ask(client, "real.example.org").values(A) == ["203.0.113.7"]


def test_a_policy_that_keeps_the_pod_from_the_server_keeps_its_questions_from_it(town):
    client = town.pods["client"]
    client.run(["iptables-nft", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-d", town.a.v4, "-j", "DROP"])
    assert ask(client, "real.example.org", timeout=12).code == SERVFAIL
    assert ask(client, "web").code == NOERROR


def test_what_is_no_question_is_refused_and_hurts_nobody(town):
    client = town.pods["client"]
    assert ask(client, "web", flags=0x2800).code == NOTIMP
    with contextlib.closing(client.netns.socket(kind=socket.SOCK_DGRAM)) as connection:
        connection.settimeout(scaled(8))
        connection.connect((NOBODY, 53))
        connection.send(question("web")[:20])
        assert Reply(connection.recv(512)).code == FORMERR
        connection.settimeout(scaled(0.3))
        for unanswerable in (b"\x01\x02\x03", question("web", flags=0x8100)):  # too short, and an answer itself: no loop of answers
            connection.send(unanswerable)
            with pytest.raises(TimeoutError):
                connection.recv(512)
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(8))
        connection.connect((NOBODY, 53))
        connection.sendall(b"\xff\xff" + b"x" * 100)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert ask(client, "web").code == NOERROR


def test_questions_on_one_connection_are_answered_in_turn_and_idle_connections_end(town):
    client = town.pods["client"]
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(8))
        connection.connect((NOBODY, 53))
        sent = b""
        for name in ("web", "real.example.org", "four"):
            query = question(name)
            sent += struct.pack(">H", len(query)) + query
        connection.sendall(sent)
        assert [Reply(receive(connection)).values(A) for _ in range(3)] == [["10.96.0.1"], ["203.0.113.7"], ["10.96.0.4"]]
        assert connection.recv(1) == b""


def test_many_at_once_are_all_answered_and_counted(town):
    client = town.pods["client"]
    answers = []

    def ask_some(names):
        for name in names:
            answers.append(ask(client, name).values(A))

    threads = [threading.Thread(target=ask_some, args=(["web", "real.example.org"] * 25,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(["10.96.0.1"]) == answers.count(["203.0.113.7"]) == 200
    labels = {"request_query_type": "a", "request_protocol": "udp", "source_canonical_service": "client"}
    assert town.a.agent.metric("istio_dns_requests_total", **labels) == 400
    assert town.a.agent.metric("istio_dns_upstream_requests_total", **labels) == 200
    assert town.a.agent.metric("istio_dns_upstream_request_duration_seconds_count", **labels) == 200


def test_each_question_is_told_of_at_level_debug(town):
    client = town.pods["client"]
    name = "four.shop.svc.cluster.local"
    assert ask(client, name).values(A) == ["10.96.0.4"]
    assert ask(client, name, AAAA).records == []
    assert len(ask(client, "many.example.org", tcp=True).records) == 79
    who = f'question answered\tsrc.workload="client" src.namespace="{client.workload.namespace}"'

    def lines():
        return [line for line in town.a.agent.log().splitlines() if "\tdns\t" in line]

    for rest in (f'query="A" domain="{name}" result="success" endpoints=1', f'query="AAAA" domain="{name}" result="no records" endpoints=0',
                 'query="A" domain="many.example.org" result="forwarded" endpoints=79'):
        wait_for(lambda r=rest: any(line.endswith(f"debug\tdns\t{who} {r}") for line in lines()), f"the line {rest}")
    town.a.agent.ctl("log", "info")
    before = len(lines())
    assert ask(client, name).values(A) == ["10.96.0.4"]
    assert len(lines()) == before


def test_a_pod_that_leaves_takes_its_sockets_along(town):
    client = town.pods["client"]
    assert 15053 in client.netns.listeners()
    [pod] = town.a.agent.ctl("pods")
    assert pod["name"] == "client"
    town.a.agent.kill()
    wait_for(lambda: 15053 not in client.netns.listeners(), "the listener to go")


programs_only = pytest.mark.parametrize("town", ["programs"], indirect=True)


def ask_unconnected(pod, server, name, *, family=None, bind=None):
    """What sendto and recvfrom show, as musl asks: the answer's sender must be the server."""
    family = family or (socket.AF_INET6 if ":" in server else socket.AF_INET)
    with contextlib.closing(pod.netns.socket(family, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(scaled(8))
        if bind:
            asking.bind((bind, 0))
        asking.sendto(question(name), (server, 53))
        data, sender = asking.recvfrom(65535)
        return Reply(data), sender[:2]


@pytest.mark.core
@programs_only
def test_an_answer_seems_to_come_from_the_server_that_was_asked(town):
    client = town.pods["client"]
    for server, family in ((NOBODY, None), (NOBODY_V6, None), (f"::ffff:{NOBODY}", socket.AF_INET6)):
        reply, sender = ask_unconnected(client, server, "web", family=family)
        assert (reply.values(A), sender) == (["10.96.0.1"], (server, 53))
    reply, sender = ask_unconnected(client, NOBODY, "web", bind=client.v4)
    assert (reply.values(A), sender) == (["10.96.0.1"], (NOBODY, 53))
    with contextlib.closing(client.netns.socket(kind=socket.SOCK_DGRAM)) as asking:
        asking.settimeout(scaled(8))
        for server in (NOBODY, "10.254.0.54"):  # one socket, one server after the other
            asking.sendto(question("four"), (server, 53))
            data, sender = asking.recvfrom(65535)
            assert (Reply(data).values(A), sender) == (["10.96.0.4"], (server, 53))


@programs_only
def test_while_no_agent_listens_the_server_that_was_asked_answers(town):
    """Fault: kill -9. Names of the world still resolve, from the server itself; a new agent captures again."""
    client = town.pods["client"]
    assert ask(client, "web").values(A) == ["10.96.0.1"]
    town.a.agent.kill()
    assert ask(client, "real.example.org", server=town.a.v4).values(A) == ["203.0.113.7"]
    reply, sender = ask_unconnected(client, town.a.v4, "real.example.org")
    assert (reply.values(A), sender) == (["203.0.113.7"], (town.a.v4, 53))
    assert ask(client, "web", server=town.a.v4).code == NXDOMAIN
    town.a.agent.start()
    assert ask(client, "web").values(A) == ["10.96.0.1"]
    drops = {row["name"]: row["value"] for row in counters(town.a.agent)}
    assert drops["dns_passed"] == 3 and drops["dns_steered"] >= 2


def counters(agent):
    [pod] = agent.ctl("drops")
    return pod["counters"]


@programs_only
def test_other_ports_loopback_and_excluded_servers_are_left_alone(town):
    client = town.pods["client"]
    echo = client.netns.socket(kind=socket.SOCK_DGRAM)
    with contextlib.closing(echo), contextlib.closing(client.netns.socket(kind=socket.SOCK_DGRAM)) as asking:
        echo.bind(("127.0.0.1", 53))
        echo.settimeout(scaled(8))
        asking.sendto(b"not for the agent", ("127.0.0.1", 53))
        assert echo.recvfrom(100)[0] == b"not for the agent"
    client.cni_delete(with_netns=True)
    town.a.agent.extra_config["capture"] = {"exclude_cidrs": {"outbound": [f"{town.a.v4}/32"]}}
    town.reload()
    client.cni_add()
    assert ask(client, "web", server=town.a.v4).code == NXDOMAIN, "an excluded server answers itself"
    assert ask(client, "web").values(A) == ["10.96.0.1"]


@programs_only
def test_without_the_option_no_hook_sees_datagrams(town):
    town.a.agent.stop()
    town.a.agent.extra_config = {"dns": {"capture": False}}
    town.a.agent.start()
    client = town.pods["client"]
    assert 15053 not in client.netns.listeners()
    assert ask(client, "web", server=town.a.v4).code == NXDOMAIN
    assert not [pin.name for pin in (town.a.pin_dir / "links").iterdir() if "msg" in pin.name]
