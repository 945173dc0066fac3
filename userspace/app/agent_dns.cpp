// SPDX-License-Identifier: Apache-2.0
// The Agent and DNS of pods: what a pod's proxy sees of the mesh, and what is counted.
#include <limits>

#include <prometheus/client_metric.h>

#include "app/agent.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::app {
namespace {

void add_labels(prometheus::ClientMetric& metric, const telemetry::MetricLabels& labels) {
  for (const auto& [name, value] : labels) metric.label.push_back({name, value});
}

prometheus::ClientMetric histogram_of(const dns::CounterRow& row, const telemetry::MetricLabels& labels) {
  prometheus::ClientMetric metric;
  add_labels(metric, labels);
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < row.upstream_durations.size(); ++i) {
    count += row.upstream_durations[i];
    const bool is_last = i == dns::kUpstreamBucketsS.size();
    metric.histogram.bucket.push_back(
        {count, is_last ? std::numeric_limits<double>::infinity() : dns::kUpstreamBucketsS[i]});
  }
  metric.histogram.sample_count = count;
  metric.histogram.sample_sum = row.upstream_sum_s;
  return metric;
}

}  // namespace

Result<std::unique_ptr<dns::Proxy>> Agent::open_dns(const enroll::PodSpec& pod, UniqueFd netns) {
  const bool is_in_cluster = !config_.control_plane.xds_address.empty();
  dns::Proxy::Options options;
  options.netns = std::move(netns);
  options.namespace_name = pod.namespace_name;
  options.network = config_.network;
  options.domain = config_.control_plane.cluster_domain;
  // With our own programs the mark is what leads a packet to the agent.
  options.mark = pod.capture == enroll::Capture::Rules ? config_.bpf.mark : 0;
  options.claim = [marker = datapath_->socket_marker()](int fd) { return marker.mark_agent(fd); };
  options.look = [this, is_in_cluster, namespace_name = pod.namespace_name, name = pod.name,
                  account = pod.service_account,
                  uid = fmt::format("{}{}/{}", is_in_cluster ? config_.cluster + "//Pod/" : std::string(),
                                    pod.namespace_name, pod.name)] {
    dns::Proxy::View view;
    view.snapshot = snapshot_;
    if (snapshot_ != nullptr) view.workload = snapshot_->find_pod(uid, namespace_name, name, account);
    view.is_known = !is_in_cluster || view.workload != nullptr;
    return view;
  };
  options.log = [this, name = pod.name, namespace_name = pod.namespace_name](const dns::Proxy::Told& told) {
    log_->dns({name, namespace_name, told.query, told.domain, told.result, told.endpoints});
  };
  return dns::Proxy::open(*reactor_, dns_counters_, std::move(options));
}

void Agent::add_dns(telemetry::Families& families) const {
  auto requests = telemetry::counter_family("istio_dns_requests_total", "questions of pods");
  auto upstream = telemetry::counter_family("istio_dns_upstream_requests_total", "questions that were forwarded");
  auto failures =
      telemetry::counter_family("istio_dns_upstream_failures_total", "forwarded questions without an answer");
  prometheus::MetricFamily durations;
  durations.name = "istio_dns_upstream_request_duration_seconds";
  durations.help = "how long a forwarded question took";
  durations.type = prometheus::MetricType::Histogram;
  for (const auto& [key, row] : dns_counters_.rows()) {
    const telemetry::MetricLabels labels = {{"request_query_type", key.query_type},
                                            {"request_protocol", key.is_tcp ? "tcp" : "udp"},
                                            {"source_canonical_service", key.source_service},
                                            {"source_canonical_revision", key.source_revision}};
    telemetry::add(requests, labels, static_cast<double>(row.requests));
    if (row.upstream_requests == 0) continue;
    telemetry::add(upstream, labels, static_cast<double>(row.upstream_requests));
    if (row.upstream_failures != 0) telemetry::add(failures, labels, static_cast<double>(row.upstream_failures));
    durations.metric.push_back(histogram_of(row, labels));
  }
  for (auto* family : {&requests, &upstream, &failures, &durations}) {
    if (!family->metric.empty()) families.push_back(std::move(*family));
  }
}

}  // namespace culvert::app
