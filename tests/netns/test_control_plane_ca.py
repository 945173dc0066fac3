# SPDX-License-Identifier: Apache-2.0
"""A CA that fails, lies or hangs (culvert_harness.scripted_ca), and what is promised then: nothing of a wrong answer is used, `culvertctl
certificates` says what was wrong, the identity is asked for again with growing pauses, others notice nothing, and it mends by itself."""

import contextlib
import datetime
import time

import grpc
import pytest
from culvert_harness import control_plane, programs, scaled, scripted_ca, wait_for
from culvert_harness.traffic import Traffic, connect, echoes, talks

SECRET = b"clear-text-that-must-never-leave"
# What the CA does, and what the state of the identity says of it.
FAULTS = {
    "refuses": (scripted_ca.refuses, "refused: no pod with"),
    "issues another identity": (scripted_ca.wrong_identity, "issued a certificate for spiffe://cluster.local/ns/kube-system/sa/admin, asked for was"),
    "issues for another key": (scripted_ca.other_key, "with another key than the request's"),
    "issues what has expired": (scripted_ca.expired, "has expired already"),
    "issues what is not valid yet": (scripted_ca.not_yet_valid, "is not valid yet"),
    "answers with garbage": (scripted_ca.garbage, "CA's certificate chain"),
    "issues two identities in one": (scripted_ca.two_names, "more than one URI name"),
    "sends the root of another CA": (scripted_ca.other_root, "does not lead to the roots"),
    "answers with nothing": (scripted_ca.empty, "0 entries"),
}


@pytest.fixture
def plane(world):
    with control_plane.ControlPlane(world, has_ca=True) as made:
        yield made


@pytest.fixture
def town(plane):
    """`client` and, once a test adds it, `late` on node a; `server` with an echo server on node b; all certificates by the scripted CA."""
    world = plane.world
    plane.add(world.declare("client", "a", namespace="shop"), world.declare("server", "b", namespace="shop"))
    world.declare("late", "a", namespace="shop")
    world.start_agents()
    world.add("client")
    programs.echo_server(world.add("server"))
    wait_for(lambda: talks(world.pods["client"], world.pods["server"].v4), "the first connection")
    return plane


def state(agent, identity: str) -> str:
    return next((row["state"] for row in agent.ctl("certificates") if row["identity"] == identity), "none")


def serial(agent, identity: str) -> str:
    return next(row["serial"] for row in agent.ctl("certificates") if row["identity"] == identity)


def test_certificates_come_from_the_control_plane_and_before_their_pods(town):
    """No fault: each identity of the node is asked for once, with token and cluster, when it is named; nobody makes keys of a CA here."""
    world = town.world
    late = world.workloads["late"]
    assert [call.token for call in town.ca.calls_for(world.workloads["client"].identity)] == [control_plane.TOKEN]
    assert all(call.cluster == "Kubernetes" for call in town.ca.calls)
    town.add(late)
    wait_for(lambda: state(world.a.agent, late.identity) == "available", "the certificate of a pod that is expected")
    assert state(world.b.agent, late.identity) == "none", "another node asked for it"
    assert talks(world.add("late"), world.pods["server"].v4)
    assert len(town.ca.calls_for(late.identity)) == 1
    assert not (world.directory / "ca").exists(), "the built-in CA was made although nobody needs it"
    wait_for(lambda: world.a.agent.ctl("connections") == [], "its connection to end: a pod leaves with its last")
    town.set(removed=["Kubernetes//Pod/shop/late"])
    world.pods["late"].cni_delete()
    wait_for(lambda: state(world.a.agent, late.identity) == "none", "the certificate to be forgotten")


@pytest.mark.parametrize("what", FAULTS)
def test_a_ca_that(town, what):
    """Fault: see the table. No connection of that identity, none in clear text either, until the CA is right again."""
    fault, text = FAULTS[what]
    world = town.world
    server, late = world.pods["server"], world.workloads["late"]
    town.ca.faults[late.identity] = fault
    capture = world.capture()
    with Traffic(world.pods["client"], server.v4, pause_s=0.02) as traffic:
        town.add(late)
        pod = world.add("late")
        row = wait_for(lambda: (s := state(world.a.agent, late.identity)).startswith("unavailable: ") and s, "the state to say it")
        assert text in row, row
        with contextlib.closing(connect(pod, server.v4)) as waiting:
            waiting.sendall(SECRET)
            began = time.monotonic()
            wait_for(lambda: len(town.ca.calls_for(late.identity)) >= 3, "further attempts", 10)
            calls = [call.at for call in town.ca.calls_for(late.identity)]
            assert calls[1] - calls[0] > 0.35 and calls[2] - calls[1] > 0.75, "half a second, then one, each a fifth more or less"
            if fault not in (scripted_ca.expired, scripted_ca.not_yet_valid):  # these say the times, which differ
                assert world.a.agent.log().count(f"no new certificate for {late.identity}") == 1, "one reason, one line"
            del town.ca.faults[late.identity]
            wait_for(lambda: state(world.a.agent, late.identity) == "available", "the certificate", 5 - (time.monotonic() - began) + 5)
        assert talks(pod, server.v4)
    traffic.assert_undisturbed()
    capture.stop()
    assert not capture.contains(SECRET)
    capture.assert_only_tunnels(pod.v4)


def test_a_ca_that_hangs_is_given_ten_seconds_and_holds_up_nobody_else(town):
    """Fault: no answer. Another new identity is served meanwhile; the one that hangs is asked for again after its time."""
    world = town.world
    late, next_one = world.workloads["late"], world.declare("next", "a", namespace="shop")
    town.ca.faults[late.identity] = scripted_ca.hangs
    town.add(late)
    wait_for(lambda: town.ca.calls_for(late.identity), "the call that hangs")
    assert state(world.a.agent, late.identity) == "initializing"
    town.add(next_one)
    assert talks(world.add("next"), world.pods["server"].v4)
    row = wait_for(lambda: (s := state(world.a.agent, late.identity)).startswith("unavailable: ") and s, "the time to be up", 12)
    assert "did not answer within 10000 ms" in row
    del town.ca.faults[late.identity]
    wait_for(lambda: state(world.a.agent, late.identity) == "available", "the certificate", 5)


def test_connections_of_a_new_pod_wait_for_its_certificate(town):
    """Fault: a CA that takes a second. The pod's first connection is made then; it does not fail before."""
    world = town.world
    late = world.workloads["late"]

    def slow(ca, call):
        time.sleep(1)
        return scripted_ca.right(ca, call)

    town.ca.faults[late.identity] = slow
    pod = world.add("late")  # before the control plane names it
    assert state(world.a.agent, late.identity) == "initializing"
    assert talks(pod, world.pods["server"].v4)


def test_while_renewal_fails_the_old_certificate_serves_to_its_end(town):
    """Fault: the CA refuses renewals of a short certificate. It serves until it expires; then no tunnel can be made, and those that are there
    stay; then it mends."""
    world = town.world
    agent, server, late = world.a.agent, world.pods["server"], world.workloads["late"]
    town.ca.lifetime = datetime.timedelta(seconds=8)
    town.add(late)
    pod = world.add("late")
    wait_for(lambda: state(agent, late.identity) == "available", "the certificate")
    ends = time.monotonic() + 8
    town.ca.fault = scripted_ca.refuses
    with contextlib.closing(connect(pod, server.v4)) as live:
        assert echoes(live)
        wait_for(lambda: len(town.ca.calls_for(late.identity)) >= 2, "renewal to be refused", 6)
        assert state(agent, late.identity) == "available" and talks(pod, server.v4)
        wait_for(lambda: state(agent, late.identity).startswith("unavailable: "), "it to expire", ends - time.monotonic() + 2)
        assert not talks(pod, server.v6), "another address needs another tunnel"
        assert echoes(live), "a live connection was touched"
        assert talks(world.pods["client"], server.v4), "another identity was touched"
        town.ca.fault, town.ca.lifetime = None, scripted_ca.HOUR
        wait_for(lambda: state(agent, late.identity) == "available", "the certificate", 6)
        assert talks(pod, server.v6) and echoes(live)


def test_certificates_are_renewed_at_half_their_life_under_traffic(town):
    """No fault: four renewals of a certificate of four seconds, and no connection, live or new, notices."""
    world = town.world
    agent, late = world.a.agent, world.workloads["late"]
    town.ca.lifetime = datetime.timedelta(seconds=4)
    town.add(late)
    pod = world.add("late")
    with Traffic(pod, world.pods["server"].v4) as traffic:
        wait_for(lambda: len(town.ca.calls_for(late.identity)) >= 5, "renewals", 15)
        assert serial(agent, late.identity)
    traffic.assert_undisturbed()
    calls = [call.at for call in town.ca.calls_for(late.identity)]
    assert all(1.2 < after - before < scaled(3) for before, after in zip(calls, calls[1:])), calls


def test_a_ca_that_nobody_reaches_and_a_token_that_it_refuses(town):
    """Fault: connection refused; then a token that has expired. Each is said; the rotated token is read for the next call."""
    world = town.world
    agent, late = world.a.agent, world.workloads["late"]
    town.wires["a"].refuse()
    town.wires["a"].cut()
    pod = world.add("late")
    wait_for(lambda: "unavailable: cannot reach the CA at https://127.0.0.1:15012" in state(agent, late.identity), "the state to say it")
    assert talks(world.pods["client"], world.pods["server"].v4)
    town.tokens = {"rotated"}
    town.wires["a"].accept()
    wait_for(lambda: "refused: the token is not valid" in state(agent, late.identity), "the state to say it", 15)
    town.write_secret("a", "token", "rotated")
    wait_for(lambda: state(agent, late.identity) == "available", "the certificate", 15)
    assert town.ca.calls_for(late.identity)[-1].token == "rotated"
    town.write_secret("b", "token", "rotated")
    town.add(late)
    wait_for(lambda: talks(pod, world.pods["server"].v4), "the pod to be served", 20)
    assert "rotated" not in agent.log() and control_plane.TOKEN not in agent.log()


def test_roots_that_rotate_are_read_again_for_the_next_call(town):
    """Fault: the CA comes back with a certificate of a new root, and the file has that root a moment later."""
    world = town.world
    agent, late = world.a.agent, world.workloads["late"]
    town.stop()
    town.rotate(tell=False)
    town.restart()
    world.add("late")
    wait_for(lambda: state(agent, late.identity).startswith("unavailable: cannot reach the CA"), "the impostor to be refused")
    assert town.ca.calls_for(late.identity) == []
    town.tell_roots()
    wait_for(lambda: state(agent, late.identity) == "available", "the certificate", 10)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED], ids=lambda code: code.name)
def test_an_error_of_the_ca_is_said_and_tried_again(town, code):
    world = town.world
    late = world.workloads["late"]

    def fails(_ca, _call):
        raise scripted_ca.Refused(code, "not today\r\n\x1b[31m")

    town.ca.faults[late.identity] = fails
    town.add(late)
    row = wait_for(lambda: (s := state(world.a.agent, late.identity)).startswith("unavailable: ") and s, "the state to say it")
    assert "not today" in row and "\x1b" not in row and "\n" not in row, row
    del town.ca.faults[late.identity]
    wait_for(lambda: state(world.a.agent, late.identity) == "available", "the certificate", 6)


def test_many_identities_at_once_and_a_ca_whose_certificate_has_the_alternative_name_alone(world):
    """CA_ADDRESS is an address, which the certificate does not say. Requests that are under way together turn to the other name once."""
    name = "istiod.elsewhere.example"
    with control_plane.ControlPlane(world, has_ca=True, names=[name]) as plane:
        plane.add(*(world.declare(f"one{number}", "a", namespace="shop") for number in range(16)))
        agent = world.a.agent
        agent.environment |= {"ALT_CA_HOSTNAME": name, "ALT_XDS_HOSTNAME": name}
        agent.start()
        wait_for(lambda: [row["state"] for row in agent.ctl("certificates")] == ["available"] * 16, "all certificates", 20)
        assert "no new certificate" not in agent.log()
        assert sorted(call.identity for call in plane.ca.calls) == sorted(one.identity for one in world.workloads.values()), "once each"
        assert plane.wires["a"].accepted <= 12, "handshakes of both services, each with both names, and a few more"
