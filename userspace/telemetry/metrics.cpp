// SPDX-License-Identifier: Apache-2.0
// Metric families from counters; see metrics.hpp. Control thread.
#include "telemetry/metrics.hpp"

#include <map>
#include <sstream>

#include <prometheus/text_serializer.h>

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

MetricLabels traffic_labels(Direction direction, std::string_view flags) {
  return {{"reporter", reporter(direction)}, {"request_protocol", "tcp"}, {"response_flags", std::string(flags)}};
}

using PerDirection = std::array<Counter, 2> WorkerCounters::*;

prometheus::MetricFamily istio_counter(std::span<const WorkerCounters* const> workers, std::string name,
                                       std::string help, PerDirection member) {
  auto family = counter_family(std::move(name), std::move(help));
  for (const Direction direction : kDirections) {
    add(family, traffic_labels(direction, "-"), sum(workers, [&](const WorkerCounters& worker) -> const Counter& {
          return (worker.*member)[index(direction)];
        }));
  }
  return family;
}

// Closed connections by response flag; those with one are failed as well.
void add_closed(Families& families, std::span<const WorkerCounters* const> workers) {
  auto closed = counter_family("istio_tcp_connections_closed_total", "TCP connections closed");
  auto failed = counter_family("istio_tcp_connections_failed_total", "TCP connections that failed");
  auto by_reason = counter_family("culvert_connections_closed_total", "connections closed, by reason");
  for (const Direction direction : kDirections) {
    std::map<std::string_view, double> by_flag{{"-", 0}};
    for (std::size_t i = 0; i < kCloseReasons; ++i) {
      const auto reason = static_cast<CloseReason>(i);
      const double count = sum(
          workers, [&](const WorkerCounters& worker) -> const Counter& { return worker.closed[index(direction)][i]; });
      if (count > 0) by_flag[response_flag(reason)] += count;
      // Reasons that never happened are left out, except the common one, so that rates have a start.
      if (count > 0 || reason == CloseReason::Completed) {
        add(by_reason, {{"direction", std::string(to_string(direction))}, {"reason", std::string(label(reason))}},
            count);
      }
    }
    for (const auto& [flag, count] : by_flag) {
      add(closed, traffic_labels(direction, flag), count);
      if (flag != "-") add(failed, traffic_labels(direction, flag), count);
    }
  }
  families.push_back(std::move(closed));
  if (!failed.metric.empty()) families.push_back(std::move(failed));
  families.push_back(std::move(by_reason));
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
  families.push_back(
      istio_counter(workers, "istio_tcp_connections_opened_total", "TCP connections opened", &WorkerCounters::opened));
  add_closed(families, workers);
  families.push_back(istio_counter(workers, "istio_tcp_received_bytes_total", "bytes from client to server",
                                   &WorkerCounters::received_bytes));
  families.push_back(
      istio_counter(workers, "istio_tcp_sent_bytes_total", "bytes from server to client", &WorkerCounters::sent_bytes));
  auto open = gauge_family("istio_tcp_sockets_open", "connections that are open now");
  for (const Direction direction : kDirections) {
    add(open, {{"reporter", reporter(direction)}},
        sum(workers, [&](const WorkerCounters& worker) -> const Counter& { return worker.live[index(direction)]; }));
  }
  families.push_back(std::move(open));
#define CV_X(field, name, kind, help)            \
  families.push_back(kind##_family(name, help)); \
  add(families.back(), {}, sum(workers, [](const WorkerCounters& worker) -> const Counter& { return worker.field; }));
  CV_WORKER_COUNTERS(CV_X)
#undef CV_X
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

Families build_families(std::string_view version) {
  Families families;
  families.push_back(gauge_family("istio_build", "component and version"));
  add(families.back(), {{"component", "culvert"}, {"tag", std::string(version)}}, 1);
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

std::string to_text(const Families& families) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

}  // namespace culvert::telemetry
