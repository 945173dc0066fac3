# SPDX-License-Identifier: Apache-2.0
"""A stock istio-cni's socket and rules: Culvert where ztunnel was. Node a's pods come from a scripted istio-cni, node b's from culvert-cni."""

import concurrent.futures
import contextlib
import resource
import socket

import pytest
from culvert_harness import CniError, programs, run, scaled, wait_for, zds
from culvert_harness.agent import READINESS_PORT

SECRET = b"the-payload-nobody-on-the-link-may-read"


@pytest.fixture
def cni(world):
    """istio-cni of node a; its agent is told where."""
    world.a.directory.mkdir(parents=True, exist_ok=True)
    world.a.agent.extra_config = {"zds": {"socket": str(world.a.directory / "zds.sock")}}
    with zds.IstioCni(world.a.directory / "zds.sock") as made:
        yield made


def pod_with_rules(world, name):
    pod = world.add(name, chain="plain")
    zds.capture(pod)
    return pod


@pytest.fixture
def town(world, cni):
    """client on node a by istio-cni's rules, server on node b by Culvert's programs, both served. (world, cni, peer)"""
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.a.agent.start(wait=False)
    world.b.agent.start()
    client = pod_with_rules(world, "client")
    world.add("server")
    peer = cni.accept()
    peer.add(client)
    peer.ask(zds.SNAPSHOT)
    world.a.agent.wait_ready()
    return world, cni, peer


def pending(agent) -> str:
    return agent.http(READINESS_PORT, "/healthz/ready")[1]


def reaches(pod, host, port, *, timeout=3.0) -> bool:
    """Whether an echo comes back."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(pod.netns.socket(family)) as connection:
        connection.settimeout(scaled(timeout))
        try:
            connection.connect((host, port))
            connection.sendall(b"hello")
            return connection.recv(100).startswith(b"hello")
        except OSError:
            return False


def test_a_pod_of_istio_cni_reaches_a_pod_of_culvert_through_a_tunnel_and_is_seen_with_its_own_address(town):
    world, _, peer = town
    client, server = world.pods["client"], world.pods["server"]
    assert peer.hello == b"\x08\x01"
    programs.nginx(server, {"index.html": SECRET})
    link = world.capture()
    assert programs.curl(client, f"http://{server.v4}/peer").stdout.strip() == client.v4
    assert programs.curl(client, f"http://[{server.v6}]/peer").stdout.strip() == client.v6
    assert programs.curl(client, f"http://{server.v4}/").stdout.encode() == SECRET
    link.stop()
    link.assert_only_tunnels()
    assert not link.contains(SECRET)
    [pod] = world.a.agent.ctl("pods")
    assert pod["identity"] == client.identity


def test_a_pod_of_istio_cni_is_reached_through_a_tunnel_and_sees_the_clients_own_address(town):
    world, _, _ = town
    client, server = world.pods["client"], world.pods["server"]
    programs.nginx(client, {"index.html": SECRET})
    link = world.capture()
    assert programs.curl(server, f"http://{client.v4}/peer").stdout.strip() == server.v4
    assert programs.curl(server, f"http://[{client.v6}]/peer").stdout.strip() == server.v6
    assert programs.curl(server, f"http://{client.v4}/").stdout.encode() == SECRET
    link.stop()
    link.assert_only_tunnels()
    world.a.agent.access_log(f'src.identity="{server.identity}"')


def test_without_a_bpffs_the_agent_serves_istio_cnis_pods_and_no_others(world, cni):
    world.a.agent.extra_config["bpf"] = {"pin_dir": str(world.directory / "no-bpffs")}
    world.declare("client", "a", namespace="shop")
    world.declare("other", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.a.agent.start(wait=False)
    world.b.agent.start()
    client = pod_with_rules(world, "client")
    peer = cni.accept()
    peer.add(client)
    peer.ask(zds.SNAPSHOT)
    world.a.agent.wait_ready()
    server = world.add("server")
    programs.echo_server(server)
    assert reaches(client, server.v4, 7002)
    assert reaches(client, server.v6, 7002)
    with pytest.raises(CniError, match="without capture programs"):
        world.add("other")
    assert world.a.agent.is_ready()


def test_hbone_carries_it_too(world, cni):
    world.tunnel = {"offer": ["hbone"]}
    world.declare("client", "a", namespace="shop")
    world.declare("server", "b", namespace="shop")
    world.a.agent.start(wait=False)
    world.b.agent.start()
    client = pod_with_rules(world, "client")
    server = world.add("server")
    peer = cni.accept()
    peer.add(client)
    peer.ask(zds.SNAPSHOT)
    for one, other in ((client, server), (server, client)):
        programs.nginx(other, {"index.html": SECRET})
        assert programs.curl(one, f"http://{other.v4}/peer").stdout.strip() == one.v4
        assert programs.curl(one, f"http://[{other.v6}]/").stdout.encode() == SECRET


def test_two_pods_of_istio_cni_on_one_node_talk_through_their_agent(town):
    world, _, peer = town
    world.declare("other", "a", namespace="shop")
    world.reload()
    other = pod_with_rules(world, "other")
    peer.add(other)
    programs.nginx(other, {"index.html": SECRET})
    client = world.pods["client"]
    assert programs.curl(client, f"http://{other.v4}/peer").stdout.strip() == client.v4
    world.a.agent.access_log(f'src.identity="{client.identity}"')


def test_plaintext_from_outside_reaches_the_application_with_its_address_and_probes_pass_by_the_agent(town):
    world, _, _ = town
    client = world.pods["client"]
    world.declare("stranger", "b", namespace="plain", protocol="TCP")
    stranger = world.add("stranger", chain="plain")
    programs.nginx(client, {"index.html": b"x"})
    for host, own in ((client.v4, stranger.v4), (f"[{client.v6}]", stranger.v6)):
        assert programs.curl(stranger, f"http://{host}/peer").stdout.strip() == own
    assert len(world.a.agent.access_log(count=2)) == 2, "both plaintext lines"
    # As the host's SNAT rule makes a kubelet's probe look.
    node = world.a.netns
    node.run(["ip", "addr", "add", f"{zds.PROBE_V4}/32", "dev", "lo"])
    done = node.run(["curl", "-sS", "--interface", zds.PROBE_V4, f"http://{client.v4}/peer"])
    assert done.stdout.strip() == zds.PROBE_V4
    assert len(world.a.agent.access_log_so_far()) == 2


def test_strict_refuses_plaintext_that_came_by_the_rules(world, cni):
    world.mesh = {"peer_authentication": "STRICT"}
    world.declare("client", "a", namespace="shop")
    world.declare("stranger", "b", namespace="plain", protocol="TCP")
    world.a.agent.start(wait=False)
    client = pod_with_rules(world, "client")
    peer = cni.accept()
    peer.add(client)
    peer.ask(zds.SNAPSHOT)
    stranger = world.add("stranger", chain="plain")
    programs.echo_server(client)
    assert not reaches(stranger, client.v4, 7002)
    assert reaches(client, client.v4, 7002)  # its own address is not captured


@pytest.mark.parametrize("port", [15001, 15006, 15008, 15053, 15080])
def test_connections_to_the_agents_own_ports_come_to_nothing_and_start_no_loop(town, port):
    world, _, _ = town
    client, server = world.pods["client"], world.pods["server"]
    world.declare("stranger", "b", namespace="plain", protocol="TCP")
    stranger = world.add("stranger", chain="plain")
    for source, host in ((client, client.v4), (client, "127.0.0.1"), (client, client.v6), (client, "::1"), (client, world.a.v4),
                         (client, server.v4), (stranger, client.v4), (stranger, client.v6)):
        assert not reaches(source, host, port), f"{source.name} to {host}:{port}"
    wait_for(lambda: not world.a.agent.ctl("connections"), "everything to have ended")
    assert len(world.a.agent.access_log_so_far()) < 40  # no connection begets another
    programs.echo_server(server)
    assert reaches(client, server.v4, 7002)


def test_deleting_a_pod_cuts_its_connections_and_closes_its_listeners(town):
    world, _, peer = town
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    with contextlib.closing(client.netns.socket()) as connection:
        connection.settimeout(scaled(5))
        connection.connect((server.v4, 7002))
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        peer.ask(zds.delete_message(zds.uid_of(client)))
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    wait_for(lambda: not client.netns.listeners() & {15001, 15006, 15008}, "the listeners to go")
    peer.ask(zds.delete_message("unknown"))
    assert world.a.agent.ctl("pods") == []
    assert world.a.agent.metric("workload_manager_proxies_stopped_total") == 1


def test_the_same_pod_in_another_namespace_replaces_the_old_one_and_the_same_again_changes_nothing(town):
    world, _, peer = town
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    peer.add(client)
    assert world.a.agent.metric("workload_manager_proxies_started_total") == 1
    world.declare("second", "a", namespace="shop", service_account="client")
    world.reload()
    second = pod_with_rules(world, "second")
    peer.add(second, uid=zds.uid_of(client))
    assert world.a.agent.metric("workload_manager_proxies_started_total") == 2
    assert reaches(second, server.v4, 7002)
    wait_for(lambda: not client.netns.listeners() & {15001, 15006, 15008}, "the old listeners to go")


def test_a_pod_that_cannot_be_served_is_refused_with_the_reason_and_tried_again(town):
    world, _, peer = town
    world.declare("late", "a", namespace="shop")
    late = pod_with_rules(world, "late")
    blocker = late.netns.socket()
    blocker.bind(("0.0.0.0", 15001))
    blocker.listen()
    with pytest.raises(zds.Refused, match="15001"):
        peer.add(late)
    assert "workload proxy manager" in pending(world.a.agent)
    assert world.a.agent.metric("workload_manager_pending_proxy_count") == 1
    blocker.close()
    wait_for(world.a.agent.is_ready, "the pod to be served after all", 12)
    assert {15001, 15006, 15008} <= late.netns.listeners()


def test_an_add_whose_descriptor_finds_no_room_is_refused_and_comes_again(town):
    """Fault: no descriptor left in the agent. The kernel then delivers the message without the namespace."""
    world, cni, peer = town
    agent, client = world.a.agent, world.pods["client"]
    world.declare("late", "a", namespace="shop")
    late = pod_with_rules(world, "late")
    before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (3, before[1]))  # below what it has open: it gets no further one
    try:
        with pytest.raises(zds.Refused, match="limits.open_files"):
            peer.add(late)
    finally:
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
    again = cni.accept()
    for pod in (client, late):
        again.add(pod)
    again.ask(zds.SNAPSHOT)
    agent.wait_ready()
    assert {15001, 15006, 15008} <= late.netns.listeners()


def test_readiness_does_not_wait_for_a_sandbox_that_has_no_network(town):
    """istio-cni names a sandbox until its pod has another, even when the runtime has taken its network away."""
    world, _, peer = town
    world.declare("late", "a", namespace="shop")
    late = world.make_pod("late", chain="plain")
    with pytest.raises(zds.Refused, match="no network device but lo"):
        peer.add(late)
    assert world.a.agent.metric("workload_manager_pending_proxy_count") == 1
    assert world.a.agent.is_ready()
    late.cni_add()
    zds.capture(late)
    wait_for(lambda: {15001, 15006, 15008} <= late.netns.listeners(), "the pod to be served", 12)
    assert world.a.agent.metric("workload_manager_pending_proxy_count") == 0


def test_a_lost_istio_cni_leaves_pods_as_they_are_and_the_next_ones_snapshot_settles_who_stays(town):
    world, cni, peer = town
    client, server = world.pods["client"], world.pods["server"]
    world.declare("other", "a", namespace="shop")
    other = pod_with_rules(world, "other")
    peer.add(other)
    programs.echo_server(server)
    cni.close()
    peer.connection.close()
    wait_for(lambda: "workload proxy manager" in pending(world.a.agent), "readiness to go")
    assert reaches(client, server.v4, 7002)
    cni.listen()
    again = cni.accept()
    again.ask(zds.keep_message(zds.uid_of(client)))
    again.ask(zds.keep_message("never-seen"))
    again.ask(zds.SNAPSHOT)
    wait_for(world.a.agent.is_ready, "readiness")
    assert [pod["id"] for pod in world.a.agent.ctl("pods") if pod["state"] == "joined"] == [zds.uid_of(client)]
    assert reaches(client, server.v4, 7002)
    wait_for(lambda: not other.netns.listeners() & {15001, 15006, 15008}, "what was not named to go")


def test_a_restarted_agent_serves_what_istio_cni_names_and_remembers_nothing(town):
    world, cni, peer = town
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    world.a.agent.kill()
    assert peer.is_closed()
    world.a.agent.start(wait=False)
    again = cni.accept()
    assert world.a.agent.ctl("pods") == []
    again.add(client)
    again.ask(zds.SNAPSHOT)
    world.a.agent.wait_ready()
    assert reaches(client, server.v4, 7002)


def test_an_agent_that_takes_over_shares_the_ports_and_no_connection_is_refused(town):
    world, cni, _ = town
    client, server = world.pods["client"], world.pods["server"]
    programs.echo_server(server)
    old = world.a.agent
    # The next version as a DaemonSet's surge starts it: same pods, same node, files of its own.
    next_dir = world.a.directory / "next"
    new = type(old)(world.a)
    new.extra_config = {"zds": old.extra_config["zds"], "run_dir": str(next_dir / "run"), "state_dir": str(next_dir / "state"),
                        "bpf": {"pin_dir": f"{world.a.pin_dir}next"}, "admin": {"metrics": "off", "readiness": "off"}}
    new.starts = 100
    next_dir.mkdir()
    (next_dir / "run").mkdir()
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        is_over = False

        def connect_again_and_again():
            while not is_over:
                outcomes.append(reaches(client, server.v4, 7002))

        load = [pool.submit(connect_again_and_again) for _ in range(4)]
        try:
            new.start(wait=False)
            peer = cni.accept()
            peer.add(client)
            peer.ask(zds.SNAPSHOT)
            before = len(outcomes)
            wait_for(lambda: len(outcomes) > before + 200, "connections with both agents there")
            assert old.stop() == 0
            before = len(outcomes)
            wait_for(lambda: len(outcomes) > before + 200, "connections with the new agent alone")
        finally:
            is_over = True
            for one in load:
                one.result()
            new.kill()
    assert all(outcomes), f"{outcomes.count(False)} of {len(outcomes)} failed"


def break_with(world, peer, *, message=b"", descriptors=0):
    with contextlib.ExitStack() as stack:
        fds = [stack.enter_context(zds.netns_fd(world.pods["client"])) for _ in range(descriptors)]
        peer.send(message, fds)
    assert peer.is_closed()
    assert world.a.agent.daemon.wait(scaled(10)) == 1
    assert "does not speak the protocol" in world.a.agent.log()


ADD = zds.add_message("uid", "n", "ns", "sa")


@pytest.mark.parametrize(("message", "descriptors"), [
    (b"\xff\xff\xff", 0), (ADD, 0), (ADD, 2), (zds.field(1, zds.field(1, b"uid")), 1), (zds.keep_message("uid"), 0), (zds.SNAPSHOT, 0),
    (zds.delete_message("uid"), 1), (zds.field(9, b""), 0), (ADD + b"\x00" * 5000, 1)],
    ids=["garbage", "add without namespace", "add with two", "add without who", "keep after the snapshot", "second snapshot",
         "delete with a descriptor", "unknown message", "too long"])
def test_what_breaks_the_protocol_ends_the_agent(town, message, descriptors):
    world, _, peer = town
    break_with(world, peer, message=message, descriptors=descriptors)


def test_what_is_no_pods_namespace_is_refused_and_breaks_nothing(town):
    world, _, peer = town
    with open("/dev/null", "rb") as null, pytest.raises(zds.Refused):
        peer.ask(ADD, [null.fileno()])
    with open(world.a.netns.path, "rb") as node, pytest.raises(zds.Refused, match="node's own"):
        peer.ask(zds.add_message("uid2", "n", "ns", "sa"), [node.fileno()])
    with pytest.raises(zds.Refused):
        with zds.netns_fd(world.pods["client"]) as fd:
            peer.ask(zds.add_message("../../etc", "n", "ns", "sa"), [fd])
    peer.ask(zds.delete_message("uid"))
    peer.ask(zds.delete_message("uid2"))
    peer.ask(zds.delete_message("../../etc"))
    wait_for(world.a.agent.is_ready, "readiness")
    assert run.SLOW or world.a.agent.is_running()
