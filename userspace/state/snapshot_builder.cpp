// SPDX-License-Identifier: Apache-2.0
#include "state/snapshot_builder.hpp"

#include <utility>

namespace culvert::state {

SnapshotBuilder::SnapshotBuilder(std::string_view network) : store_(network) {}

Result<void> SnapshotBuilder::add(Workload workload) {
  const Snapshot& so_far = store_.now();
  if (const WorkloadEntry* other = so_far.find_uid(workload.uid); other != nullptr) {
    return fail(ErrorCode::AlreadyExists, "workload {}/{} has the uid {} of {}/{}; a uid names one workload",
                workload.namespace_name, workload.name, workload.uid, other->namespace_name(), other->name());
  }
  for (const IpAddress& address : workload.addresses) {
    if (const WorkloadEntry* other = so_far.find(workload.network, address); other != nullptr) {
      return fail(ErrorCode::AlreadyExists,
                  "address {} of workload {} belongs to workload {}; an address has one workload", address.to_string(),
                  workload.uid, other->uid());
    }
  }
  store_.upsert(std::move(workload));
  return {};
}

Result<void> SnapshotBuilder::add(Service service) {
  const Snapshot& so_far = store_.now();
  if (const Service* other = so_far.find_service(service.namespace_name, service.hostname); other != nullptr) {
    return fail(ErrorCode::AlreadyExists,
                "service {}/{} has the hostname {} of service {}/{}; a hostname names one service of a namespace",
                service.namespace_name, service.name, service.hostname, other->namespace_name, other->name);
  }
  for (const NetworkAddress& vip : service.vips) {
    // The best match for the service's own namespace is the one of that namespace, if there is one.
    const Service* other = so_far.find_vip(vip.network, vip.address, service.namespace_name);
    if (other == nullptr || other->namespace_name != service.namespace_name) continue;
    return fail(ErrorCode::AlreadyExists,
                "virtual address {} of service {}/{} belongs to service {}/{}; in a namespace it has one service",
                vip.address.to_string(), service.namespace_name, service.name, other->namespace_name, other->name);
  }
  store_.upsert(service);
  return {};
}

Result<void> SnapshotBuilder::add(Authorization policy) {
  if (store_.now().policies().find(policy.key()) != nullptr) {
    return fail(ErrorCode::AlreadyExists, "policy {} stands twice; a name is one policy's in a namespace",
                policy.key());
  }
  store_.upsert(std::move(policy));
  return {};
}

void SnapshotBuilder::set_mesh_mode(PeerAuthMode mode) { store_.set_mesh_mode(mode); }

void SnapshotBuilder::set_namespace_mode(std::string namespace_name, PeerAuthMode mode) {
  store_.set_namespace_mode(namespace_name, mode);
}

void SnapshotBuilder::set_workload_mode(std::string namespace_name, std::string workload_name, PeerAuthMode mode) {
  store_.set_workload_mode(namespace_name, workload_name, mode);
}

std::shared_ptr<const Snapshot> SnapshotBuilder::build(std::uint64_t version) && { return store_.publish(version); }

}  // namespace culvert::state
