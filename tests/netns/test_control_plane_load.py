# SPDX-License-Identifier: Apache-2.0
"""A control plane that changes its mind all the time, under traffic: policies that flip a thousand times a minute, and a large mesh in churn."""

import contextlib
import ipaddress
import threading
import time

from culvert_harness import Authority, h2peer, proto, tls13, wait_for
from culvert_harness.traffic import Traffic, connect, echoes, talks

FLIPS_PER_S = 20  # a thousand a minute is 16.7
CLOSED_WITHIN_S = 1.0


class Flipping:
    """While the block runs: a policy about accounts that nobody here has comes, changes and goes, so that all live connections are judged again."""

    def __init__(self, plane):
        self.plane, self.flips = plane, 0
        self._stop = threading.Event()

    def __enter__(self) -> "Flipping":
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc) -> None:
        self._stop.set()
        self._thread.join()

    def rate(self) -> float:
        return self.flips / (time.monotonic() - self._began)

    def _run(self) -> None:
        while not self._stop.wait(max(0.0, self._began + self.flips / FLIPS_PER_S - time.monotonic())):
            if self.flips % 3 == 2:
                self.plane.set(removed=["shop/flicker"])
            else:
                self.plane.set(proto.deny("flicker", "shop", "nobody", f"somebody-{self.flips}"))
            self.flips += 1


def ended_within(connections, seconds: float) -> float:
    """The time until the last of these has ended; each must, in time."""
    began = time.monotonic()
    for connection in connections:
        connection.settimeout(max(0.001, began + seconds - time.monotonic()))
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b"", "a byte on a connection that is denied"
    return time.monotonic() - began


def test_policies_that_flip_a_thousand_times_a_minute(town):
    """Fault: 20 changes a second for 15 s. Whom a policy denies is closed within one second, each time, and gets 401 for a CONNECT; whom it
    allows is never touched; memory stays."""
    world = town.world
    agent, server = world.b.agent, world.pods["server"]
    for name in ("other", "peer"):
        town.add(world.declare(name, "a", namespace="shop"))
    other, peer = world.add("other"), world.add("peer", chain="plain")  # `peer` is played here, with a certificate of its own
    context = tls13.Context(Authority.of(world).credentials(peer.identity))
    target = f"{server.v4}:7002"
    wait_for(lambda: talks(other, server.v4), "the first connection")
    before, rounds, took = 0, 0, []
    with Traffic(world.pods["client"], server.v4) as traffic, Flipping(town) as flipping, h2peer.Link.dial(peer, server.v4, context) as link:
        while flipping.flips < 15 * FLIPS_PER_S:
            with contextlib.ExitStack() as stack:
                wait_for(lambda: talks(other, server.v4), "the policy to be gone")
                denied = [stack.enter_context(contextlib.closing(connect(other, server.v4))) for _ in range(5)]
                assert all(echoes(connection) for connection in denied)
                stream = wait_for(lambda: (s := link.open(target)).status == 200 and s, "CONNECT to be answered with 200 again")
                town.set(proto.deny("no-other", "shop", "other", "peer"))
                took.append(ended_within(denied, CLOSED_WITHIN_S))
                link.until(lambda s=stream: s.code is not None or s.is_ended, max(0.001, CLOSED_WITHIN_S - took[-1]))
                assert link.open(target).status == 401
                assert not talks(other, server.v4)
                town.set(removed=["shop/no-other"])
                rounds += 1
            if before == 0 and flipping.flips >= 5 * FLIPS_PER_S:
                before = agent.rss_kib()  # by now every page and table that this takes has been touched
        assert flipping.rate() > 1000 / 60
        # The policy itself, as fast: what counts in the end is the last word.
        for flip in range(2 * FLIPS_PER_S + 1):
            if flip % 2 == 1:
                town.set(removed=["shop/no-other"])
            else:
                town.set(proto.deny("no-other", "shop", "other", "peer"))
            time.sleep(1 / FLIPS_PER_S)
        wait_for(lambda: not talks(other, server.v4), "the last word to be in force", CLOSED_WITHIN_S)
        assert link.open(target).status == 401
    traffic.assert_undisturbed(rounds=100)
    assert rounds >= 5, rounds
    assert not [request.error for request in town.requests if request.error]
    assert any("connection closed due to policy change: explicitly denied by: shop/no-other" in line for line in agent.access_log())
    wait_for(lambda: agent.rss_kib() < before + (4 << 10), f"memory to be near {before} KiB; now {agent.rss_kib()}", 10, interval=0.2)


# A large mesh.
SERVICES, ENDPOINTS_EACH = 20_000, 5
CHANGES_PER_S, BATCH, CHURN_S = 500, 50, 20
PUSH = 20_000  # resources a response


def host(i: int) -> str:
    return f"svc-{i}.big.svc.cluster.local"


def endpoint(i: int, generation: int):
    address = str(ipaddress.ip_address(0x0B000000 + i + generation * 131_072))
    return proto.workload(f"pod-{i}", "big", f"node-{i % 200}", [address], service_account=f"sa-{i % 50}",
                          services={f"big/{host(i // ENDPOINTS_EACH)}": {}})


def test_a_large_mesh_in_churn(town):
    """Fault: 20,000 services with 100,000 endpoints, 500 changes a second for 20 s: endpoints go and come back elsewhere, services change their
    ports. Traffic notices nothing, every change is taken, and the agent is no larger than before: 10 % and 8 MiB at most."""
    world = town.world
    agent, m = world.a.agent, proto.messages()
    versions = iter(range(1, 1 << 30))

    def push(said: list, removed=()) -> str:
        message = m.DeltaDiscoveryResponse(type_url=proto.ADDRESS, removed_resources=removed)
        for one in said:
            town.resource(message, proto.name_of(one)[1], one.SerializeToString(), str(next(versions)))
        return town.send(message, node="node-a")

    def taken(nonce: str, timeout: float) -> None:
        answer = wait_for(lambda: town.of(nonce), f"the answer to {nonce}", timeout)
        assert answer.error == "", answer.error

    for begin in range(0, SERVICES, PUSH):
        push([proto.service(f"svc-{i}", "big", f"10.{128 + i // 65536}.{i // 256 % 256}.{i % 256}", {80: 8080}) for i in range(begin, begin + PUSH)])
    count = SERVICES * ENDPOINTS_EACH
    for begin in range(0, count, PUSH):
        nonce = push([endpoint(i, 0) for i in range(begin, begin + PUSH)])
    taken(nonce, 60)
    with Traffic(world.pods["client"], world.pods["server"].v4, pause_s=0.01) as traffic:
        # Two seconds of churn first: what the first changes make room for belongs to the size before.
        began, batches, before = time.monotonic(), 0, 0
        while batches * BATCH < CHANGES_PER_S * (CHURN_S + 2):
            if batches * BATCH == CHANGES_PER_S * 2:
                before = agent.rss_kib()
            first = batches * BATCH * 7 % (count - BATCH)
            moved = [endpoint(i, 1 + batches) for i in range(first, first + BATCH // 2 - 5)]
            changed = [proto.service(f"svc-{i}", "big", f"10.{128 + i // 65536}.{i // 256 % 256}.{i % 256}", {80: 8080 + batches % 2, 443: 8443})
                       for i in range(first // ENDPOINTS_EACH, first // ENDPOINTS_EACH + 5)]
            nonce = push(moved + changed, removed=[one.workload.uid for one in moved])
            batches += 1
            time.sleep(max(0.0, began + batches * BATCH / CHANGES_PER_S - time.monotonic()))
        took = time.monotonic() - began
        taken(nonce, 10)
    traffic.assert_undisturbed(rounds=100)
    assert batches * BATCH / took > CHANGES_PER_S * 0.8, "the changes did not come as fast as was said"
    limit = before * 1.1 + (8 << 10)
    wait_for(lambda: agent.rss_kib() < limit, f"memory to be near {before} KiB; now {agent.rss_kib()}", 10, interval=0.2)
    assert agent.ctl("status")["workloads"] >= count
