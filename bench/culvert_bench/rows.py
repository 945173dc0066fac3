# SPDX-License-Identifier: Apache-2.0
"""The rows: what is measured, on which rig, and how. A row's `measure` takes one sample of one mode and gives plain numbers."""

import dataclasses
import time
from collections.abc import Callable

from culvert_harness import programs

from . import cni, hop, meters
from .rig import ECHO_PORT, IPERF_PORT, MODES, Holder, Rig, rested_memory, settle

Values = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Options:
    seconds: float | None = None  # of one sample, where it has a length; None: the row's own
    connections: int = 2000
    round_trips: int = 50_000
    is_quick: bool = False

    def length(self, usual: float) -> float:
        return self.seconds or (usual / 3 if self.is_quick else usual)


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    about: str
    measure: Callable[[Rig, str, Options], Values]
    rig: str = "main"
    modes: tuple[str, ...] = MODES
    show: tuple[str, ...] = ()  # the values of the progress line
    needs_engine: str = ""  # the row is left out where the agents' records go through another one


def throughput(flows: int, server_role: str = "server"):
    def measure(rig: Rig, mode: str, options: Options) -> Values:
        client, server = rig.pair(mode, server_role)
        rig.serve_iperf(server)
        seconds = options.length(10)
        settle(rig.agents)
        with meters.use_of(rig.agents if mode == "culvert" else []) as use:
            host, port = rig.target(mode, server, IPERF_PORT)
            answer = programs.iperf3(client, host, port=port, seconds=seconds, flows=flows)
        received = answer["end"]["sum_received"]
        gigabytes = received["bytes"] / 1e9
        values = {"gbit_s": received["bits_per_second"] / 1e9, "machine_s_per_gb": use.machine_s / gigabytes}
        if mode == "culvert":
            values["agents_s_per_gb"] = use.processes_s / gigabytes
        return values
    return measure


def latency(rig: Rig, mode: str, options: Options) -> Values:
    client, server = rig.pair(mode)
    rig.serve_echo(server)
    host, port = rig.target(mode, server, ECHO_PORT)
    count = options.round_trips // 4 if options.is_quick else options.round_trips
    with meters.awake_cpus() as is_awake:
        client.flowtool("latency", host, port, "--size", 64, "--count", 200)
        with meters.use_of(rig.agents if mode == "culvert" else []) as use:
            report = client.flowtool("latency", host, port, "--size", 64, "--count", count)[0]
    values = {"p50_us": report["p50"], "p99_us": report["p99"], "p99_5_us": report["p99_5"], "cpus_awake": float(is_awake)}
    if mode == "culvert":
        values["agents_us_per_round_trip"] = use.processes_s * 1e6 / count
    return values


def rate(threads: int):
    def measure(rig: Rig, mode: str, options: Options) -> Values:
        client, server = rig.pair(mode)
        rig.serve_echo(server)
        load = ("rate", *rig.target(mode, server, ECHO_PORT), "--threads", threads, "--seconds")
        client.flowtool(*load, 0.5)  # fills the pool
        with meters.use_of(rig.agents if mode == "culvert" else []) as use:
            report = client.flowtool(*load, options.length(5))[0]
        values = {"per_s": report["per_second"], "machine_us": use.machine_s * 1e6 / report["count"]}
        if mode == "culvert":
            values["per_agents_cpu_s"] = report["count"] / use.processes_s
        return values
    return measure


def idle(rig: Rig, _mode: str, _options: Options) -> Values:
    """Agents that have just started and serve their pods, but have carried nothing."""
    rig.restart_agents()
    rested_memory(rig.agents, "Rss")
    memories = [meters.memory_kib(pid) for pid in rig.agents]
    return {f"{name}_mb": max(memory[key] for memory in memories) / 1024 for name, key in (("rss", "Rss"), ("pss", "Pss"))}


def burst(rig: Rig, mode: str, options: Options) -> Values:
    """Many connections at once, nothing pooled, held idle, then once more (the client agent now has tickets)."""
    client, server = rig.pair(mode)
    rig.serve_echo(server)
    count = options.connections
    if mode == "culvert":
        rig.restart_agents()
    values: Values = {}
    for name in ("first", "second"):
        settle(rig.agents)
        anonymous = rested_memory(rig.agents, "Anonymous") if name == "first" and mode == "culvert" else 0
        slab = meters.slab_kib()
        holder = None
        try:
            with meters.use_of(rig.agents if mode == "culvert" else []) as use:
                holder = Holder(client, server, count)
                report = holder.opened()
            if mode == "culvert":
                values |= {f"{name}_agents_ms": use.processes_s * 1e3 / count, f"{name}_open_s": report["seconds"]}
            if name == "first":
                if mode == "culvert":
                    values["agents_kib"] = (rested_memory(rig.agents, "Anonymous") - anonymous) / count
                values["slab_kib"] = (meters.slab_kib() - slab) / count
            holder.close()
        finally:
            if holder is not None:
                holder.kill()
        if mode == "none":
            break
        time.sleep(0.5)
    return values


def idle_streams(rig: Rig, mode: str, options: Options) -> Values:
    """Many connections that share pooled tunnels, each having carried a message each way."""
    client, server = rig.pair(mode)
    rig.serve_echo(server)
    count = options.connections
    rig.restart_agents()
    settle(rig.agents)
    anonymous = rested_memory(rig.agents, "Anonymous")
    holder = Holder(client, server, count)
    try:
        holder.opened()
        values = {"agents_kib": (rested_memory(rig.agents, "Anonymous") - anonymous) / count,
                  "tunnels": rig.world.a.agent.metric("culvert_tunnels_open")}
        holder.close()
    finally:
        holder.kill()
    return values


def policies(count: int, applying: int) -> list[dict]:
    """Authorization policies, of which `applying` are looked at for a connection to the server: the last of those allows its client."""
    def one(number: int, namespace: str, action: str, account: str) -> dict:
        return {"name": f"p{number}", "namespace": namespace, "action": action,
                "rules": [{"clauses": [{"matches": [{"service_accounts": [account]}]}]}]}
    elsewhere = [one(number, f"other-{number}", "DENY", "other/nobody") for number in range(count - applying)]
    return [*elsewhere, *(one(count - number, "bench", "DENY", f"other/nobody-{number}") for number in range(1, applying)), one(count, "bench", "ALLOW", "bench/client")]


FLOW_VALUES, ROUND_VALUES, RATE_VALUES = (("gbit_s", "machine_s_per_gb", "agents_s_per_gb"), ("p50_us", "p99_us", "p99_5_us", "agents_us_per_round_trip"),
                                          ("per_s", "machine_us", "per_agents_cpu_s"))


def hbone_rows(rig: str, about: str) -> tuple[Row, ...]:
    return (Row(f"{rig}-throughput1", f"iperf3, one flow, {about}", throughput(1), rig=rig, show=FLOW_VALUES),
            Row(f"{rig}-throughput16", f"iperf3, 16 flows, {about}", throughput(16), rig=rig, show=FLOW_VALUES),
            Row(f"{rig}-latency", f"64 B round trips, CPUs kept awake where they can be, {about}", latency, rig=rig, show=ROUND_VALUES),
            Row(f"{rig}-rate16", f"connect, 1 byte each way, close; 16 threads, {about}", rate(16), rig=rig, show=RATE_VALUES))


def full_rows() -> tuple[Row, ...]:
    """What a node in use has on: policies, the access log, and Istio's metrics, which are never off."""
    about = "access log, 1,000 policies of which 20 apply"
    return (Row("full-throughput1", f"iperf3, one flow, {about}", throughput(1), rig="full", show=FLOW_VALUES),
            Row("full-latency", f"64 B round trips, CPUs kept awake where they can be, {about}", latency, rig="full", show=ROUND_VALUES),
            Row("full-rate16", f"connect, 1 byte each way, close; 16 threads, {about}", rate(16), rig="full", show=RATE_VALUES))


ROWS = (
    Row("throughput1", "iperf3, one flow", throughput(1), show=FLOW_VALUES),
    Row("throughput16", "iperf3, 16 flows", throughput(16), show=FLOW_VALUES),
    Row("latency", "64 B round trips on one connection, CPUs kept awake where they can be", latency, show=ROUND_VALUES),
    Row("asleep-latency", "the same, busy_wait_us: 0", latency, rig="asleep", show=ROUND_VALUES),
    Row("groups-latency", "the same, each agent and pod in a CPU group of its own, as a kubelet makes them", latency, rig="groups", show=ROUND_VALUES),
    Row("groups-rate16", "connect, 1 byte each way, close; 16 threads, in such groups", rate(16), rig="groups", show=RATE_VALUES),
    Row("groups-asleep-latency", "the same in such groups, busy_wait_us: 0", latency, rig="groups-asleep", show=ROUND_VALUES),
    Row("rate1", "connect, 1 byte each way, close; 1 thread", rate(1), show=RATE_VALUES),
    Row("rate4", "connect, 1 byte each way, close; 4 threads", rate(4), show=RATE_VALUES),
    Row("rate16", "connect, 1 byte each way, close; 16 threads", rate(16), show=RATE_VALUES),
    Row("idle", "memory of an agent that has carried nothing", idle, rig="burst", modes=("culvert",), show=("rss_mb", "pss_mb")),
    Row("burst", "2,000 connections at once with an empty pool, then idle", burst, rig="burst",
        show=("first_agents_ms", "second_agents_ms", "agents_kib", "slab_kib")),
    Row("hop", "128 KiB writes: pod to agent through the capture, no TLS; none: the same over plain lo", hop.measure, rig="hop",
        show=("gbit_s", "machine_s_per_gb")),
    Row("cni", "CNI ADD of culvert-cni, agent idle", cni.measure, modes=("culvert",), show=("p50_ms", "p99_ms", "main_plugin_p50_ms")),
    Row("same-node", "iperf3, one flow, both pods on one node", throughput(1, "local"),
        show=FLOW_VALUES),
    Row("engine-evp", "iperf3, one flow, records forced to OpenSSL's EVP", throughput(1), rig="user-evp", needs_engine="user-evp",
        show=FLOW_VALUES),
    Row("engine-ipsec-mb", "iperf3, one flow, records forced to intel-ipsec-mb", throughput(1), rig="user-ipsec-mb", needs_engine="user-ipsec-mb",
        show=FLOW_VALUES),
    Row("engine-kernel", "iperf3, one flow, records forced to the kernel", throughput(1), rig="kernel", needs_engine="kernel",
        show=FLOW_VALUES),
    Row("engine-kernel-copy", "the same, nothing spliced", throughput(1), rig="kernel-copy", needs_engine="kernel", show=FLOW_VALUES),
    Row("h2-engine-ipsec-mb", "HBONE, iperf3, one flow, records forced to intel-ipsec-mb", throughput(1), rig="h2-user-ipsec-mb",
        needs_engine="user-ipsec-mb", show=FLOW_VALUES),
    Row("h2-engine-kernel", "HBONE, iperf3, one flow, records forced to the kernel", throughput(1), rig="h2-kernel", needs_engine="kernel",
        show=FLOW_VALUES),
    *hbone_rows("h2", "both agents offer HBONE only"),
    Row("h2-idle", "2,000 connections over pooled HBONE tunnels, idle", idle_streams, rig="h2", modes=("culvert",), show=("agents_kib", "tunnels")),
    *full_rows(),
    *hbone_rows("envoy-server", "the server behind Envoy"),
    *hbone_rows("envoy-client", "the client behind Envoy"),
)

# The agents' configuration of each rig, and the roles it has pods for.
RIGS: dict[str, dict] = {
    "main": {},
    "asleep": {"config": {"busy_wait_us": 0}, "roles": ("client", "server")},
    "groups": {"roles": ("client", "server"), "has_cpu_groups": True},
    "groups-asleep": {"config": {"busy_wait_us": 0}, "roles": ("client", "server"), "has_cpu_groups": True},
    # No tunnel is kept, so that every connection of a burst needs one.
    "burst": {"config": {"tunnel": {"pool": {"max_idle_per_peer": 0}}}, "roles": ("client", "server")},
    "hop": {"roles": ("client",), "agents": False},
    **{engine: {"config": {"records": {"tx": engine, "rx": engine}}, "roles": ("client", "server")}
       for engine in ("user-evp", "user-ipsec-mb", "kernel")},
    "kernel-copy": {"config": {"records": {"tx": "kernel", "rx": "kernel", "splice": "never"}}, "roles": ("client", "server")},
    **{f"h2-{engine}": {"config": {"records": {"tx": engine, "rx": engine}, "tunnel": {"offer": ["hbone"]}}, "roles": ("client", "server")}
       for engine in ("user-ipsec-mb", "kernel")},
    "h2": {"config": {"tunnel": {"offer": ["hbone"]}}, "roles": ("client", "server")},
    "full": {"config": {"log": {"level": "info", "access": True}}, "roles": ("client", "server"), "policies": policies(1000, 20)},
    # Envoy chooses h2.
    "envoy-server": {"config": {"tunnel": {"offer": ["direct", "hbone"]}}, "roles": ("client", "server"), "envoy_role": "server"},
    "envoy-client": {"config": {"tunnel": {"offer": ["direct", "hbone"]}}, "roles": ("client", "server"), "envoy_role": "client"},
}
