// SPDX-License-Identifier: Apache-2.0
#include "control/snapshot_build.hpp"

#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "state/snapshot_builder.hpp"

namespace culvert::control {
namespace {

state::ServicePort to_port(const PortConfig& port) { return {port.port, port.target_port.value_or(port.port)}; }

}  // namespace

Result<state::Workload> to_workload(const Config& config, const WorkloadConfig& workload) {
  state::Workload made;
  made.uid = workload.namespace_name + "/" + workload.name;
  made.name = workload.name;
  made.namespace_name = workload.namespace_name;
  made.identity = CV_TRY(SpiffeId::make(config.trust_domain, workload.namespace_name, workload.service_account));
  made.node = workload.node;
  made.network = workload.network && !workload.network->empty() ? *workload.network : config.network;
  made.cluster = workload.cluster.empty() ? config.cluster : workload.cluster;
  made.canonical_name = workload.canonical_name.empty() ? workload.name : workload.canonical_name;
  made.canonical_revision = workload.canonical_revision.empty() ? "latest" : workload.canonical_revision;
  made.protocol = workload.protocol;
  made.addresses = workload.addresses;
  made.hostname = workload.hostname;
  made.waypoint = workload.waypoint;
  made.network_gateway = workload.network_gateway;
  if (const ApplicationTunnelConfig& tunnel = workload.application_tunnel; tunnel.has_proxy_header) {
    made.application_tunnel = {.has_proxy_header = *tunnel.has_proxy_header, .port = tunnel.port};
  }
  made.region = workload.locality.region;
  made.zone = workload.locality.zone;
  made.subzone = workload.locality.subzone;
  made.capacity = workload.capacity;
  made.is_healthy = workload.is_healthy;
  return made;
}

state::Service to_service(const ServiceConfig& service) {
  state::Service made;
  made.name = service.name;
  made.namespace_name = service.namespace_name;
  made.hostname = service.hostname;
  made.vips = service.addresses;
  for (const PortConfig& port : service.ports) made.ports.push_back(to_port(port));
  for (const EndpointConfig& endpoint : service.endpoints) {
    state::ServiceEndpoint& one = made.endpoints.emplace_back();
    one.workload_uid = endpoint_uid(service, endpoint);
    for (const PortConfig& port : endpoint.ports) one.ports.push_back(to_port(port));
  }
  made.subject_alt_names = service.subject_alt_names;
  made.waypoint = service.waypoint;
  made.lb_mode = service.load_balancing.mode;
  made.routing_preference = service.load_balancing.routing_preference;
  made.health_policy = service.load_balancing.health_policy;
  made.ip_families = service.ip_families;
  made.visibility = service.visibility;
  return made;
}

state::Authorization to_authorization(const PolicyConfig& policy) {
  state::Authorization made;
  made.name = policy.name;
  made.namespace_name = policy.namespace_name;
  made.scope = policy.scope;
  made.action = policy.action.value_or(state::PolicyAction::Deny);
  made.rules = policy.rules;
  made.is_dry_run = policy.is_dry_run;
  return made;
}

Result<std::shared_ptr<const state::Snapshot>> build_snapshot(const Config& config,
                                                              std::span<const state::Workload> local,
                                                              std::uint64_t version) {
  state::SnapshotBuilder builder(config.network);
  builder.set_mesh_mode(config.mesh.peer_authentication);
  for (const NamespaceConfig& one : config.mesh.namespaces) {
    if (one.peer_authentication) builder.set_namespace_mode(one.name, *one.peer_authentication);
  }
  std::unordered_map<std::string, std::vector<std::string>> selected;  // by uid: the policies that name it
  for (const PolicyConfig& one : config.mesh.policies) {
    state::Authorization policy = to_authorization(one);
    for (const std::string& workload : one.workloads) selected[selected_uid(one, workload)].push_back(policy.key());
    if (auto added = builder.add(std::move(policy)); !added) return std::unexpected(std::move(added).error());
  }
  const auto select = [&selected](state::Workload& workload) {
    if (const auto keys = selected.find(workload.uid); keys != selected.end())
      workload.authorization_policies = keys->second;
  };
  std::unordered_set<IpAddress> taken;
  std::unordered_set<std::string> uids;
  for (const WorkloadConfig& one : config.mesh.workloads) {
    if (one.peer_authentication) builder.set_workload_mode(one.namespace_name, one.name, *one.peer_authentication);
    state::Workload workload = CV_TRY(to_workload(config, one));
    if (workload.network == config.network) taken.insert(workload.addresses.begin(), workload.addresses.end());
    uids.insert(workload.uid);
    select(workload);
    if (auto added = builder.add(std::move(workload)); !added) return std::unexpected(std::move(added).error());
  }
  for (const ServiceConfig& one : config.mesh.services) {
    if (auto added = builder.add(to_service(one)); !added) return std::unexpected(std::move(added).error());
  }
  for (const state::Authorization& policy : config.local->policies) {
    if (auto added = builder.add(policy); !added) return std::unexpected(std::move(added).error());
  }
  for (const state::Workload& workload : config.local->workloads) {
    if (workload.network == config.network) taken.insert(workload.addresses.begin(), workload.addresses.end());
    uids.insert(workload.uid);
    if (auto added = builder.add(workload); !added) return std::unexpected(std::move(added).error());
  }
  for (const state::Service& service : config.local->services) {
    if (auto added = builder.add(service); !added) return std::unexpected(std::move(added).error());
  }
  for (state::Workload workload : local) {
    std::erase_if(workload.addresses, [&taken](const IpAddress& address) { return !taken.insert(address).second; });
    if (workload.addresses.empty() || !uids.insert(workload.uid).second) continue;
    select(workload);
    if (auto added = builder.add(std::move(workload)); !added) return std::unexpected(std::move(added).error());
  }
  return std::move(builder).build(version);
}

}  // namespace culvert::control
