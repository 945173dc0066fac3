// SPDX-License-Identifier: Apache-2.0
// Building the snapshot, on the control thread: conflicts are refused, and what the data path compares is brought side by side.
#include <utility>

#include "state/snapshot.hpp"

namespace culvert::state {

SnapshotBuilder::SnapshotBuilder(std::string_view network) {
  static_cast<void>(snapshot_->names_.intern(network));  // the first: kOwnNetwork
}

std::uint32_t SnapshotBuilder::network_number(std::string_view network) {
  return network.empty() ? Snapshot::kOwnNetwork : snapshot_->names_.intern(network);
}

Result<void> SnapshotBuilder::add(Workload workload) {
  Snapshot& snapshot = *snapshot_;
  const auto index = static_cast<std::uint32_t>(snapshot.workloads_.size());
  if (const Workload* other = snapshot.find_uid(workload.uid); other != nullptr) {
    return fail(ErrorCode::AlreadyExists, "workload {}/{} has the uid {} of {}/{}; a uid names one workload",
                workload.namespace_name, workload.name, workload.uid, other->namespace_name, other->name);
  }
  for (const IpAddress& address : workload.addresses) {
    if (const Workload* other = snapshot.find(workload.network, address); other != nullptr) {
      return fail(ErrorCode::AlreadyExists,
                  "address {} of workload {} belongs to workload {}; an address has one workload", address.to_string(),
                  workload.uid, other->uid);
    }
  }
  if (workload.network.empty()) workload.network = snapshot.network();
  if (workload.canonical_name.empty()) workload.canonical_name = workload.name;
  if (workload.canonical_revision.empty()) workload.canonical_revision = "latest";
  NameTable& names = snapshot.names_;
  const std::uint32_t network = network_number(workload.network);
  for (const IpAddress& address : workload.addresses) {
    if (snapshot.by_address_.find(network, address) == AddressTable::kNone) {
      snapshot.by_address_.add(network, address, index);
    }
  }
  snapshot.by_uid_.insert(hash_of(workload.uid), index);
  if (!workload.hostname.empty() && snapshot.find_workload(workload.namespace_name, workload.hostname) == nullptr) {
    snapshot.workload_by_hostname_.insert(hash_of(workload.namespace_name, workload.hostname), index);
  }
  snapshot.traits_.push_back({.network = network,
                              .region = names.intern(workload.region),
                              .zone = names.intern(workload.zone),
                              .subzone = names.intern(workload.subzone),
                              .node = names.intern(workload.node),
                              .cluster = names.intern(workload.cluster),
                              .capacity = workload.capacity,
                              .sole_address = workload.addresses.size() == 1 ? workload.addresses[0] : IpAddress(),
                              .has_sole_address = workload.addresses.size() == 1,
                              .has_address = !workload.addresses.empty() || !workload.hostname.empty(),
                              .has_gateway = workload.network_gateway.has_value(),
                              .has_application_tunnel = workload.application_tunnel.has_value(),
                              .has_waypoint = workload.waypoint.has_value(),
                              .has_tunnel = workload.protocol == Protocol::Tunnel});
  snapshot.workloads_.push_back(std::move(workload));
  return {};
}

Result<void> SnapshotBuilder::add(Service service) {
  Snapshot& snapshot = *snapshot_;
  const auto index = static_cast<std::uint32_t>(snapshot.services_.size());
  if (const Service* other = snapshot.find_service(service.namespace_name, service.hostname); other != nullptr) {
    return fail(ErrorCode::AlreadyExists,
                "service {}/{} has the hostname {} of service {}/{}; a hostname names one service of a namespace",
                service.namespace_name, service.name, service.hostname, other->namespace_name, other->name);
  }
  for (NetworkAddress& vip : service.vips) {
    if (vip.network.empty()) vip.network = snapshot.network();
    // The best match for the service's own namespace is the one of that namespace, if there is one.
    const Service* other = snapshot.find_vip(vip.network, vip.address, service.namespace_name);
    if (other == nullptr || other->namespace_name != service.namespace_name) continue;
    return fail(ErrorCode::AlreadyExists,
                "virtual address {} of service {}/{} belongs to service {}/{}; in a namespace it has one service",
                vip.address.to_string(), service.namespace_name, service.name, other->namespace_name, other->name);
  }
  for (const NetworkAddress& vip : service.vips) {
    const std::uint32_t network = network_number(vip.network);
    std::uint32_t at = snapshot.by_vip_.find(network, vip.address);
    while (at != AddressTable::kNone && snapshot.by_vip_.entry(at).owner != index) at = snapshot.by_vip_.entry(at).next;
    if (at == AddressTable::kNone) snapshot.by_vip_.add(network, vip.address, index);
  }
  snapshot.service_by_name_.insert(hash_of(service.namespace_name, service.hostname), index);
  std::uint32_t last = snapshot.service_by_hostname_.find(hash_of(service.hostname), [&](std::uint32_t number) {
    return snapshot.services_[number].hostname == service.hostname;
  });
  if (last == FlatIndex::kNone) {
    snapshot.service_by_hostname_.insert(hash_of(service.hostname), index);
  } else {
    while (snapshot.next_same_hostname_[last] != FlatIndex::kNone) last = snapshot.next_same_hostname_[last];
    snapshot.next_same_hostname_[last] = index;
  }
  snapshot.next_same_hostname_.push_back(FlatIndex::kNone);
  snapshot.service_traits_.push_back({.lb_mode = service.lb_mode,
                                      .ip_families = service.ip_families,
                                      .is_public = service.visibility == Visibility::Public,
                                      .has_waypoint = service.waypoint || !service.weighted_waypoints.empty()});
  snapshot.services_.push_back(std::move(service));
  return {};
}

Result<void> SnapshotBuilder::add(Authorization policy) {
  if (policies_->find(policy.key()) != nullptr) {
    return fail(ErrorCode::AlreadyExists, "policy {} stands twice; a name is one policy's in a namespace",
                policy.key());
  }
  policies_->insert(std::make_shared<const Authorization>(std::move(policy)));
  return {};
}

void SnapshotBuilder::link_endpoints() {
  Snapshot& snapshot = *snapshot_;
  std::vector<EndpointRow> unusable;
  for (std::size_t number = 0; number < snapshot.services_.size(); ++number) {
    const Service& service = snapshot.services_[number];
    ServiceTraits& traits = snapshot.service_traits_[number];
    traits.rows_begin = static_cast<std::uint32_t>(snapshot.rows_.size());
    std::uint64_t weight = 0;
    unusable.clear();
    for (std::size_t i = 0; i < service.endpoints.size(); ++i) {
      const Workload* workload = snapshot.find_uid(service.endpoints[i].workload_uid);
      if (workload == nullptr) continue;
      EndpointRow row{.workload = static_cast<std::uint32_t>(workload - snapshot.workloads_.data()),
                      .endpoint = static_cast<std::uint32_t>(i) & 0x7fff'ffffU,
                      .has_own_ports = service.endpoints[i].ports.empty() ? 0U : 1U,
                      .weight_end = 0};
      if (!workload->is_healthy && service.health_policy == HealthPolicy::OnlyHealthy) {
        unusable.push_back(row);
        continue;
      }
      weight += workload->capacity;
      row.weight_end = weight;
      snapshot.rows_.push_back(row);
      traits.all_have_addresses = traits.all_have_addresses && snapshot.traits_[row.workload].has_address;
    }
    traits.rows_usable_end = static_cast<std::uint32_t>(snapshot.rows_.size());
    snapshot.rows_.insert(snapshot.rows_.end(), unusable.begin(), unusable.end());
    traits.rows_end = static_cast<std::uint32_t>(snapshot.rows_.size());
  }
}

void SnapshotBuilder::set_mesh_mode(PeerAuthMode mode) { snapshot_->mesh_mode_ = mode; }

void SnapshotBuilder::set_namespace_mode(std::string namespace_name, PeerAuthMode mode) {
  snapshot_->namespace_modes_.insert_or_assign(std::move(namespace_name), mode);
}

void SnapshotBuilder::set_workload_mode(std::string namespace_name, std::string workload_name, PeerAuthMode mode) {
  snapshot_->workload_modes_.insert_or_assign(
      Snapshot::WorkloadKey{std::move(namespace_name), std::move(workload_name)}, mode);
}

std::shared_ptr<const Snapshot> SnapshotBuilder::build(std::uint64_t version) && {
  link_endpoints();
  snapshot_->policies_ = std::move(policies_);
  snapshot_->version_ = version;
  return std::exchange(snapshot_, nullptr);
}

}  // namespace culvert::state
