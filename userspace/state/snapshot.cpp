// SPDX-License-Identifier: Apache-2.0
// Building and asking the snapshot. Built on the control thread; asked by every worker, without locks or allocation.
#include "state/snapshot.hpp"

#include <utility>

namespace culvert::state {

const Workload* Snapshot::find(const IpAddress& address) const noexcept {
  const auto found = by_address_.find(address);
  return found == by_address_.end() ? nullptr : &workloads_[found->second];
}

PeerAuthMode Snapshot::peer_auth(std::string_view namespace_name, std::string_view workload_name) const noexcept {
  if (!workload_modes_.empty()) {
    const auto of_workload = workload_modes_.find(WorkloadName{namespace_name, workload_name});
    if (of_workload != workload_modes_.end()) return of_workload->second;
  }
  const auto of_namespace = namespace_modes_.find(namespace_name);
  return of_namespace == namespace_modes_.end() ? mesh_mode_ : of_namespace->second;
}

Result<void> SnapshotBuilder::add(Workload workload) {
  Snapshot& snapshot = *snapshot_;
  const auto index = static_cast<std::uint32_t>(snapshot.workloads_.size());
  if (const auto same = by_uid_.find(workload.uid); same != by_uid_.end()) {
    const Workload& other = snapshot.workloads_[same->second];
    return fail(ErrorCode::AlreadyExists, "workload {}/{} has the uid {} of {}/{}; a uid names one workload",
                workload.namespace_name, workload.name, workload.uid, other.namespace_name, other.name);
  }
  for (const IpAddress& address : workload.addresses) {
    if (const Workload* other = snapshot.find(address); other != nullptr) {
      return fail(ErrorCode::AlreadyExists,
                  "address {} of workload {} belongs to workload {}; an address has one workload", address.to_string(),
                  workload.uid, other->uid);
    }
  }
  if (workload.canonical_name.empty()) workload.canonical_name = workload.name;
  if (workload.canonical_revision.empty()) workload.canonical_revision = "latest";
  for (const IpAddress& address : workload.addresses) snapshot.by_address_.emplace(address, index);
  by_uid_.emplace(workload.uid, index);
  snapshot.workloads_.push_back(std::move(workload));
  return {};
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
  snapshot_->version_ = version;
  by_uid_.clear();
  return std::exchange(snapshot_, nullptr);
}

}  // namespace culvert::state
