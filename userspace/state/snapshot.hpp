// SPDX-License-Identifier: Apache-2.0
// Snapshot: the immutable picture that every worker decides by. Built on the control thread, shared as
// shared_ptr<const Snapshot>; a worker takes the newest at a safe point and never waits for one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "state/workload.hpp"

namespace culvert::state {

class Snapshot {
 public:
  // Constant time. Null when the address is not in the mesh (passthrough).
  [[nodiscard]] const Workload* find(const IpAddress& address) const noexcept;
  // The mode that rules connections to `namespace_name`/`workload_name`: the workload's, else the namespace's, else the mesh's.
  [[nodiscard]] PeerAuthMode peer_auth(std::string_view namespace_name, std::string_view workload_name) const noexcept;
  [[nodiscard]] const std::vector<Workload>& workloads() const noexcept { return workloads_; }
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

 private:
  friend class SnapshotBuilder;
  // Asked for by views, so that a lookup on the data path makes no string.
  struct WorkloadName {
    std::string_view namespace_name;
    std::string_view workload_name;
    bool operator==(const WorkloadName&) const noexcept = default;
  };
  struct WorkloadKey {
    std::string namespace_name;
    std::string workload_name;
    operator WorkloadName() const noexcept { return {namespace_name, workload_name}; }
  };
  struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept { return std::hash<std::string_view>{}(name); }
    std::size_t operator()(const WorkloadName& name) const noexcept {
      return (*this)(name.namespace_name) * 31U + (*this)(name.workload_name);
    }
  };
  struct NameEqual {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const noexcept { return a == b; }
    bool operator()(const WorkloadName& a, const WorkloadName& b) const noexcept { return a == b; }
  };

  std::uint64_t version_ = 0;
  std::vector<Workload> workloads_;
  std::unordered_map<IpAddress, std::uint32_t> by_address_;
  PeerAuthMode mesh_mode_ = PeerAuthMode::Permissive;
  std::unordered_map<std::string, PeerAuthMode, NameHash, NameEqual> namespace_modes_;
  std::unordered_map<WorkloadKey, PeerAuthMode, NameHash, NameEqual> workload_modes_;
};

class SnapshotBuilder {
 public:
  // An address that two workloads claim, or a uid that stands twice, is an error that names both.
  // Nothing of a refused workload is kept.
  [[nodiscard]] Result<void> add(Workload workload);
  void set_mesh_mode(PeerAuthMode mode);
  void set_namespace_mode(std::string namespace_name, PeerAuthMode mode);
  void set_workload_mode(std::string namespace_name, std::string workload_name, PeerAuthMode mode);
  // `version` grows with every snapshot of this process.
  [[nodiscard]] std::shared_ptr<const Snapshot> build(std::uint64_t version) &&;

 private:
  std::shared_ptr<Snapshot> snapshot_ = std::make_shared<Snapshot>();
  std::unordered_map<std::string, std::uint32_t> by_uid_;
};

}  // namespace culvert::state
