// SPDX-License-Identifier: Apache-2.0
// Metric families from counters; see metrics.hpp. Control thread.
#include "telemetry/metrics.hpp"

#include <array>
#include <iterator>

namespace culvert::telemetry {
namespace {

constexpr std::array kDirections{Direction::Inbound, Direction::Outbound};

std::size_t index(Direction direction) { return static_cast<std::size_t>(direction); }

// Istio's word for who reports: the client's agent is the source.
std::string reporter(Direction direction) { return direction == Direction::Outbound ? "source" : "destination"; }

// One counter of every worker, added up.
template <typename Select>
double sum(std::span<const WorkerCounters* const> workers, Select&& select) {
  std::uint64_t total = 0;
  for (const WorkerCounters* worker : workers) total += select(*worker).value();
  return static_cast<double>(total);
}

using PerDirection = std::array<Counter, 2> WorkerCounters::*;

prometheus::MetricFamily closed_by_reason(std::span<const WorkerCounters* const> workers) {
  auto by_reason = counter_family("culvert_connections_closed_total", "connections closed, by reason");
  for (const Direction direction : kDirections) {
    for (std::size_t i = 0; i < kCloseReasons; ++i) {
      const auto reason = static_cast<CloseReason>(i);
      const double count = sum(
          workers, [&](const WorkerCounters& worker) -> const Counter& { return worker.closed[index(direction)][i]; });
      // Reasons that never happened are left out, except the common one, so that rates have a start.
      if (count == 0 && reason != CloseReason::Completed) continue;
      add(by_reason, {{"direction", std::string(to_string(direction))}, {"reason", std::string(label(reason))}}, count);
    }
  }
  return by_reason;
}

}  // namespace

prometheus::MetricFamily counter_family(std::string name, std::string help) {
  return {.name = std::move(name), .help = std::move(help), .type = prometheus::MetricType::Counter, .metric = {}};
}

prometheus::MetricFamily gauge_family(std::string name, std::string help) {
  return {.name = std::move(name), .help = std::move(help), .type = prometheus::MetricType::Gauge, .metric = {}};
}

void add(prometheus::MetricFamily& family, const MetricLabels& labels, double value) {
  prometheus::ClientMetric sample;
  for (const auto& [name, text] : labels) sample.label.push_back({.name = name, .value = text});
  sample.counter.value = family.type == prometheus::MetricType::Counter ? value : 0;
  sample.gauge.value = family.type == prometheus::MetricType::Gauge ? value : 0;
  family.metric.push_back(std::move(sample));
}

Families worker_families(std::span<const WorkerCounters* const> workers) {
  Families families;
  families.push_back(closed_by_reason(workers));
  auto open = gauge_family("istio_tcp_sockets_open", "connections that are open now");
  for (const Direction direction : kDirections) {
    add(open, {{"reporter", reporter(direction)}},
        sum(workers, [&](const WorkerCounters& worker) -> const Counter& { return worker.live[index(direction)]; }));
  }
  families.push_back(std::move(open));
  const auto add_crl = [&](std::string name, std::string help, PerDirection member) {
    auto family = counter_family(std::move(name), std::move(help));
    for (const Direction direction : kDirections) {
      add(family, {{"reporter", reporter(direction)}},
          sum(workers,
              [&](const WorkerCounters& worker) -> const Counter& { return (worker.*member)[index(direction)]; }));
    }
    families.push_back(std::move(family));
  };
  add_crl("istio_crl_policy_rejections_total", "peers refused or cut off for certificate revocation lists",
          &WorkerCounters::crl_rejections);
  add_crl("istio_crl_untracked_connections_total", "connections between agents that later lists will not reach",
          &WorkerCounters::crl_untracked);
#define CV_X(field, name, kind, help)            \
  families.push_back(kind##_family(name, help)); \
  add(families.back(), {}, sum(workers, [](const WorkerCounters& worker) -> const Counter& { return worker.field; }));
  CV_WORKER_COUNTERS(CV_X)
#undef CV_X
  families.push_back(counter_family("culvert_busy_wait_seconds_total",
                                    "CPU time of workers that looked for events instead of sleeping (busy_wait_us)"));
  add(families.back(), {},
      1e-9 * sum(workers, [](const WorkerCounters& worker) -> const Counter& { return worker.busy_wait_ns; }));
  families.push_back(gauge_family("culvert_workers", "worker threads"));
  add(families.back(), {}, static_cast<double>(workers.size()));
  return families;
}

Families pod_families(std::span<const PodCounters> pods) {
  Families families;
  families.push_back(gauge_family("culvert_pods", "pods of this node that are in the mesh"));
  add(families.back(), {}, static_cast<double>(pods.size()));
  auto decisions = counter_family("culvert_capture_total", "decisions of the capture programs, by pod and decision");
  for (const PodCounters& pod : pods) {
    for (const NamedCount& count : pod.counters) {
      if (count.value == 0) continue;  // keeps the answer in proportion to what happens, not to pods times decisions
      add(decisions,
          {{"pod", pod.name.empty() ? pod.pod : pod.name}, {"namespace", pod.namespace_name}, {"decision", count.name}},
          static_cast<double>(count.value));
    }
  }
  if (!decisions.metric.empty()) families.push_back(std::move(decisions));
  return families;
}

Families traffic_families(std::span<const TrafficTable* const> workers, const LabelBudget& budget) {
  Families families;
  families.push_back(gauge_family("culvert_traffic_label_sets", "label sets that traffic is counted under"));
  add(families.back(), {}, budget.used());
  families.push_back(gauge_family("culvert_traffic_label_sets_max", "the most that there may be"));
  add(families.back(), {}, budget.sets_max());
  std::uint64_t folded = 0;
  for (const TrafficTable* worker : workers) folded += worker->folded();
  families.push_back(counter_family("culvert_traffic_folded_total",
                                    "connections and lookups that were counted as overflow, for want of a label set"));
  add(families.back(), {}, static_cast<double>(folded));
  return families;
}

Families build_families(std::string_view version) {
  Families families;
  families.push_back(gauge_family("istio_build", "component and version"));
  add(families.back(), {{"component", "ztunnel"}, {"tag", std::string(version)}}, 1);
  families.push_back(gauge_family("culvert_build", "version and compiler"));
  add(families.back(), {{"version", std::string(version)}, {"compiler", __VERSION__}}, 1);
  return families;
}

Families collect(std::span<const WorkerCounters* const> workers, std::span<const PodCounters> pods,
                 std::string_view version, const std::function<void(Families&)>& extra) {
  Families families = worker_families(workers);
  const auto append = [&](Families more) {
    families.insert(families.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  append(pod_families(pods));
  append(build_families(version));
  append(process_families());
  if (extra) extra(families);
  return families;
}

}  // namespace culvert::telemetry
