// SPDX-License-Identifier: Apache-2.0
// ConfigDump; see config_dump.hpp.
#include "admin/config_dump.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "admin/base64.hpp"
#include "admin/dump_objects.hpp"
#include "state/superseded.hpp"

namespace culvert::admin {
namespace {

void write_certificates(JsonWriter& json, std::string_view key, const std::vector<DumpCertificate>& certificates) {
  json.key(key).begin_array();
  for (const DumpCertificate& one : certificates) {
    json.begin_object()
        .field("pem", base64(one.pem))
        .field("serialNumber", one.serial_decimal)
        .field("validFrom", one.not_before)
        .field("expirationTime", one.not_after)
        .end_object();
  }
  json.end_array();
}

// ztunnel knows one kind of tunnel, and so do those who read its dumps; which of ours it is stands beside.
void write_transport(JsonWriter& json, telemetry::Transport transport) {
  const bool is_tunnel = transport != telemetry::Transport::Plaintext;
  json.field("protocol", is_tunnel ? "HBONE" : "TCP");
  if (is_tunnel) json.field("tunnel", telemetry::to_string(transport));
}

}  // namespace

DumpConnection::DumpConnection(const telemetry::ConnectionLog& connection)
    : source(connection.source.address),
      original(connection.original_destination),
      actual(connection.destination.address),
      transport(connection.transport) {
  if (connection.direction != telemetry::Direction::Inbound) return;
  // Of an inbound tunnel the row's address is the agent's listener; what counts here is where it leads.
  actual = connection.original_destination;
  if (!Endpoint::parse(connection.authority)) hostname = connection.authority;
}

std::map<std::string, DumpPod> dump_pods(std::vector<Pod> pods,
                                         const std::vector<telemetry::ConnectionLog>& connections) {
  std::map<std::string, DumpPod> made;
  for (Pod& pod : pods) {
    std::string id = pod.id;
    made.emplace(std::move(id), DumpPod{std::move(pod), {}, {}});
  }
  for (const telemetry::ConnectionLog& connection : connections) {
    const auto found = made.find(connection.pod);
    if (found == made.end()) continue;
    const bool is_inbound = connection.direction == telemetry::Direction::Inbound;
    (is_inbound ? found->second.inbound : found->second.outbound).emplace_back(connection);
  }
  return made;
}

ConfigDump::ConfigDump(std::unique_ptr<DumpSource> source, std::map<std::string, DumpPod> pods,
                       std::shared_ptr<void> lease)
    : source_(std::move(source)), pods_(std::move(pods)), lease_(std::move(lease)) {}

bool ConfigDump::next(std::string& out) {
  const std::size_t end = out.size() + kPieceBytes;
  json_.write_to(out);
  while (step_ != nullptr && out.size() < end) (this->*step_)();
  if (step_ == nullptr) out += '\n';
  return step_ != nullptr;
}

void ConfigDump::begin_list(std::string_view key, Step step) {
  json_.key(key).begin_array();
  at_ = 0;
  step_ = step;
}

void ConfigDump::begin_map(std::string_view key, Step step) {
  json_.key(key).begin_object();
  at_ = 0;
  step_ = step;
}

void ConfigDump::begin() {
  json_.begin_object();
  begin_list("workloads", &ConfigDump::workload);
}

void ConfigDump::workload() {
  const state::Snapshot* mesh = source_->snapshot();
  while (mesh != nullptr && at_ < mesh->workload_slots()) {
    if (const state::WorkloadEntry* one = mesh->workload_at(at_++);
        one != nullptr && !state::is_superseded(*mesh, *one))
      return write_workload(json_, *one, mesh->network());
  }
  json_.end_array();
  begin_list("services", &ConfigDump::service);
}

void ConfigDump::service() {
  const state::Snapshot* mesh = source_->snapshot();
  while (mesh != nullptr && at_ < mesh->service_slots()) {
    const state::Service* one = mesh->service_at(at_);
    if (one == nullptr) {
      ++at_;
      continue;
    }
    begin_service(json_, *one, mesh->network());
    inner_at_ = 0;
    step_ = &ConfigDump::endpoint;
    return;
  }
  json_.end_array();
  if (mesh != nullptr) {
    policies_.reserve(mesh->policies().size());
    mesh->policies().for_each([this](const state::Authorization& policy) { policies_.push_back(&policy); });
    std::ranges::sort(policies_, [](const state::Authorization* a, const state::Authorization* b) {
      return std::tie(a->namespace_name, a->name) < std::tie(b->namespace_name, b->name);
    });
  }
  begin_list("policies", &ConfigDump::policy);
}

void ConfigDump::endpoint() {
  const state::Snapshot& mesh = *source_->snapshot();
  const state::Service& service = *mesh.service_at(at_);
  const state::EndpointTable& table = mesh.endpoints(service);
  // As ztunnel: what may not be used is no endpoint.
  const auto rows = mesh.usable_endpoints(service);
  if (inner_at_ == rows.size()) {
    end_service(json_, service, mesh.network());
    ++at_;
    step_ = &ConfigDump::service;
    return;
  }
  const state::EndpointRow& row = rows[inner_at_++];
  const state::WorkloadEntry& workload = mesh.workload(row.workload);
  const std::vector<state::ServicePort>* own_ports = table.own_ports(row);
  write_endpoint(json_, workload.uid(), own_ports != nullptr ? *own_ports : service.ports, workload.is_healthy());
}

void ConfigDump::policy() {
  if (at_ < policies_.size()) return write_policy(json_, *policies_[at_++]);
  json_.end_array();
  staged_ = source_->staged_after(std::nullopt);
  begin_map("stagedServices", &ConfigDump::staged);
}

void ConfigDump::staged() {
  if (!staged_) {
    json_.end_object();
    json_.key("staticConfig").begin_object();
    begin_list("workloads", &ConfigDump::local_workload);
    return;
  }
  json_.key(staged_->namespace_name + "/" + staged_->hostname).begin_object();
  inner_at_ = 0;
  step_ = &ConfigDump::staged_endpoint;
}

void ConfigDump::staged_endpoint() {
  if (inner_at_ < staged_->workload_uids.size()) {
    const std::string& uid = staged_->workload_uids[inner_at_++];
    const state::Snapshot* mesh = source_->snapshot();
    const state::WorkloadEntry* workload = mesh == nullptr ? nullptr : mesh->find_uid(uid);
    return write_endpoint(json_, uid, {}, workload != nullptr && workload->is_healthy());
  }
  json_.end_object();
  staged_ = source_->staged_after(DumpSource::ServiceName(staged_->namespace_name, staged_->hostname));
  step_ = &ConfigDump::staged;
}

// What our own file says of the mesh is among the workloads, services and policies above alone: its form is another one.
void ConfigDump::local_workload() {
  const auto workloads = source_->local().workloads;
  if (at_ < workloads.size()) return write_local_workload(json_, workloads[at_++]);
  json_.end_array();
  begin_list("policies", &ConfigDump::local_policy);
}

void ConfigDump::local_policy() {
  const auto policies = source_->local().policies;
  if (at_ < policies.size()) return write_policy(json_, policies[at_++]);
  json_.end_array();
  begin_list("services", &ConfigDump::local_service);
}

void ConfigDump::local_service() {
  const auto services = source_->local().services;
  if (at_ < services.size()) {
    begin_service(json_, services[at_], {});
    inner_at_ = 0;
    step_ = &ConfigDump::local_endpoint;
    return;
  }
  json_.end_array().end_object();
  step_ = &ConfigDump::constants;
}

void ConfigDump::local_endpoint() {
  const state::Service& service = source_->local().services[at_];
  if (inner_at_ < service.endpoints.size()) return write_local_endpoint(json_, service.endpoints[inner_at_++]);
  end_service(json_, service, {});
  ++at_;
  step_ = &ConfigDump::local_service;
}

void ConfigDump::constants() {
  json_.key("version").begin_object();
  source_->write_version(json_);
  json_.end_object();
  json_.key("config").begin_object();
  source_->write_config(json_);
  json_.end_object();
  begin_list("certificates", &ConfigDump::certificate);
}

void ConfigDump::certificate() {
  if (at_ == source_->identity_count()) {
    json_.end_array();
    begin_map("workloadState", &ConfigDump::pod);
    return;
  }
  const DumpIdentity identity = source_->identity(at_++);
  json_.begin_object().field("identity", identity.identity).field("state", identity.state);
  write_certificates(json_, "certChain", identity.chain);
  write_certificates(json_, "rootCerts", identity.roots);
  json_.end_object();
}

void ConfigDump::pod() {
  if (!pods_.empty()) {
    const auto& [id, one] = *pods_.begin();
    json_.key(id).begin_object().field("state", one.pod.state == "failed" ? "Pending" : "Up");
    json_.key("connections").begin_object().key("inbound").begin_array();
    inner_at_ = 0;
    step_ = &ConfigDump::inbound;
    return;
  }
  json_.end_object();  // the pods
  json_.end_object();  // everything
  step_ = nullptr;
}

void ConfigDump::inbound() {
  const DumpPod& one = pods_.begin()->second;
  if (inner_at_ == one.inbound.size()) {
    json_.end_array().key("outbound").begin_array();
    inner_at_ = 0;
    step_ = &ConfigDump::outbound;
    return;
  }
  const DumpConnection& connection = one.inbound[inner_at_++];
  json_.begin_object().field("src", connection.source.to_string()).key("originalDst");
  if (connection.hostname.empty()) {
    json_.null();
  } else {
    json_.value(connection.hostname);
  }
  json_.field("actualDst", connection.actual.to_string());
  write_transport(json_, connection.transport);
  json_.end_object();
}

void ConfigDump::outbound() {
  const DumpPod& one = pods_.begin()->second;
  if (inner_at_ < one.outbound.size()) {
    const DumpConnection& connection = one.outbound[inner_at_++];
    json_.begin_object()
        .field("src", connection.source.to_string())
        .field("originalDst", connection.original.to_string())
        .field("actualDst", connection.actual.to_string());
    write_transport(json_, connection.transport);
    json_.end_object();
    return;
  }
  json_.end_array().end_object();  // the connections
  json_.key("info").begin_object().field("name", one.pod.name).field("namespace", one.pod.namespace_name);
  if (const auto identity = SpiffeId::parse(one.pod.identity)) json_.field("trustDomain", identity->trust_domain);
  json_.field("serviceAccount", one.pod.service_account).end_object().end_object();
  pods_.erase(pods_.begin());  // their rows are not needed any more
  step_ = &ConfigDump::pod;
}

}  // namespace culvert::admin
