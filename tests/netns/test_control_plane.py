# SPDX-License-Identifier: Apache-2.0
"""A control plane that fails, lies or stops, and what is promised then: live connections go on, new ones are made by what was last known, the
agent comes back by itself, and nothing is asked for in a loop. The control plane is scripted (culvert_harness.control_plane)."""

import time

import grpc
import pytest
from culvert_harness import control_plane, proto, scaled, wait_for
from culvert_harness.traffic import Traffic, talks

UID = "Kubernetes//Pod/shop/"


def extra(name: str = "extra", address: str = "10.2.0.99", **fields):
    return proto.workload(name, "shop", "node-b", [address], **fields)


def is_listed(agent, uid: str) -> bool:
    return uid in agent.known()


def goes_on(town) -> bool:
    """A connection works, and a change still arrives."""
    world = town.world
    name = f"sign-{len(town.requests)}"
    town.set(extra(name, "10.2.0.98"))
    wait_for(lambda: is_listed(world.a.agent, UID + name), "a change to arrive", 20)
    town.set(removed=[UID + name])
    wait_for(lambda: not is_listed(world.a.agent, UID + name), "a removal to arrive", 20)
    return talks(world.pods["client"], world.pods["server"].v4)


def test_an_agent_that_starts_while_the_control_plane_is_away_lets_nothing_out_in_clear_text(town):
    """Fault: a node restarts while istiod is down. Who is in the mesh is not known then: its pods' connections wait, and are refused after 5 s;
    what is served again is served by tunnels."""
    world = town.world
    client, server = world.pods["client"], world.pods["server"]
    wait_for(lambda: talks(client, server.v4), "a connection")
    capture = world.capture()
    town.stop()
    world.a.agent.stop()
    began = time.monotonic()
    world.a.agent.start(wait=False)
    wait_for(lambda: world.a.agent.ctl("pods"), "the pod to be adopted")
    while time.monotonic() < began + scaled(7):
        assert not talks(client, server.v4, timeout=1)
        assert not talks(client, server.v6, timeout=1)
    world.a.agent.access_log("the control plane has not yet said who is in the mesh", f"dst.addr={server.v4}:7002")
    assert not world.a.agent.is_ready()
    town.restart()
    wait_for(lambda: talks(client, server.v4), "a connection, with the control plane back", 20)
    capture.stop().assert_only_tunnels()


# What is said wrong.
def test_what_is_no_message_ends_the_stream_and_the_next_one_works(town):
    """Fault: bytes that are no protobuf. The stream is given up, with a pause; nothing of the mesh is forgotten."""
    world = town.world
    with Traffic(world.pods["client"], world.pods["server"].v4) as traffic:
        before = len(town.attempts)
        town.send(b"\xff\xff\xff\xff garbage")
        wait_for(lambda: len(town.attempts) >= before + 2, "both agents to come back", 5)
        wait_for(lambda: town.is_connected("a") and town.is_connected("b"), "both streams", 5)
        again = town.firsts(proto.ADDRESS)[-1]
        assert set(again.initial) == {UID + "client", UID + "server"}, "the stream after it said other versions"
        assert goes_on(town)
    traffic.assert_undisturbed()


def test_garbage_on_every_stream_is_no_busy_loop(town):
    """Fault: each stream begins with garbage. Pauses grow: a handful of attempts in three seconds, and the way back is found."""
    town.at_open = lambda stream: stream.outbox.put(b"\xff\xff")
    before = len(town.attempts)
    town.end_streams()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 3, "three seconds", 5, interval=0.1)
    attempts = len(town.attempts) - before
    assert 4 <= attempts <= 30, attempts  # two agents; 20 ms doubled is at 2.5 s after seven
    town.at_open = None
    wait_for(lambda: town.is_connected("a") and town.is_connected("b"), "both streams", 20)
    assert goes_on(town)


def test_streams_that_end_in_order_at_once_are_no_busy_loop(town):
    """Fault: a server that ends each stream with OK as soon as it is open, as a proxy without a backend may."""
    town.at_open = lambda stream: stream.outbox.put(None)
    before = len(town.attempts)
    town.end_streams()
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 3, "three seconds", 5, interval=0.1)
    attempts = len(town.attempts) - before
    assert 4 <= attempts <= 30, attempts
    town.at_open = None
    wait_for(lambda: town.is_connected("a") and town.is_connected("b"), "both streams", 20)
    assert goes_on(town)


def test_half_a_resource_is_refused_by_name_and_the_rest_of_the_message_is_applied(town):
    """Fault: one resource cut in the middle, between good ones. NACK with its name alone; the good ones are in force."""
    world = town.world
    whole = extra("half", "10.2.0.50").SerializeToString()
    said = town.resource(proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS), UID + "good-1", extra("good-1", "10.2.0.51").SerializeToString())
    town.resource(said, UID + "half", whole[:len(whole) // 2])
    town.resource(said, UID + "good-2", extra("good-2", "10.2.0.52").SerializeToString())
    nonce = town.send(said)
    answer = wait_for(lambda: town.of(nonce), "the answer")
    assert answer.error.startswith(UID + "half: ") and "good" not in answer.error, answer
    known = world.a.agent.known()
    assert {UID + "good-1", UID + "good-2"} <= known and UID + "half" not in known
    assert "refused of what the control plane sent" in world.a.agent.log()
    # Only what was taken is remembered: a new stream gets the rest again.
    town.end_streams()
    wait_for(lambda: len(town.firsts(proto.ADDRESS)) == 2, "the next stream")
    assert UID + "half" not in town.firsts(proto.ADDRESS)[-1].initial
    assert UID + "good-1" in town.firsts(proto.ADDRESS)[-1].initial


def test_a_bad_update_of_a_workload_leaves_the_old_one_in_force(town):
    """Fault: an address of three bytes for the server that is in use. NACK names field and size; traffic goes on with what was."""
    world = town.world
    bad = extra("server")
    bad.workload.addresses[0] = b"\x0a\x02\x00"
    with Traffic(world.pods["client"], world.pods["server"].v4) as traffic:
        said = town.resource(proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS), UID + "server", bad.SerializeToString())
        nonce = town.send(said)
        answer = wait_for(lambda: town.of(nonce), "the answer")
        assert f"{UID}server: addresses has 3 bytes" in answer.error, answer
        assert goes_on(town)
    traffic.assert_undisturbed()


def test_a_type_that_nobody_here_knows_is_acknowledged(town):
    """Fault: a response of another type, and a resource of another type in a response of ours. The first is ACKed, the second NACKed."""
    other = proto.messages().DeltaDiscoveryResponse(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster")
    nonce = town.send(town.resource(other, "outbound|80", b"\x0a\x01x"))
    answer = wait_for(lambda: town.of(nonce), "the answer")
    assert answer.error == "" and answer.type_url == other.type_url
    for _ in range(5):
        other.nonce = ""
        nonce = town.send(other)
        wait_for(lambda: town.of(nonce), "the answer")
    said = 'the control plane sent what nothing here can use: a response of type "type.googleapis.com/envoy.config.cluster.v3.Cluster"'
    assert town.world.a.agent.log().count(said) == 1, "an error, and not one for each"
    mixed = proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS)
    nonce = town.send(town.resource(mixed, "stray", b"", url=proto.AUTHORIZATION))
    answer = wait_for(lambda: town.of(nonce), "the answer")
    assert answer.error.startswith("stray: is of type type.googleapis.com/istio.security.Authorization"), answer
    assert goes_on(town)


def test_refusals_that_are_answered_with_the_same_again_are_slowed_down(town):
    """Fault: a server that answers each NACK with the same bad resource. Some are answered as they come, then five a second at most."""
    agent = town.world.a.agent
    bad = proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS)
    town.resource(bad, UID + "bad", b"\xff")
    answered = set()

    def refusals() -> list:
        return [r for r in list(town.requests) if r.error and r.node == "node-a"]

    began, cpu = time.monotonic(), agent.cpu_seconds()
    town.send(bad, node="node-a")
    while time.monotonic() - began < scaled(3):
        for refusal in refusals():
            if refusal.nonce not in answered:
                answered.add(refusal.nonce)
                again = proto.messages().DeltaDiscoveryResponse()
                again.CopyFrom(bad)
                again.nonce = ""
                town.send(again, node="node-a")
        time.sleep(0.001)
    count = len(refusals())
    assert 10 <= count <= 10 + 5 * scaled(3) + 2, count
    assert agent.cpu_seconds() - cpu < 1.0
    assert agent.log().count("refused of what the control plane sent") == 1, "one reason, one line"
    assert goes_on(town)


def test_an_update_of_fifty_mebibytes_is_taken_and_its_memory_given_back(town):
    """Fault: one response of 50 MiB. It is applied whole while traffic goes on; the agent is not left with its size."""
    world = town.world
    agent = world.a.agent
    before = agent.rss_kib()
    padding = "x" * 1900  # a name of its own each, so that none is shared
    said = proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS)
    names = []
    for i in range(25_000):
        one = extra(f"big-{i}", f"10.{64 + i // 65536}.{i // 256 % 256}.{i % 256}", canonical_revision=f"{i}{padding}")
        names.append(one.workload.uid)
        town.resource(said, one.workload.uid, one.SerializeToString())
    assert said.ByteSize() > 50 << 20
    with Traffic(world.pods["client"], world.pods["server"].v4) as traffic:
        nonce = town.send(said, node="node-a")
        answer = wait_for(lambda: town.of(nonce), "the answer", 30)
        assert answer.error == ""
        assert is_listed(agent, names[-1])
        nonce = town.send(proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS, removed_resources=names), node="node-a")
        wait_for(lambda: town.of(nonce), "the removals", 30)
        assert not is_listed(agent, names[-1])
        wait_for(lambda: agent.rss_kib() < before + (24 << 10), f"its memory back, from {before} KiB; now {agent.rss_kib()}", 15, interval=0.2)
    traffic.assert_undisturbed()


def test_the_dump_says_which_build_this_is_and_for_which_istio(plane):
    agent = plane.world.a.agent
    agent.environment["ISTIO_META_ISTIO_VERSION"] = "1.31.0-test"
    agent.start()
    version = agent.dump()["version"]
    assert version["istioVersion"] == "1.31.0-test"
    assert version["gitRevision"] == "unknown" or len(version["gitRevision"]) == 40, version


# Where nobody answers.
def test_a_control_plane_that_died_under_load_is_found_again_with_what_changed(town):
    """Fault: kill -9, changes while it is away, back after seconds. Nothing flaps, and what was removed meanwhile is removed."""
    world = town.world
    client, server = world.pods["client"], world.pods["server"]
    town.set(extra("gone", "10.2.0.60"), extra("stays", "10.2.0.61"))
    wait_for(lambda: is_listed(world.a.agent, UID + "gone") and is_listed(world.b.agent, UID + "gone"), "the extras")
    with Traffic(client, server.v4) as traffic:
        town.stop()
        town.set(extra("new", "10.2.0.62"), removed=[UID + "gone"])
        time.sleep(scaled(2))
        assert is_listed(world.a.agent, UID + "gone") and world.a.agent.is_ready()
        town.restart()
        for agent in (world.a.agent, world.b.agent):
            wait_for(lambda a=agent: not is_listed(a, UID + "gone") and is_listed(a, UID + "new") and is_listed(a, UID + "stays"), "both changes", 20)
        assert goes_on(town)
    traffic.assert_undisturbed()
    said = town.firsts(proto.ADDRESS)[-1].initial
    assert UID + "gone" in said and said[UID + "stays"] == town.known[proto.ADDRESS][UID + "stays"][0], "the new stream said what was known"


def test_refused_connections_are_tried_again_with_growing_pauses(town):
    """Fault: nobody listens. Attempts at 10 ms doubled up to 15 s; on its return the control plane is found within the pause."""
    world = town.world
    agent = world.a.agent
    wire = town.wires["a"]
    reason = {"reason": "ConnectionError"}
    before = agent.metric("istio_xds_connection_terminations_total", **reason)
    wire.refuse()
    wire.cut()
    cpu, began = agent.cpu_seconds(), time.monotonic()
    wait_for(lambda: time.monotonic() - began > 6, "six seconds", 10, interval=0.2)
    attempts = agent.metric("istio_xds_connection_terminations_total", **reason) - before
    assert 5 <= attempts <= 10, attempts  # 20, 40 … 5,120 ms: the ninth comes at ten seconds
    assert agent.cpu_seconds() - cpu < 1.5
    assert agent.log().count("no stream from the control plane") <= 3, "one line for each new reason"
    assert "cannot connect to https://127.0.0.1:15012" in agent.log()
    assert talks(world.pods["client"], world.pods["server"].v4)
    wire.accept()
    wait_for(lambda: town.is_connected("a"), "the stream", 16)
    assert goes_on(town)


def test_a_certificate_of_another_root_is_refused_until_the_file_has_its_root(town):
    """Fault: the control plane comes back with a certificate that the roots do not vouch for. No token is given to it."""
    world = town.world
    town.stop()
    town.rotate(tell=False)
    before = len(town.attempts)
    town.restart()
    wait_for(lambda: "or with a certificate that" in world.a.agent.log(), "the refusal to be logged")
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 1.5, "a moment", 5, interval=0.1)
    assert len(town.attempts) == before, "a stream was opened to an impostor"
    assert talks(world.pods["client"], world.pods["server"].v4)
    town.tell_roots()
    wait_for(lambda: town.is_connected("a") and town.is_connected("b"), "both streams, with the new root", 16)
    assert goes_on(town)


def test_a_control_plane_that_falls_silent_is_given_up_by_keepalive(town):
    """Fault: a path that eats everything. Pings every 30 s, 10 s for the answer; what is asked meanwhile does not wait for it."""
    world = town.world
    agent = world.a.agent
    with Traffic(world.pods["client"], world.pods["server"].v4, pause_s=0.05) as traffic:
        town.wires["a"].hold()
        began = time.monotonic()
        assert agent.metric("istio_xds_connection_terminations_total") == 0
        wait_for(lambda: agent.metric("istio_xds_connection_terminations_total") >= 1, "the stream to be given up", 50, interval=0.2)
        assert time.monotonic() - began < scaled(45)
        # Connecting is limited, too: five seconds, and then a pause.
        wait_for(lambda: agent.metric("istio_xds_connection_terminations_total", reason="ConnectionError") >= 1, "an attempt to be given up", 10, interval=0.2)
        town.wires["a"].cut()
        town.wires["a"].release()
        wait_for(lambda: town.is_connected("a"), "the stream", 20)
    traffic.assert_undisturbed()
    assert goes_on(town)


def test_an_agent_ends_at_once_although_its_control_plane_reads_nothing(town):
    """Fault: SIGTERM while a request of megabytes waits for a control plane that has stopped. Nothing waits for it."""
    world = town.world
    agent = world.a.agent
    said = proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS)
    for i in range(20_000):
        one = extra(f"{'n' * 100}-{i}", f"10.66.{i // 256}.{i % 256}")
        town.resource(said, one.workload.uid, one.SerializeToString())
    nonce = town.send(said, node="node-a")
    wait_for(lambda: town.of(nonce), "the answer", 20)

    # The next stream's first request has all their names.
    town.is_deaf = True
    town.end_streams()
    wait_for(lambda: len(town.deaf) >= 1 and time.monotonic() - town.deaf[0].began > 1, "the next stream, and its request to be under way")
    began = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - began < scaled(5)


# Tokens.
def test_a_token_that_is_refused_is_read_again_for_each_attempt(town):
    """Fault: expired (UNAUTHENTICATED). Pauses grow; the rotated file is used by the next attempt, without a restart."""
    world = town.world
    town.tokens = {"rotated"}
    before = len(town.attempts)
    town.end_streams(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
    wait_for(lambda: "the token is not valid (gRPC status 16)" in world.a.agent.log(), "the refusal to be logged")
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 2, "two seconds", 5, interval=0.1)
    assert 2 <= len(town.attempts) - before <= 20, town.attempts[before:]
    assert talks(world.pods["client"], world.pods["server"].v4)
    for letter in "ab":
        town.write_secret(letter, "token", "rotated\n")
    wait_for(lambda: town.is_connected("a") and town.is_connected("b"), "both streams", 16)
    assert town.attempts[-1][1] == "rotated"
    assert "rotated" not in world.a.agent.log() and control_plane.TOKEN not in world.a.agent.log(), "a token is in the log"
    assert goes_on(town)


@pytest.mark.parametrize("text", [None, "", "two\nlines", "with space"], ids=["missing", "empty", "two-lines", "blank"])
def test_a_token_that_cannot_be_sent_is_said_by_file_and_mended_by_file(plane, text):
    """Fault: no token file, an empty one, or one with characters that no header may have. Not ready, a reason that names it, no stream without one."""
    world = plane.world
    file = world.a.directory / "secrets" / "token"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    world.a.agent.start(wait=False)
    reason = "has a character that no header may have" if text in ("two\nlines", "with space") else str(file)
    wait_for(lambda: reason in world.a.agent.log(), "the reason")
    assert plane.attempts == [] and not world.a.agent.is_ready()
    plane.write_secret("a", "token", control_plane.TOKEN)
    world.a.agent.wait_ready()


# Readiness, and addresses on demand.
def test_an_agent_is_ready_once_both_types_have_come_whole(plane):
    """Fault: a control plane that accepts streams and says nothing, then something bad. Not ready until both types were taken."""
    world = plane.world
    agent = world.a.agent
    plane.is_silent = True
    agent.start(wait=False)
    wait_for(lambda: plane.firsts(proto.AUTHORIZATION), "the first requests")
    wait_for(lambda: "state manager" in agent.http(15021, "/healthz/ready")[1], "what it waits for to be said")
    bad = plane.resource(proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS), "bad", b"\xff")
    nonce = plane.send(bad)
    wait_for(lambda: plane.of(nonce), "the NACK")
    nonce = plane.send(proto.messages().DeltaDiscoveryResponse(type_url=proto.AUTHORIZATION))
    wait_for(lambda: plane.of(nonce), "the ACK")
    assert not agent.is_ready()
    nonce = plane.send(proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS))
    wait_for(lambda: plane.of(nonce), "the ACK")
    assert not agent.is_ready(), "ready without what could not be taken"
    plane.send(proto.messages().DeltaDiscoveryResponse(type_url=proto.ADDRESS, removed_resources=["bad"]))
    agent.wait_ready()
