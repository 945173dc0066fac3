// SPDX-License-Identifier: Apache-2.0
// One scrape: families of Prometheus metrics from the workers' counters, the capture programs and the process, with Istio's
// names where Istio has one. Built when asked for and thrown away: no registry, nothing is kept. Control thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <prometheus/metric_family.h>

#include "telemetry/counters.hpp"
#include "telemetry/pod_counters.hpp"
#include "telemetry/traffic_table.hpp"

namespace culvert::telemetry {

using Families = std::vector<prometheus::MetricFamily>;
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// A family of one kind; `add` appends one sample. For what other modules contribute.
[[nodiscard]] prometheus::MetricFamily counter_family(std::string name, std::string help);
[[nodiscard]] prometheus::MetricFamily gauge_family(std::string name, std::string help);
void add(prometheus::MetricFamily& family, const MetricLabels& labels, double value);

// istio_tcp_sockets_open, culvert_connections_*, and CV_WORKER_COUNTERS, summed.
[[nodiscard]] Families worker_families(std::span<const WorkerCounters* const> workers);
// culvert_capture_total{pod, namespace, decision}: every decision and drop of the capture programs.
[[nodiscard]] Families pod_families(std::span<const PodCounters> pods);
// How many label sets the traffic has, of how many, and what was counted under none of its own.
[[nodiscard]] Families traffic_families(std::span<const TrafficTable* const> workers, const LabelBudget& budget);
// istio_build, by the name of the component whose place the agent takes, and culvert_build: 1 each, labelled with the version.
[[nodiscard]] Families build_families(std::string_view version);
// process_*: descriptors, memory, CPU time, start. What /proc does not tell is left out.
[[nodiscard]] Families process_families();

// All of the above for one answer; `extra` appends what the caller knows beyond that (may be empty).
[[nodiscard]] Families collect(std::span<const WorkerCounters* const> workers, std::span<const PodCounters> pods,
                               std::string_view version, const std::function<void(Families&)>& extra);

}  // namespace culvert::telemetry
