# SPDX-License-Identifier: Apache-2.0
"""A control plane that changes its mind all the time, under traffic: policies that flip a thousand times a minute, and a large mesh in churn."""

import contextlib
import ipaddress
import time

from culvert_harness import Authority, h2peer, proto, scaled, tls13, wait_for
from culvert_harness.traffic import Traffic, connect, echoes, talks

FLIPS, FLIPS_WITHIN_S = 250, 15.0  # as fast as 1,000 in a minute
CLOSED_WITHIN_S = 1.0


def ended_within(connections, seconds: float) -> float:
    """The time until the last of these has ended; each must, in time."""
    began = time.monotonic()
    for connection in connections:
        connection.settimeout(max(0.001, began + seconds - time.monotonic()))
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b"", "a byte on a connection that is denied"
    return time.monotonic() - began


def live_connection(pod, host: str):
    """One that has carried a byte, or None."""
    connection = connect(pod, host)
    with contextlib.suppress(OSError):
        if echoes(connection):
            return connection
    connection.close()
    return None


def test_policies_that_flip_a_thousand_times_a_minute(town):
    """Fault: a policy about live connections comes and goes 250 times in 15 s, and each time counts before the next: whom it denies is closed within
    one second, and served again when it has gone. Whom it allows is never touched; memory stays."""
    world = town.world
    agent, server = world.b.agent, world.pods["server"]
    for name in ("other", "peer"):
        town.add(world.declare(name, "a", namespace="shop"))
    other, peer = world.add("other"), world.add("peer", chain="plain")  # `peer` is played here, with a certificate of its own
    context = tls13.Context(Authority.of(world).credentials(peer.identity))
    target = f"{server.v4}:7002"
    denied = wait_for(lambda: live_connection(other, server.v4), "the first connection")
    with Traffic(world.pods["client"], server.v4) as traffic, h2peer.Link.dial(peer, server.v4, context) as link:
        stream = link.open(target)
        assert stream.status == 200
        began, flips, slowest, before = time.monotonic(), 0, 0.0, 0
        while flips < FLIPS:
            town.set(proto.deny("no-other", "shop", "other", "peer"))
            with contextlib.closing(denied):
                slowest = max(slowest, ended_within([denied], CLOSED_WITHIN_S))
            if flips % 50 == 0:  # the same for a stream of a peer's, and for what it asks for then
                link.until(lambda s=stream: s.code is not None or s.is_ended, CLOSED_WITHIN_S)
                wait_for(lambda: link.open(target).status == 401, "its worker to refuse it", CLOSED_WITHIN_S, interval=0.005)
            town.set(removed=["shop/no-other"])
            denied = wait_for(lambda: live_connection(other, server.v4), "the policy to be gone", CLOSED_WITHIN_S, interval=0.005)
            flips += 2
            if flips % 50 == 0:
                stream = wait_for(lambda: (s := link.open(target)).status == 200 and s, "CONNECT to be answered with 200 again", CLOSED_WITHIN_S)
            if flips == FLIPS // 5 * 2:
                before = agent.rss_kib()  # by now every page and table that this takes has been touched
        took = time.monotonic() - began
        denied.close()
        print(f"{flips} flips in {took:.1f} s; the slowest end took {slowest * 1000:.0f} ms")
        assert took < scaled(FLIPS_WITHIN_S), f"{flips} flips took {took:.1f} s"
        # Faster than anybody looks: what counts in the end is the last word.
        for flip in range(101):
            if flip % 2 == 1:
                town.set(removed=["shop/no-other"])
            else:
                town.set(proto.deny("no-other", "shop", "other", "peer"))
        wait_for(lambda: not talks(other, server.v4) and link.open(target).status == 401, "the last word to be in force at every worker", CLOSED_WITHIN_S)
    traffic.assert_undisturbed(rounds=100)
    assert flips >= FLIPS and not [request.error for request in town.requests if request.error]
    # Each time that the policy came it closed a live connection.
    agent.access_log("connection closed due to policy change: explicitly denied by: shop/no-other", count=FLIPS // 2)
    wait_for(lambda: agent.rss_kib() < before + (4 << 10), f"memory to be near {before} KiB; now {agent.rss_kib()}", 10, interval=0.2)


# A large mesh.
SERVICES, ENDPOINTS_EACH = 20_000, 5
CHANGES_PER_S, BATCH, CHURN_S = 500, 50, 20
CHANGED_SERVICES, MOVED = 5, 45  # of a batch
PUSH = 20_000  # resources a response


def host(i: int) -> str:
    return f"svc-{i}.big.svc.cluster.local"


def endpoint(i: int, generation: int):
    address = str(ipaddress.ip_address(0x0B000000 + i + generation * 131_072))
    return proto.workload(f"pod-{i}", "big", f"node-{i % 200}", [address], service_account=f"sa-{i % 50}",
                          services={f"big/{host(i // ENDPOINTS_EACH)}": {}})


def test_a_large_mesh_in_churn(town):
    """Fault: 20,000 services with 100,000 endpoints, of which 500 different ones change each second, for 20 s: endpoints go and come back elsewhere,
    services change their ports. Traffic notices nothing, every change is taken, and memory stays: its peak in the last five seconds is that of
    five seconds after the first ones, but for 4 MiB."""
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
        began, batches, sizes, changes = time.monotonic(), 0, [], 0
        while batches * BATCH < CHANGES_PER_S * CHURN_S:
            if batches * BATCH % CHANGES_PER_S == 0:
                sizes.append(agent.rss_kib())  # one a second
            # Other objects than those of the batches before: steps of a number that shares no divisor with theirs.
            services = [(batches * CHANGED_SERVICES + i) * 7 % SERVICES for i in range(CHANGED_SERVICES)]
            moved = [endpoint((batches * MOVED + i) * 7 % count, 1 + batches) for i in range(MOVED)]
            changed = [proto.service(f"svc-{i}", "big", f"10.{128 + i // 65536}.{i // 256 % 256}.{i % 256}", {80: 8080 + batches % 2, 443: 8443})
                       for i in services]
            changes += len({proto.name_of(one)[1] for one in moved + changed})
            # Gone and back in one response, at another address: one change of the object.
            nonce = push(moved + changed, removed=[one.workload.uid for one in moved])
            batches += 1
            time.sleep(max(0.0, began + batches * BATCH / CHANGES_PER_S - time.monotonic()))
        taken(nonce, 10)
        took = time.monotonic() - began
        sizes.append(agent.rss_kib())
    traffic.assert_undisturbed(rounds=100)
    print(f"{changes} objects changed in {took:.1f} s; KiB by the second: {sizes}")
    assert changes == batches * BATCH == CHANGES_PER_S * CHURN_S
    assert changes / took > CHANGES_PER_S * 0.9, "the changes did not come, and were not taken, as fast as was said"
    assert max(sizes[-5:]) < max(sizes[2:7]) + (4 << 10), sizes
    assert agent.ctl("status")["workloads"] >= count
