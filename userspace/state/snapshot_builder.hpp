// SPDX-License-Identifier: Apache-2.0
// SnapshotBuilder: a snapshot of a mesh that is written down as a whole, such as the configuration file: what contradicts itself is a mistake
// of somebody's, and refused. Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "state/snapshot.hpp"
#include "state/store.hpp"

namespace culvert::state {

class SnapshotBuilder {
 public:
  // `network`: the agent's own. It is meant wherever a workload, a virtual address or a reference names none.
  explicit SnapshotBuilder(std::string_view network = {});

  // An address that two workloads of one network claim, or a uid that stands twice, is an error that names both. A hostname may be
  // several workloads'; the first is found by it. Nothing of a refused workload is kept.
  [[nodiscard]] Result<void> add(Workload workload);
  // A hostname that stands twice in one namespace, or a virtual address that two services of one namespace claim, is an error that
  // names both; services of different namespaces may share one. An endpoint whose workload is unknown counts once that is known. Nothing of a
  // refused service is kept.
  [[nodiscard]] Result<void> add(Service service);
  // A policy that stands twice in one namespace is an error.
  [[nodiscard]] Result<void> add(Authorization policy);
  void set_mesh_mode(PeerAuthMode mode);
  void set_namespace_mode(std::string namespace_name, PeerAuthMode mode);
  void set_workload_mode(std::string namespace_name, std::string workload_name, PeerAuthMode mode);
  // `version` grows with every snapshot of this process.
  [[nodiscard]] std::shared_ptr<const Snapshot> build(std::uint64_t version) &&;

 private:
  Store store_;
};

}  // namespace culvert::state
