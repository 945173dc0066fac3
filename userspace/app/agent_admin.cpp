// SPDX-License-Identifier: Apache-2.0
// The Agent as the admin server sees it.
#include <algorithm>

#include <unistd.h>

#include "app/agent.hpp"
#include "app/agent_dump.hpp"
#include "control/xds_decode.hpp"
#include "core/netns.hpp"
#include "policy/explain.hpp"
#include "state/superseded.hpp"

namespace culvert::app {

admin::Status Agent::status() const {
  admin::Status status;
  status.version = CULVERT_VERSION;
  status.node = config_.node_name;
  status.cluster = config_.cluster;
  status.network = config_.network;
  status.trust_domain = config_.trust_domain;
  status.config_path = config_path_;
  status.state = phase_ == Phase::Starting ? "starting" : phase_ == Phase::Ready ? "ready" : "draining";
  status.start_us = start_us_;
  status.process_id = static_cast<std::uint32_t>(::getpid());
  status.workers = static_cast<std::uint32_t>(workers_->size());
  status.pods = pods_->slots().size();
  if (snapshot_ != nullptr) {
    status.snapshot_version = snapshot_->version();
    status.workloads = snapshot_->workload_count();
  }
  for (const telemetry::WorkerCounters* counters : workers_->counters()) {
    status.connections_inbound += counters->live[static_cast<std::size_t>(telemetry::Direction::Inbound)].value();
    status.connections_outbound += counters->live[static_cast<std::size_t>(telemetry::Direction::Outbound)].value();
    status.tunnels_open += counters->tunnels_open.value();
    status.tunnels_idle += counters->tunnels_idle.value();
  }
  const datapath::Capabilities& capture = datapath_->capabilities();
  status.steering = capture.has_connect_hook ? "connect-hook" : "tc-redirect";
  if (!datapath_->has_programs()) status.steering = "none";
  status.attachment = capture.has_tcx ? "tcx" : capture.has_clsact ? "clsact" : "none";
  status.lo_segment_bytes_v4 = capture.lo_segment_bytes_v4;
  status.lo_segment_bytes_v6 = capture.lo_segment_bytes_v6;
  for (const tls::Cipher cipher : {tls::Cipher::Aes128Gcm, tls::Cipher::Aes256Gcm, tls::Cipher::ChaCha20Poly1305}) {
    const auto index = static_cast<std::size_t>(cipher);
    status.engines.push_back({std::string(tls::to_string(cipher)),
                              std::string(tls::to_string(options_.engines.tx[index])),
                              std::string(tls::to_string(options_.engines.rx[index]))});
  }
  status.revocation = revocation();
  status.notes = notes_;
  const std::vector<std::string> of_ports = admin_server_->notes();
  status.notes.insert(status.notes.end(), of_ports.begin(), of_ports.end());
  return status;
}

std::vector<admin::Pod> Agent::pods() const { return pods_->list(); }

std::vector<admin::Workload> Agent::workloads() const {
  std::vector<admin::Workload> rows;
  if (snapshot_ == nullptr) return rows;
  rows.reserve(snapshot_->workload_count());
  snapshot_->for_each_workload([&](const state::WorkloadEntry& workload) {
    if (state::is_superseded(*snapshot_, workload)) return;
    admin::Workload row;
    row.uid = workload.uid();
    row.name = workload.name();
    row.namespace_name = workload.namespace_name();
    row.identity = workload.identity().to_string();
    row.node = workload.node();
    row.network = workload.network();
    row.cluster = workload.cluster();
    row.protocol = state::to_string(workload.protocol());
    row.peer_auth = state::to_string(snapshot_->peer_auth(workload.namespace_name(), workload.name()));
    row.addresses.assign(workload.addresses().begin(), workload.addresses().end());
    row.hostname = workload.hostname();
    if (workload.waypoint()) row.waypoint = state::to_string(*workload.waypoint(), snapshot_->network());
    row.health = workload.is_healthy() ? "HEALTHY" : "UNHEALTHY";
    rows.push_back(std::move(row));
  });
  return rows;
}

std::vector<admin::Service> Agent::services() const {
  std::vector<admin::Service> rows;
  if (snapshot_ == nullptr) return rows;
  rows.reserve(snapshot_->service_count());
  snapshot_->for_each_service([&](const state::Service& service) {
    admin::Service row;
    row.name = service.name;
    row.namespace_name = service.namespace_name;
    row.hostname = service.hostname;
    for (const state::NetworkAddress& vip : service.vips) {
      row.addresses.push_back(state::to_string(vip, snapshot_->network()));
    }
    for (const state::ServicePort& port : service.ports) row.ports.push_back({port.port, port.target_port});
    std::size_t place = 0;
    const std::size_t usable = snapshot_->endpoints(service).usable;
    for (const state::EndpointRow& endpoint : snapshot_->all_endpoints(service)) {
      row.endpoints.push_back(
          {std::string(snapshot_->workload(endpoint.workload).uid()), place++ < usable ? "usable" : "unhealthy"});
    }
    for (const state::ServiceEndpoint& endpoint : service.endpoints) {
      if (snapshot_->find_uid(endpoint.workload_uid) == nullptr)
        row.endpoints.push_back({endpoint.workload_uid, "unknown"});
    }
    if (service.waypoint) row.waypoint = state::to_string(*service.waypoint, snapshot_->network());
    row.mode = state::to_string(service.lb_mode);
    row.visibility = state::to_string(service.visibility);
    rows.push_back(std::move(row));
  });
  return rows;
}

std::vector<admin::Certificate> Agent::certificates() const {
  std::vector<admin::Certificate> rows;
  for (const control::CertificateStatus& status : certificates_->certificates()) {
    rows.push_back({status.identity.to_string(), control::to_string(status), status.serial_decimal, status.not_before_s,
                    status.not_after_s, status.rotates_at_s});
  }
  return rows;
}

std::vector<telemetry::PodCounters> Agent::drops() const {
  std::vector<telemetry::PodCounters> rows;
  for (const admin::Pod& pod : pods_->list()) {
    if (pod.slot == 0) continue;
    const enroll::PodSpec* spec = enroller_->find(pod.id);
    if (spec == nullptr || spec->capture != enroll::Capture::Programs) continue;
    const auto counters = datapath_->counters(pod.slot);
    if (!counters) {
      log_->warn("cannot read the counters of pod {}: {}", pod.id, counters.error().message());
      continue;
    }
    telemetry::PodCounters row{pod.id, pod.name, pod.namespace_name, {}};
    for (const datapath::PodCounter& counter : *counters)
      row.counters.push_back({counter.name, counter.help, counter.value});
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<admin::Explanation> Agent::explain(const std::string& source, const std::string& destination) const {
  if (snapshot_ == nullptr) return fail(ErrorCode::Unavailable, "the mesh is not known yet");
  std::string from = source;
  for (const admin::Pod& pod : pods_->list()) {
    if (pod.id == source && !pod.addresses.empty()) from = pod.addresses.front().to_string();
  }
  policy::ExplainOptions options;
  options.trust_domains = &trust_domains_;
  options.cluster_domain = config_.control_plane.cluster_domain;
  options.unknown = unknown_answer();
  policy::Explanation told = CV_TRY(policy::explain(*snapshot_, from, destination, options));
  admin::Explanation answer{std::move(told.outcome), {}};
  for (policy::ExplainStep& step : told.steps) {
    answer.steps.push_back(
        {std::move(step.what), std::move(step.result), std::move(step.text), std::move(step.decided_by)});
  }
  return answer;
}

void Agent::connections(admin::Reply<std::vector<telemetry::ConnectionLog>> reply) {
  workers_->list_connections([reply = std::move(reply)](std::vector<telemetry::ConnectionLog> rows) {
    std::ranges::sort(rows, {}, &telemetry::ConnectionLog::start_us);
    reply(std::move(rows));
  });
}

void Agent::join(admin::JoinRequest request, admin::Reply<admin::Pod> reply) {
  enroll::PodSpec spec;
  spec.id = request.id.empty() ? request.netns_path.substr(request.netns_path.rfind('/') + 1) : request.id;
  spec.name = request.name.empty() ? spec.id : request.name;
  spec.namespace_name = request.namespace_name.empty() ? "default" : request.namespace_name;
  spec.service_account = request.service_account.empty() ? "default" : request.service_account;
  spec.netns_path = request.netns_path;
  spec.addresses = request.addresses;
  spec.answer_syn = request.answer_syn;
  const std::string id = spec.id;
  Result<UniqueFd> netns = open_netns(request.netns_path);
  if (!netns) return reply(std::unexpected(std::move(netns).error()));
  if (auto joined = pods_->join(std::move(spec), std::move(*netns)); !joined) {
    return reply(std::unexpected(std::move(joined).error()));
  }
  for (const admin::Pod& pod : pods_->list()) {
    if (pod.id == id) return reply(pod);
  }
  reply(fail(ErrorCode::NotFound, "pod {} has left again", id));
}

void Agent::leave(const std::string& id, admin::Reply<void> reply) {
  if (!pods_->is_joined(id)) return reply(fail(ErrorCode::NotFound, "pod {} is not joined (see culvertctl pods)", id));
  reply(pods_->leave(id));
}

void Agent::set_log_level(telemetry::Level level) {
  telemetry::LogFilter filter = log_filter_;
  filter.level = level;
  set_log_filter(filter);
}

telemetry::LogFilter Agent::default_log_filter() const {
  return {.level = config_.log.level,
          .messages = config_.log.message_level,
          .access = config_.log.access_level,
          .dns = config_.log.dns_level};
}

void Agent::set_log_filter(const telemetry::LogFilter& filter) {
  log_filter_ = filter;
  log_->set_filter(filter);
}

std::unique_ptr<admin::DumpSource> Agent::begin_dump() const {
  return std::make_unique<AgentDump>(config_, snapshot_, *certificates_, xds_.get());
}

std::vector<std::string> Agent::pending_tasks() const {
  std::vector<std::string> tasks;
  if (phase_ == Phase::Starting) tasks.emplace_back("proxy");
  if (phase_ == Phase::Draining) tasks.emplace_back("drain");
  if (snapshot_ == nullptr || (xds_ != nullptr && !xds_->is_warm())) tasks.emplace_back("state manager");
  if (revocation_ != nullptr && revocation_->fails_closed() && revocation_->lists().empty())
    tasks.emplace_back("revocation lists");
  for (std::string& listener : admin_server_->pending()) tasks.push_back(std::move(listener));
  if (pods_->failed() > 0 || (zds_session_ != nullptr && !zds_session_->is_ready()))
    tasks.emplace_back("workload proxy manager");
  return tasks;
}

}  // namespace culvert::app
