// SPDX-License-Identifier: Apache-2.0
// The Agent and its metrics: what one scrape gathers, and when label sets of traffic end. Control thread.
#include <algorithm>
#include <array>

#include "app/agent.hpp"
#include "base/clock.hpp"
#include "control/xds_decode.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::app {

telemetry::Scrape Agent::metrics() const {
  const std::vector<telemetry::PodCounters> pods = drops();
  const std::vector<const telemetry::TrafficTable*> traffic = workers_->traffic();
  telemetry::Scrape scrape;
  scrape.traffic = workers_->traffic_rows();
  scrape.families = telemetry::collect(workers_->counters(), pods, CULVERT_VERSION, [&](telemetry::Families& families) {
    for (auto& family : telemetry::traffic_families(traffic, *label_budget_)) families.push_back(std::move(family));
    add_workload_manager(families);
    if (xds_ != nullptr) add_control_plane(families);
    if (revocation_file_ != nullptr) add_revocation(families);
    if (config_.dns.capture) add_dns(families);
    if (span_exporter_ != nullptr) add_tracing(families);
  });
  return scrape;
}

void Agent::add_workload_manager(telemetry::Families& families) const {
  const auto append = [&](prometheus::MetricFamily family, std::uint64_t value) {
    telemetry::add(family, {}, static_cast<double>(value));
    families.push_back(std::move(family));
  };
  append(telemetry::gauge_family("workload_manager_active_proxy_count", "pods that the agent serves"),
         pods_->slots().size());
  append(telemetry::gauge_family("workload_manager_pending_proxy_count", "pods that could not be joined yet"),
         pods_->failed() + (zds_session_ == nullptr ? 0 : zds_session_->pending()));
  append(telemetry::counter_family("workload_manager_proxies_started_total", "pods that the agent began to serve"),
         pods_->started());
  append(telemetry::counter_family("workload_manager_proxies_stopped_total", "pods that it no longer serves"),
         pods_->stopped());
}

void Agent::add_control_plane(telemetry::Families& families) const {
  const control::XdsCounters& counters = xds_->counters();
  auto ended =
      telemetry::counter_family("istio_xds_connection_terminations_total", "streams from the control plane that ended");
  for (std::size_t i = 0; i < control::kXdsEnds; ++i) {
    telemetry::add(ended, {{"reason", std::string(control::to_string(static_cast<control::XdsEnd>(i)))}},
                   static_cast<double>(counters.ended[i].load()));
  }
  families.push_back(std::move(ended));
  auto messages = telemetry::counter_family("istio_xds_message_total", "responses of the control plane");
  auto bytes = telemetry::counter_family("istio_xds_message_bytes_total", "their size");
  constexpr std::array<std::string_view, 3> kUrls = {control::kAddressType, control::kAuthorizationType, "other"};
  for (std::size_t i = 0; i < kUrls.size(); ++i) {
    if (i == 2 && counters.messages[i].load() == 0) continue;
    telemetry::add(messages, {{"url", std::string(kUrls[i])}}, static_cast<double>(counters.messages[i].load()));
    telemetry::add(bytes, {{"url", std::string(kUrls[i])}}, static_cast<double>(counters.bytes[i].load()));
  }
  families.push_back(std::move(messages));
  families.push_back(std::move(bytes));
  if (!config_.control_plane.on_demand) return;
  auto names =
      telemetry::gauge_family("culvert_on_demand_names", "names that the control plane was asked for and nobody has");
  telemetry::add(names, {{"state", "asked"}}, static_cast<double>(xds_->demands().asked_count()));
  telemetry::add(names, {{"state", "absent"}}, static_cast<double>(xds_->demands().absent_count()));
  families.push_back(std::move(names));
}

// So often that a label set does not stay much longer than it is said to.
void Agent::sweep_traffic() {
  constexpr std::uint64_t kIntervalMsMin = 500;
  constexpr std::uint64_t kIntervalMsMax = 60'000;
  workers_->sweep_traffic(config_.metrics.label_expiry_ms);
  dns_counters_.sweep(config_.metrics.label_expiry_ms, monotonic_ms());
  const std::uint64_t interval = std::clamp(config_.metrics.label_expiry_ms / 4, kIntervalMsMin, kIntervalMsMax);
  reactor_->after_ms(interval, [this] { sweep_traffic(); });
}

}  // namespace culvert::app
