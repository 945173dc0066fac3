// SPDX-License-Identifier: Apache-2.0
// Snapshot: the immutable picture that every worker decides by. Made by Store on the control thread, shared as
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
#include "state/absent_names.hpp"
#include "state/policy_index.hpp"
#include "state/range_table.hpp"
#include "state/service.hpp"
#include "state/shared_array.hpp"
#include "state/shared_index.hpp"
#include "state/snapshot_index.hpp"
#include "state/workload_entry.hpp"

namespace culvert::state {

// An endpoint of a service whose workload is known.
struct EndpointRow {
  std::uint64_t weight_end;  // capacities up to and including this row
  std::uint32_t workload;    // its number
  std::uint32_t own_ports;   // its place in EndpointTable::port_lists, or kServicePorts
  static constexpr std::uint32_t kServicePorts = 0xffff'ffff;
};

// The endpoints of one service. First those that the health policy lets in, then the others.
struct EndpointTable {
  std::vector<EndpointRow> rows;
  std::vector<const std::vector<ServicePort>*> port_lists;  // each once; they are the workloads'
  std::uint32_t usable = 0;
  bool all_have_addresses = true;  // of the usable ones

  // The endpoint's own mapping; null: the service's.
  [[nodiscard]] const std::vector<ServicePort>* own_ports(const EndpointRow& row) const noexcept {
    return row.own_ports == EndpointRow::kServicePorts ? nullptr : port_lists[row.own_ports];
  }
};

// What a decision asks of a service.
struct ServiceTraits {
  LbMode lb_mode = LbMode::Unspecified;
  IpFamilies ip_families = IpFamilies::Automatic;
  bool is_public = true;
  bool has_waypoint = false;
};

// As a snapshot keeps them.
struct ServiceEntry : Service {
  ServiceTraits traits;
  std::uint32_t number = 0;
  std::uint64_t name_hash = 0;
};
// Of everything that metrics tell of it by name: the same, in any snapshot, for as long as that is.
[[nodiscard]] std::uint64_t name_hash_of(const Service& service) noexcept;

// Peer authentication of the file configuration. A control plane says it by policies instead.
class PeerAuthModes {
 public:
  void set_mesh(PeerAuthMode mode) noexcept { mesh_ = mode; }
  void set_namespace(std::string_view namespace_name, PeerAuthMode mode) {
    namespaces_.insert_or_assign(std::string(namespace_name), mode);
  }
  void set_workload(std::string_view namespace_name, std::string_view workload_name, PeerAuthMode mode) {
    workloads_.insert_or_assign({std::string(namespace_name), std::string(workload_name)}, mode);
  }
  [[nodiscard]] PeerAuthMode of(std::string_view namespace_name, std::string_view workload_name) const noexcept;

 private:
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

  PeerAuthMode mesh_ = PeerAuthMode::Permissive;
  std::unordered_map<std::string, PeerAuthMode, NameHash, NameEqual> namespaces_;
  std::unordered_map<WorkloadKey, PeerAuthMode, NameHash, NameEqual> workloads_;
};

class Snapshot {
 public:
  // The agent's own network.
  [[nodiscard]] std::string_view network() const noexcept { return names_->text(kOwnNetwork); }
  // Null when the address is not in the mesh (passthrough). Without a network: the agent's own. An empty network is the agent's own. Where
  // several workloads have one address: a pod first (its uid has "//Pod/"), then one that takes tunnels, then the first that came.
  [[nodiscard]] const WorkloadEntry* find(const IpAddress& address) const noexcept;
  [[nodiscard]] const WorkloadEntry* find(std::string_view network, const IpAddress& address) const noexcept;
  [[nodiscard]] const WorkloadEntry* find_uid(std::string_view uid) const noexcept;
  // By a workload's own hostname. Where several of a namespace share it: one of them, the same for as long as it is there.
  [[nodiscard]] const WorkloadEntry* find_workload(std::string_view namespace_name,
                                                   std::string_view hostname) const noexcept;
  // A pod of this node: what the control plane calls `uid`, or else what it says is on this node under these names. With another account than the
  // pod's it is not the pod: that was made anew, and the news is on its way.
  [[nodiscard]] const WorkloadEntry* find_pod(std::string_view uid, std::string_view namespace_name,
                                              std::string_view name, std::string_view service_account) const noexcept;
  // The service with this virtual address that a client of `client_namespace` sees: its own namespace's first, then one that is
  // canonical, then the first that was added. Without a namespace nothing is hidden. Ranges count where no service has the very address:
  // the client's namespace first, then the longest prefix, then a canonical one.
  [[nodiscard]] const Service* find_vip(std::string_view network, const IpAddress& address,
                                        std::optional<std::string_view> client_namespace) const noexcept;
  // Who has an address: at most one of the two. The service with this very address comes first, so that no workload takes it from it; then
  // a workload; then a service with a range around it, which says nothing of the workloads in it.
  struct Owner {
    const Service* service = nullptr;
    const WorkloadEntry* workload = nullptr;
  };
  [[nodiscard]] Owner find_owner(std::string_view network, const IpAddress& address,
                                 std::optional<std::string_view> client_namespace) const noexcept;
  // Some service has this very address, whoever sees it.
  [[nodiscard]] bool has_vip(std::string_view network, const IpAddress& address) const noexcept;
  // Exactly this one, whoever asks.
  [[nodiscard]] const Service* find_service(std::string_view namespace_name, std::string_view hostname) const noexcept;
  // By hostname alone, chosen as by find_vip.
  [[nodiscard]] const Service* find_hostname(std::string_view hostname,
                                             std::string_view client_namespace) const noexcept;
  // The mode that rules connections to `namespace_name`/`workload_name`: the workload's, else the namespace's, else the mesh's.
  [[nodiscard]] PeerAuthMode peer_auth(std::string_view namespace_name, std::string_view workload_name) const noexcept {
    return modes_->of(namespace_name, workload_name);
  }
  [[nodiscard]] const PolicyIndex& policies() const noexcept { return *policies_; }
  // False: the control plane has not yet said everything once. There may be workloads, services and policies that have not come.
  [[nodiscard]] bool is_complete() const noexcept { return is_complete_; }
  // True: what is not in here, and not said to be nobody's, may be the mesh's all the same (demand.hpp).
  [[nodiscard]] bool is_on_demand() const noexcept { return is_on_demand_; }
  // False: who is not in here may be the mesh's all the same, and nobody will say so. Nothing may leave in plain text.
  [[nodiscard]] bool tells_who_is_not() const noexcept { return is_complete_ || is_on_demand_; }
  // By the names of demand.hpp.
  [[nodiscard]] const AbsentNames& absent() const noexcept { return absent_; }
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }

  [[nodiscard]] std::size_t workload_count() const noexcept { return by_uid_.size(); }
  [[nodiscard]] std::size_t service_count() const noexcept { return service_by_name_.size(); }
  template <typename Visit>
  void for_each_workload(Visit&& visit) const {
    for (std::size_t i = 0; i < workloads_.size(); ++i) {
      if (workloads_[i] != nullptr) visit(*workloads_[i]);
    }
  }
  template <typename Visit>
  void for_each_service(Visit&& visit) const {
    for (std::size_t i = 0; i < services_.size(); ++i) {
      if (services_[i].entry != nullptr) visit(static_cast<const Service&>(*services_[i].entry));
    }
  }

  // For a walk in pieces: the numbers below the count, null where one is free.
  [[nodiscard]] std::size_t workload_slots() const noexcept { return workloads_.size(); }
  [[nodiscard]] const WorkloadEntry* workload_at(std::size_t number) const noexcept { return workloads_[number].get(); }
  [[nodiscard]] std::size_t service_slots() const noexcept { return services_.size(); }
  [[nodiscard]] const Service* service_at(std::size_t number) const noexcept { return services_[number].entry.get(); }

  // For the decisions. `service` and `workload` are this snapshot's.
  [[nodiscard]] const ServiceTraits& traits(const Service& service) const noexcept {
    return static_cast<const ServiceEntry&>(service).traits;
  }
  [[nodiscard]] const EndpointTable& endpoints(const Service& service) const noexcept {
    return *services_[static_cast<const ServiceEntry&>(service).number].endpoints;
  }
  [[nodiscard]] std::span<const EndpointRow> usable_endpoints(const Service& service) const noexcept {
    const EndpointTable& table = endpoints(service);
    return std::span(table.rows).first(table.usable);
  }
  // Healthy or not.
  [[nodiscard]] std::span<const EndpointRow> all_endpoints(const Service& service) const noexcept {
    return endpoints(service).rows;
  }
  [[nodiscard]] const WorkloadEntry& workload(std::uint32_t number) const noexcept { return *workloads_[number]; }
  // For whoever needs it longer than the snapshot. Null: `workload` is another snapshot's.
  [[nodiscard]] std::shared_ptr<const WorkloadEntry> share(const WorkloadEntry& workload) const noexcept {
    const std::uint32_t number = workload.number();
    if (number >= workloads_.size() || workloads_[number].get() != &workload) return nullptr;
    return workloads_[number];
  }
  [[nodiscard]] static std::uint64_t name_hash(const Service& service) noexcept {
    return static_cast<const ServiceEntry&>(service).name_hash;
  }
  // The number of a name that some workload has, or NameTable::kNone.
  [[nodiscard]] std::uint32_t network_number(std::string_view network) const noexcept;

 private:
  friend class Store;
  bool is_complete_ = true;
  bool is_on_demand_ = false;
  static constexpr std::uint32_t kOwnNetwork = 0;
  struct ServiceSlot {
    std::shared_ptr<const ServiceEntry> entry;
    std::shared_ptr<const EndpointTable> endpoints;
  };
  // Services that share a virtual address or a hostname, in the order of arrival.
  struct Sharers {
    std::uint32_t network = 0;
    IpAddress address;
    std::vector<std::uint32_t> services;
  };
  [[nodiscard]] std::uint32_t find_number(std::uint32_t network, const IpAddress& address) const noexcept;
  [[nodiscard]] std::uint32_t find_sharers(std::uint32_t network, const IpAddress& address) const noexcept;
  [[nodiscard]] const Service* best_of(std::uint32_t sharers,
                                       std::optional<std::string_view> client_namespace) const noexcept;
  [[nodiscard]] const Service* find_range(std::uint32_t network, const IpAddress& address,
                                          std::optional<std::string_view> client_namespace) const noexcept;

  std::uint64_t version_ = 0;
  std::shared_ptr<NameTable> names_ = std::make_shared<NameTable>();
  SharedArray<std::shared_ptr<const WorkloadEntry>> workloads_;  // null: the number is free
  SharedIndex by_address_;                                       // to workloads
  SharedIndex by_uid_;
  SharedIndex workload_by_hostname_;
  SharedIndex own_;  // to workloads of this node, by namespace and name
  SharedArray<ServiceSlot> services_;
  SharedIndex service_by_name_;  // namespace and hostname
  SharedArray<std::shared_ptr<const Sharers>> vips_;
  SharedIndex by_vip_;  // to vips_
  SharedArray<std::shared_ptr<const Sharers>> hostnames_;
  SharedIndex by_hostname_;  // to hostnames_
  AbsentNames absent_;
  RangeTable ranges_;
  std::shared_ptr<PolicyIndex> policies_ = std::make_shared<PolicyIndex>();
  std::shared_ptr<PeerAuthModes> modes_ = std::make_shared<PeerAuthModes>();
};

}  // namespace culvert::state
