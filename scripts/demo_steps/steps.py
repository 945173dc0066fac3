# SPDX-License-Identifier: Apache-2.0
"""Each step shows its claims or raises; nothing is claimed that was not looked at."""

import csv
import io
import os
import re
import subprocess

from culvert_harness import programs, wait_for
from culvert_harness.pod import Pod

from .screen import Screen
from .town import Town


class StepFailed(Exception):
    """A claim did not hold; the text says what was seen instead."""


def require(is_true: bool, otherwise: str) -> None:
    if not is_true:
        raise StepFailed(otherwise)


def nodes(town: Town, screen: Screen) -> None:
    town.world.start_agents()
    for node in town.world.nodes.values():
        status = node.agent.ctl("status")
        preferred = status["engines"][0]
        screen.say(f"{node.name}: culvertd {status['version']} pid {status['pid']}, steering {status['capture']['steering']}, "
                   f"hooks by {status['capture']['attachment']}, {preferred['cipher']} records sent by {preferred['tx']}, "
                   f"received by {preferred['rx']}")
        for note in status["notes"]:
            screen.say(f"note: {note}")
    screen.shown("two nodes on a routed link, one culvertd on each, ready; one built-in CA that both trust")


def pods(town: Town, screen: Screen) -> None:
    world = town.world
    for name in world.workloads:
        is_meshed = world.workloads[name].namespace == "shop"
        pod = world.add(name, chain="mesh" if is_meshed else "plain")
        plugins = " -> ".join(f"{kind} {seconds * 1000:.0f} ms" for kind, seconds in pod.node.chains[pod.chain_name].last_seconds.items())
        screen.say(f"{pod.node.name}: {name:15} {pod.v4:10} {pod.v6:12} CNI ADD: {plugins}")
    for name in ("frontend", "backend"):
        pod = town.pod(name)
        joined = {entry["name"]: entry for entry in pod.node.agent.ctl("pods")}
        require(joined.get(name, {}).get("state") == "joined", f"culvertctl pods does not show {name} as joined: {joined}")
        addresses = [ip["address"] for ip in pod.result.get("ips", [])]
        require(any(address.startswith(pod.v4 + "/") for address in addresses), f"culvert-cni did not pass the result on: {pod.result}")
    screen.shown("culvert-cni, last in the chain, joined frontend and backend and passed the main plugin's result on")
    town.start_programs()


def address(town: Town, screen: Screen) -> None:
    for is_meshed in (False, True):
        client, server = town.pair(is_meshed)
        for host, own in ((server.v4, client.v4), (f"[{server.v6}]", client.v6)):
            seen = programs.curl(client, f"http://{host}/peer").stdout.strip()
            screen.say(f"{client.name}: curl http://{host}/peer  ->  {seen}")
            require(seen == own, f"nginx in {server.name} saw {seen} instead of {client.name}'s address {own}")
    screen.shown("nginx sees the client pod's own address, IPv4 and IPv6, as without a mesh")


def wire(town: Town, screen: Screen) -> None:
    seen = {}
    for is_meshed in (False, True):
        client, server = town.pair(is_meshed)
        capture = town.world.capture("a")
        # Bodies travel one way, the request's header and redis' value the other.
        answer = programs.curl(client, f"http://{server.v4}/greeting.txt", "-H", f"X-Token: {town.secret}").stdout
        require(town.secret in answer, f"curl got {answer!r} from {server.name}")
        client.run(["redis-cli", "-h", server.v6, "set", "token", town.secret])
        capture.stop()
        seen[is_meshed] = capture
        segments = [segment for segment in capture.segments() if {segment.source, segment.destination} & {server.v4, server.v6}]
        ports = sorted({segment.destination_port for segment in segments if segment.destination in (server.v4, server.v6)})
        screen.say(f"{client.name} -> {server.name}: curl and redis-cli, {len(segments)} TCP packets on the link, "
                   f"to port {' and '.join(map(str, ports))}")
    needle = town.secret.encode()
    require(seen[False].contains(needle), "the capture of the plain pods does not show the payload: the check cannot see anything")
    screen.shown("without the mesh the payload is readable on the link (so the capture would show it)")
    seen[True].assert_only_tunnels()
    screen.shown("with the mesh the link carries TLS records to port 15008 and no other TCP")
    require(not seen[True].contains(needle), "the payload stands in clear text on the link")
    screen.shown("and none of the payload, in either direction")


def strict(town: Town, screen: Screen) -> None:
    stranger, backend = town.pod("stranger"), town.pod("backend")
    refused = programs.curl(stranger, f"http://{backend.v4}/greeting.txt", check=False, timeout=5)
    screen.say(f"stranger: curl http://{backend.v4}/greeting.txt  ->  {refused.stderr.strip() or refused.stdout.strip()}")
    require(refused.returncode != 0 and town.secret not in refused.stdout, f"stranger got an answer: {refused.stdout!r}")
    line = wait_for(lambda: [line for line in backend.node.agent.log().splitlines() if stranger.v4 in line and "policy" in line],
                    "the refusal in the agent's log", 5)[-1]
    said = re.search(r'error="([^"]*)"', line)
    screen.say(f"node-b's culvertd: {said[1] if said else line.strip()}")
    screen.shown("stranger has no identity: backend is STRICT and its agent refuses, with the reason in the log")


def connections(town: Town, screen: Screen) -> None:
    frontend, backend = town.pair(True)
    # A subscription lives until it is ended.
    live = frontend.start(["redis-cli", "-h", backend.v4, "subscribe", "news"])

    def found() -> list[dict]:
        return [row for row in frontend.node.agent.ctl("connections")
                if row["direction"] == "outbound" and row["original_destination"] == f"{backend.v4}:6379" and row["state"] == "open"]
    row = wait_for(found, "redis-cli's connection in culvertctl connections", 5)[0]
    table = subprocess.run(frontend.node.agent.ctl_command("connections"), capture_output=True, text=True, check=True,
                           env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}).stdout
    screen.say(f"culvertctl connections (node-a)\n{table.rstrip()}")
    live.stop()
    require(row["source"]["identity"] == frontend.identity and row["destination"]["identity"] == backend.identity,
            f"the connection does not show both identities: {row}")
    require(all(row[key] for key in ("cipher", "tx_engine", "rx_engine")), f"cipher or engine is missing: {row}")
    screen.shown(f"culvertctl connections: {row['source']['identity']} -> {row['destination']['identity']}")
    screen.shown(f"cipher {row['cipher']}, records sent by {row['tx_engine']}, received by {row['rx_engine']}")


def speed(town: Town, screen: Screen) -> None:
    figures = {is_meshed: (bandwidth(*town.pair(is_meshed)), round_trip(*town.pair(is_meshed))) for is_meshed in (False, True)}
    for is_meshed, name in ((False, "without the mesh"), (True, "with the mesh")):
        gbit, (p50, p99) = figures[is_meshed]
        screen.say(f"{name:17} iperf3, one flow: {gbit:5.1f} Gbit/s    redis PING: p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    ratio = figures[True][0] / figures[False][0]
    screen.shown(f"encrypted at {figures[True][0]:.1f} Gbit/s, {ratio:.0%} of the same machine's plain TCP (bench/run measures it properly)")


def bandwidth(client: Pod, server: Pod) -> float:
    return programs.iperf3(client, server.v4, seconds=2)["end"]["sum_received"]["bits_per_second"] / 1e9


def round_trip(client: Pod, server: Pod) -> tuple[float, float]:
    done = client.run(["redis-benchmark", "-h", server.v4, "-c", "1", "-n", "5000", "-t", "ping_mbulk", "--csv"], timeout=60)
    row = next(csv.DictReader(io.StringIO(done.stdout)))
    return float(row["p50_latency_ms"]) * 1000, float(row["p99_latency_ms"]) * 1000


STEPS = (
    ("Two nodes, two agents", nodes),
    ("Pods through a CNI chain", pods),
    ("The server sees the client", address),
    ("What is on the link", wire),
    ("STRICT", strict),
    ("Who speaks with whom", connections),
    ("Speed", speed),
)
