// SPDX-License-Identifier: Apache-2.0
// Snapshot: the immutable picture that every worker decides by. Built on the control thread, shared as
// shared_ptr<const Snapshot>; a worker takes the newest at a safe point and never waits for one. Every lookup is constant time and
// allocates nothing; what it answers lives as long as the snapshot.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "state/policy_index.hpp"
#include "state/service.hpp"
#include "state/snapshot_index.hpp"
#include "state/workload.hpp"

namespace culvert::state {

// What a decision asks of a workload, in one cache line: among 100,000 of them, memory is what a decision waits for. Two names are equal
// when their numbers are.
struct alignas(64) WorkloadTraits {
  std::uint32_t network = NameTable::kNone;
  std::uint32_t region = NameTable::kNone;
  std::uint32_t zone = NameTable::kNone;
  std::uint32_t subzone = NameTable::kNone;
  std::uint32_t node = NameTable::kNone;
  std::uint32_t cluster = NameTable::kNone;
  std::uint32_t capacity = 0;
  IpAddress sole_address;  // where it has exactly one
  bool has_sole_address = false;
  bool has_address = false;  // or a hostname
  bool has_gateway = false;  // to its network
  bool has_application_tunnel = false;
  bool has_waypoint = false;
  bool has_tunnel = false;  // Protocol::Tunnel
};

// An endpoint of a service whose workload is known.
struct EndpointRow {
  std::uint32_t workload;       // its number among workloads()
  std::uint32_t endpoint : 31;  // its number among Service::endpoints
  std::uint32_t has_own_ports : 1;
  std::uint64_t weight_end;  // capacities up to and including this row
};

// Likewise of a service.
struct ServiceTraits {
  std::uint32_t rows_begin = 0;       // of the snapshot's rows
  std::uint32_t rows_usable_end = 0;  // up to here: those that the health policy lets in
  std::uint32_t rows_end = 0;         // up to here: the others
  LbMode lb_mode = LbMode::Unspecified;
  IpFamilies ip_families = IpFamilies::Automatic;
  bool is_public = true;
  bool has_waypoint = false;
  bool all_have_addresses = true;  // of the usable endpoints
};

class Snapshot {
 public:
  // The agent's own network.
  [[nodiscard]] std::string_view network() const noexcept { return names_.text(kOwnNetwork); }
  // Null when the address is not in the mesh (passthrough). Without a network: the agent's own. An empty network is the agent's own.
  [[nodiscard]] const Workload* find(const IpAddress& address) const noexcept;
  [[nodiscard]] const Workload* find(std::string_view network, const IpAddress& address) const noexcept;
  [[nodiscard]] const Workload* find_uid(std::string_view uid) const noexcept;
  [[nodiscard]] const Workload* find_workload(std::string_view namespace_name,
                                              std::string_view hostname) const noexcept;
  // The service with this virtual address that a client of `client_namespace` sees: its own namespace's first, then one that is
  // canonical, then the first that was added. Without a namespace nothing is hidden.
  [[nodiscard]] const Service* find_vip(std::string_view network, const IpAddress& address,
                                        std::optional<std::string_view> client_namespace) const noexcept;
  // Exactly this one, whoever asks.
  [[nodiscard]] const Service* find_service(std::string_view namespace_name, std::string_view hostname) const noexcept;
  // By hostname alone, chosen as by find_vip.
  [[nodiscard]] const Service* find_hostname(std::string_view hostname,
                                             std::string_view client_namespace) const noexcept;
  // The mode that rules connections to `namespace_name`/`workload_name`: the workload's, else the namespace's, else the mesh's.
  [[nodiscard]] PeerAuthMode peer_auth(std::string_view namespace_name, std::string_view workload_name) const noexcept;
  [[nodiscard]] const std::vector<Workload>& workloads() const noexcept { return workloads_; }
  [[nodiscard]] const std::vector<Service>& services() const noexcept { return services_; }
  [[nodiscard]] const PolicyIndex& policies() const noexcept { return *policies_; }
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

  // For the decisions. `service` and `workload` are this snapshot's.
  [[nodiscard]] const ServiceTraits& traits(const Service& service) const noexcept {
    return service_traits_[static_cast<std::size_t>(&service - services_.data())];
  }
  [[nodiscard]] std::span<const EndpointRow> usable_endpoints(const Service& service) const noexcept {
    const ServiceTraits& of = traits(service);
    return std::span(rows_).subspan(of.rows_begin, of.rows_usable_end - of.rows_begin);
  }
  // Healthy or not.
  [[nodiscard]] std::span<const EndpointRow> all_endpoints(const Service& service) const noexcept {
    const ServiceTraits& of = traits(service);
    return std::span(rows_).subspan(of.rows_begin, of.rows_end - of.rows_begin);
  }
  [[nodiscard]] const WorkloadTraits& traits(std::uint32_t workload) const noexcept { return traits_[workload]; }
  [[nodiscard]] const WorkloadTraits& traits(const Workload& workload) const noexcept {
    return traits_[static_cast<std::size_t>(&workload - workloads_.data())];
  }
  // The number of a name that some workload has, or NameTable::kNone.
  [[nodiscard]] std::uint32_t network_number(std::string_view network) const noexcept;

 private:
  friend class SnapshotBuilder;
  static constexpr std::uint32_t kOwnNetwork = 0;
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
  NameTable names_;
  std::vector<Workload> workloads_;
  std::vector<WorkloadTraits> traits_;  // of each workload
  AddressTable by_address_;
  FlatIndex by_uid_;
  FlatIndex workload_by_hostname_;
  std::vector<Service> services_;
  std::vector<ServiceTraits> service_traits_;  // of each service
  std::vector<EndpointRow> rows_;
  AddressTable by_vip_;
  FlatIndex service_by_name_;                      // namespace and hostname
  FlatIndex service_by_hostname_;                  // the first with a hostname
  std::vector<std::uint32_t> next_same_hostname_;  // of each service, or FlatIndex::kNone
  std::shared_ptr<const PolicyIndex> policies_ = std::make_shared<PolicyIndex>();
  PeerAuthMode mesh_mode_ = PeerAuthMode::Permissive;
  std::unordered_map<std::string, PeerAuthMode, NameHash, NameEqual> namespace_modes_;
  std::unordered_map<WorkloadKey, PeerAuthMode, NameHash, NameEqual> workload_modes_;
};

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
  [[nodiscard]] std::uint32_t network_number(std::string_view network);
  void link_endpoints();

  std::shared_ptr<Snapshot> snapshot_ = std::make_shared<Snapshot>();
  std::shared_ptr<PolicyIndex> policies_ = std::make_shared<PolicyIndex>();
};

}  // namespace culvert::state
