# SPDX-License-Identifier: Apache-2.0
"""From samples to figures: medians with the least and the greatest, ratios within a round, and what they are held against.

The targets are those of the project's plan; ztunnel's numbers were taken by this method on a machine of this kind.
"""

import dataclasses
import statistics
from collections.abc import Callable

Samples = list[dict]


@dataclasses.dataclass(frozen=True)
class Spread:
    median: float
    least: float
    most: float


@dataclasses.dataclass(frozen=True)
class Figure:
    label: str
    row: str
    value: Spread | None            # of Culvert: a ratio, or with a unit
    none: Spread | None             # the baseline's own value
    ours: Spread | None             # Culvert's own value, where `value` is a ratio
    unit: str                       # of `none` and `ours`; of `value` when it is no ratio
    ztunnel: float | None = None
    bar: float | None = None
    aim: float | None = None
    is_higher_better: bool = False

    @property
    def verdict(self) -> str:
        if self.value is None or self.bar is None:
            return ""
        def reaches(target: float) -> bool:
            return self.value.median >= target if self.is_higher_better else self.value.median <= target
        if self.aim is not None and reaches(self.aim):
            return "aim met"
        return "bar met" if reaches(self.bar) else "missed"


def spread(values: list[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def by_round(samples: Samples, row: str, mode: str, name: str) -> dict[int, float]:
    return {sample["round"]: sample["values"][name] for sample in samples
            if sample["row"] == row and sample["mode"] == mode and name in sample["values"]}


def ratio(samples: Samples, row: str, ours: str, none: str | None = None) -> Spread | None:
    """Culvert's `ours` over the baseline's `none` of the same round."""
    top, bottom = by_round(samples, row, "culvert", ours), by_round(samples, row, "none", none or ours)
    return spread([top[number] / bottom[number] for number in sorted(top.keys() & bottom.keys()) if bottom[number]])


def of(samples: Samples, row: str, mode: str, name: str) -> Spread | None:
    return spread(list(by_round(samples, row, mode, name).values()))


def figures(samples: Samples) -> list[Figure]:
    made: list[Figure] = []

    def relative(label: str, row: str, name: str, unit: str, *, against: str | None = None, **targets) -> None:
        made.append(Figure(label, row, ratio(samples, row, name, against), of(samples, row, "none", against or name),
                           of(samples, row, "culvert", name), unit, **targets))

    def absolute(label: str, row: str, name: str, unit: str, *, none: str | None = None, **targets) -> None:
        made.append(Figure(label, row, of(samples, row, "culvert", name), of(samples, row, "none", none) if none else None, None, unit,
                           **targets))

    relative("throughput, 1 flow", "throughput1", "gbit_s", "Gbit/s", ztunnel=0.26, bar=0.32, aim=0.42, is_higher_better=True)
    relative("throughput, 16 flows", "throughput16", "gbit_s", "Gbit/s", ztunnel=0.23, bar=0.32, aim=0.42, is_higher_better=True)
    for flows, suffix, ztunnel in ((1, "1 flow", 3.15), (16, "16 flows", 3.32)):
        relative(f"both agents' CPU per GB ÷ machine CPU per GB of none, {suffix}", f"throughput{flows}", "agents_s_per_gb", "s/GB",
                 against="machine_s_per_gb", ztunnel=ztunnel, bar=2.2, aim=1.6)
    for flows, suffix, ztunnel in ((1, "1 flow", 4.0), (16, "16 flows", 4.2)):
        relative(f"whole-machine CPU per GB, {suffix}", f"throughput{flows}", "machine_s_per_gb", "s/GB", ztunnel=ztunnel, bar=3.2, aim=2.5)
    relative("64 B round trip, p50", "latency", "p50_us", "µs", ztunnel=3.5, bar=3.0, aim=2.4)
    relative("64 B round trip, p99", "latency", "p99_us", "µs", ztunnel=3.3, bar=3.0, aim=2.4)
    relative("64 B round trip, p99.5", "latency", "p99_5_us", "µs")
    absolute("both agents' CPU per round trip", "latency", "agents_us_per_round_trip", "µs", ztunnel=73)
    relative("64 B round trip, p50, busy_wait_us: 0", "asleep-latency", "p50_us", "µs", ztunnel=3.5)
    relative("64 B round trip, p99, busy_wait_us: 0", "asleep-latency", "p99_us", "µs", ztunnel=3.3)
    absolute("both agents' CPU per round trip, busy_wait_us: 0", "asleep-latency", "agents_us_per_round_trip", "µs", ztunnel=73)
    for label, row in (("CPU groups as a kubelet makes them", "groups-latency"), ("such groups, busy_wait_us: 0", "groups-asleep-latency")):
        for percentile in ("p50", "p99"):
            relative(f"{label}: 64 B round trip, {percentile}", row, f"{percentile}_us", "µs")
    relative("CPU groups as a kubelet makes them: connect + 1 byte each way + close, 16 threads: machine CPU per connection", "groups-rate16", "machine_us", "µs")
    relative("the same: connections per second", "groups-rate16", "per_s", "1/s", is_higher_better=True)
    for threads, ztunnel, targets in ((1, 6.5, {}), (4, 6.3, {}), (16, 5.7, {"bar": 3.4, "aim": 2.6})):
        relative(f"connect + 1 byte each way + close, {threads} thread{'s' * (threads > 1)}: machine CPU per connection", f"rate{threads}",
                 "machine_us", "µs", ztunnel=ztunnel, **targets)
    for threads, ztunnel in ((1, 0.153), (4, 0.144), (16, 0.157)):
        relative(f"the same: connections per second, {threads} thread{'s' * (threads > 1)}", f"rate{threads}", "per_s", "1/s", ztunnel=ztunnel,
                 is_higher_better=True)
    for threads, ztunnel, targets in ((1, 1248, {}), (4, 1941, {}), (16, 2668, {"bar": 4500, "aim": 6000})):
        absolute(f"the same: connections per CPU second of both agents, {threads} thread{'s' * (threads > 1)}", f"rate{threads}",
                 "per_agents_cpu_s", "", ztunnel=ztunnel, is_higher_better=True, **targets)
    absolute("one idle agent, RSS", "idle", "rss_mb", "MB", ztunnel=15.4, bar=8, aim=5)
    absolute("one idle agent, PSS", "idle", "pss_mb", "MB", ztunnel=8.5, bar=5, aim=3)
    absolute("user-space memory per idle connection, both agents", "burst", "agents_kib", "KiB", ztunnel=10.4, bar=2, aim=1)
    absolute("kernel slab per idle connection", "burst", "slab_kib", "KiB", none="slab_kib", ztunnel=20.3)
    absolute("2,000 connections at once, pool empty: both agents' CPU each", "burst", "first_agents_ms", "ms", bar=0.5, aim=0.2)
    absolute("the same once more, with tickets", "burst", "second_agents_ms", "ms")
    relative("pod → agent through the capture, no TLS: machine CPU per GB ÷ plain lo", "hop", "machine_s_per_gb", "s/GB", bar=1.05, aim=0.8)
    absolute("CNI ADD added to the chain, p50", "cni", "p50_ms", "ms", bar=15, aim=5)
    absolute("CNI ADD added to the chain, p99", "cni", "p99_ms", "ms", bar=30, aim=10)
    relative("throughput, 1 flow, both pods on one node", "same-node", "gbit_s", "Gbit/s", ztunnel=0.21, is_higher_better=True)
    for engine in ("evp", "ipsec-mb", "kernel"):
        relative(f"throughput, 1 flow, engine {engine}", f"engine-{engine}", "gbit_s", "Gbit/s", is_higher_better=True)
        relative(f"both agents' CPU per GB ÷ machine CPU per GB of none, engine {engine}", f"engine-{engine}", "agents_s_per_gb", "s/GB",
                 against="machine_s_per_gb")
    full(relative, absolute)
    hbone(relative, absolute)
    return [figure for figure in made if figure.value or figure.none]


def full(relative: Callable, absolute: Callable) -> None:
    """Everything on, by the bars of the same rows without."""
    relative("everything on: throughput, 1 flow", "full-throughput1", "gbit_s", "Gbit/s", bar=0.32, aim=0.42, is_higher_better=True)
    relative("everything on: both agents' CPU per GB ÷ machine CPU per GB of none, 1 flow", "full-throughput1", "agents_s_per_gb", "s/GB",
             against="machine_s_per_gb", bar=2.2, aim=1.6)
    relative("everything on: 64 B round trip, p50", "full-latency", "p50_us", "µs", bar=3.0, aim=2.4)
    relative("everything on: 64 B round trip, p99", "full-latency", "p99_us", "µs", bar=3.0, aim=2.4)
    relative("everything on: 64 B round trip, p99.5", "full-latency", "p99_5_us", "µs")
    relative("everything on: connect + 1 byte each way + close, 16 threads: machine CPU per connection", "full-rate16", "machine_us", "µs", bar=3.4, aim=2.6)
    absolute("everything on: connections per CPU second of both agents, 16 threads", "full-rate16", "per_agents_cpu_s", "", bar=4500, aim=6000,
             is_higher_better=True)


def hbone(relative: Callable, absolute: Callable) -> None:
    """Two agents that speak HTTP/2 with each other, then one beside Envoy, which has no bar."""
    for flows, suffix, ztunnel in ((1, "1 flow", 0.26), (16, "16 flows", 0.23)):
        relative(f"HBONE: throughput, {suffix}", f"h2-throughput{flows}", "gbit_s", "Gbit/s", ztunnel=ztunnel, bar=0.31, aim=0.37, is_higher_better=True)
    for flows, suffix, ztunnel in ((1, "1 flow", 3.15), (16, "16 flows", 3.32)):
        relative(f"HBONE: both agents' CPU per GB ÷ machine CPU per GB of none, {suffix}", f"h2-throughput{flows}", "agents_s_per_gb", "s/GB",
                 against="machine_s_per_gb", ztunnel=ztunnel, bar=2.5, aim=1.9)
    relative("HBONE: 64 B round trip, p50", "h2-latency", "p50_us", "µs", ztunnel=3.5, bar=3.2, aim=2.6)
    relative("HBONE: 64 B round trip, p99", "h2-latency", "p99_us", "µs", ztunnel=3.3, bar=3.2, aim=2.6)
    relative("HBONE: 64 B round trip, p99.5", "h2-latency", "p99_5_us", "µs")
    relative("HBONE: connect + 1 byte each way + close, 16 threads: machine CPU per connection", "h2-rate16", "machine_us", "µs", ztunnel=5.7)
    absolute("HBONE: the same: connections per CPU second of both agents", "h2-rate16", "per_agents_cpu_s", "", ztunnel=2668, bar=4500, aim=6500,
             is_higher_better=True)
    absolute("HBONE: user-space memory per idle stream, both agents", "h2-idle", "agents_kib", "KiB", ztunnel=10.4, bar=3, aim=1.5)
    for rig, who in (("envoy-server", "Culvert to Envoy"), ("envoy-client", "Envoy to Culvert")):
        relative(f"{who}: throughput, 1 flow", f"{rig}-throughput1", "gbit_s", "Gbit/s", is_higher_better=True)
        relative(f"{who}: throughput, 16 flows", f"{rig}-throughput16", "gbit_s", "Gbit/s", is_higher_better=True)
        relative(f"{who}: 64 B round trip, p50", f"{rig}-latency", "p50_us", "µs")
        relative(f"{who}: 64 B round trip, p99", f"{rig}-latency", "p99_us", "µs")
        absolute(f"{who}: connections per CPU second of the agent and Envoy, 16 threads", f"{rig}-rate16", "per_agents_cpu_s", "", is_higher_better=True)


def plain(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def shown(value: Spread | None, unit: str = "") -> str:
    if value is None:
        return ""
    return f"{plain(value.median)}{' ' + unit if unit else ''} ({plain(value.least)} to {plain(value.most)})"


HEAD = ("measure", "none", "culvert", "ratio or value", "ztunnel", "bar", "aim", "", "row")


def cells(figure: Figure) -> tuple[str, ...]:
    def target(value: float | None) -> str:
        return "" if value is None else plain(value)
    is_ratio = figure.ours is not None
    return (figure.label, shown(figure.none, figure.unit), shown(figure.ours, figure.unit), shown(figure.value, "" if is_ratio else figure.unit),
            target(figure.ztunnel), target(figure.bar), target(figure.aim), figure.verdict, figure.row)


def table(made: list[Figure], *, is_terminal: bool = False, has_baseline: bool = True) -> str:
    """Without a baseline the columns of the two values behind a ratio are left out."""
    rows = [row if has_baseline else (row[0], *row[3:]) for row in (HEAD, *map(cells, made))]
    if not is_terminal:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def missed(made: list[Figure], where: Callable[[Figure], bool] = lambda _: True) -> list[Figure]:
    return [figure for figure in made if figure.verdict == "missed" and where(figure)]
