# SPDX-License-Identifier: Apache-2.0
"""From samples of bench/control to figures, and what they are held against. ztunnel's numbers are those of 62d8265 with the same kind of mesh."""

from .figures import Figure, Samples, by_round, of, spread


def figures(samples: Samples) -> list[Figure]:
    made: list[Figure] = []

    def add(label: str, row: str, name: str, unit: str, **targets) -> None:
        made.append(Figure(label, row, of(samples, row, "culvert", name), None, None, unit, **targets))

    def quotient(label: str, top: tuple[str, str], bottom: tuple[str, str], row: str, **targets) -> None:
        above, below = by_round(samples, top[0], "culvert", top[1]), by_round(samples, bottom[0], "culvert", bottom[1])
        rounds = sorted(above.keys() & below.keys())
        made.append(Figure(label, row, spread([above[number] / below[number] for number in rounds]), None, None, "", **targets))

    add("RSS with 100,000 workloads and 5,000 services, steady", "many", "rss_mb", "MB", ztunnel=115, bar=60, aim=40)
    add("the same after 400 changes", "many", "rss_after_changes_mb", "MB")
    add("the most that the push took", "many", "peak_mb", "MB")
    add("RSS with 1,000 workloads and 50 services", "few", "rss_mb", "MB")
    add("one idle agent connected to istiod, RSS", "istiod", "idle_rss_mb", "MB", ztunnel=15, bar=15, aim=10)
    add("push of 100,000 workloads, from its first byte to applied", "many", "push_s", "s", bar=1.5, aim=0.7)
    quotient("one further change, agent's CPU: at 100,000 ÷ at 1,000 workloads", ("many", "change_cpu_us"), ("few", "change_cpu_us"), "many, few",
             bar=2, aim=1.2)
    add("one further change at 100,000 workloads, agent's CPU", "many", "change_cpu_us", "µs")
    quotient("the same within the state alone", ("state", "change_many_us"), ("state", "change_few_us"), "state")
    add("a change within the state, 100,000 workloads", "state", "change_many_us", "µs")
    add("full outbound decision at 100,000 workloads, by service", "state", "decision_service_us", "µs", bar=2, aim=0.5)
    add("the same, by pod address", "state", "decision_pod_us", "µs", bar=2, aim=0.5)
    add("policy evaluation, 1,000 policies of which 20 apply", "state", "policy_us", "µs", bar=5, aim=1)
    add("250 local identities ready, CA answers in 20 ms", "identities", "ready_s", "s", bar=3, aim=1.5)
    add("pod change with kubectl to effect on a new connection", "istiod", "effect_s", "s", ztunnel=0.1, bar=0.2, aim=0.1)
    return [figure for figure in made if figure.value]
