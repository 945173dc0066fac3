// SPDX-License-Identifier: Apache-2.0
// Store: the mesh as the control plane tells it, one object at a time, and the snapshots made of it. A snapshot shares with the one before it
// everything that did not change: an update costs in proportion to the change, whatever the size of the mesh. Control thread only;
// the snapshots go to any thread, and may be let go on any.
//
// What is kept is copied from what is given, so that it lies together in this thread's part of the heap, and the memory of a large push
// that was decoded elsewhere can be given back whole.
//
// Order does not matter: a workload may name services that come later (it is their endpoint as soon as they do), a reference may
// point at nothing yet. Nothing that is true of the mesh is refused: several workloads may share an address (see Snapshot::find).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "state/authorization.hpp"
#include "state/number_pool.hpp"
#include "state/service.hpp"
#include "state/shared_pool.hpp"
#include "state/snapshot.hpp"
#include "state/workload.hpp"

namespace culvert::state {

class Store {
 public:
  // `network`: the agent's own. It is meant wherever a workload, a virtual address or a reference names none.
  explicit Store(std::string_view network = {});
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Replaces the one with the same uid; a service keeps its endpoints: `services` of the workloads say them. Those of Service::endpoints come
  // first, as far as these workloads are there; it is for a mesh that is written down.
  void upsert(Workload workload);
  // By namespace and hostname.
  void upsert(const Service& service);
  // By namespace and name.
  void upsert(Authorization policy);
  // False: there was none.
  bool remove_workload(std::string_view uid);
  bool remove_service(std::string_view namespace_name, std::string_view hostname);
  bool remove_authorization(std::string_view namespace_name, std::string_view name);

  void set_mesh_mode(PeerAuthMode mode);
  void set_namespace_mode(std::string_view namespace_name, PeerAuthMode mode);
  void set_workload_mode(std::string_view namespace_name, std::string_view workload_name, PeerAuthMode mode);

  // False until everything has come that may rule a connection; true from the start.
  void set_complete(bool is_complete) { now_.is_complete_ = is_complete; }

  // Only what is asked for comes (demand.hpp). Set once, before anything else.
  void set_on_demand() { now_.is_on_demand_ = true; }
  // A name of demand.hpp is nobody's, as far as the control plane says; not so any more. Nothing where it is so already.
  void set_absent(std::string_view name, bool is_absent);

  // Everything up to here, for workers. Versions grow by one with each, or are what the caller says.
  [[nodiscard]] std::shared_ptr<const Snapshot> publish();
  [[nodiscard]] std::shared_ptr<const Snapshot> publish(std::uint64_t version);
  // Everything up to here, for the moment; endpoints are as of the last `publish`.
  [[nodiscard]] const Snapshot& now() const noexcept { return now_; }

  // This agent's: its workloads are found by their names (Snapshot::find_pod), and the identities of those that are capable of tunnels are told, to
  // have certificates ready for. Set once, before anything else.
  void set_node(std::string_view node) { node_ = node; }
  struct IdentityChanges {
    std::vector<SpiffeId> added;
    std::vector<SpiffeId> removed;
  };
  // Since the last call.
  [[nodiscard]] IdentityChanges take_identity_changes();
  // Services that workloads name and that have not come, with the uids: (namespace, hostname, uids).
  template <typename Visit>
  void for_each_staged(Visit&& visit) const {
    for (const auto& [key, members] : members_) {
      if (now_.find_service(key.first, key.second) == nullptr) visit(key.first, key.second, members);
    }
  }
  // The first of them whose name comes after `after`, or the first of all; for a walk in pieces between which the store changes.
  using ServiceName = std::pair<std::string, std::string>;  // namespace, hostname
  struct Staged {
    const ServiceName& name;
    const std::vector<std::uint32_t>& workloads;
  };
  [[nodiscard]] std::optional<Staged> staged_after(const std::optional<ServiceName>& after) const;
  [[nodiscard]] std::string_view uid(std::uint32_t workload) const { return now_.workloads_[workload]->uid(); }

 private:
  using AddressKey = std::pair<std::uint32_t, IpAddress>;  // network, address

  [[nodiscard]] std::uint32_t intern(std::string_view name);
  [[nodiscard]] std::shared_ptr<const SharedProfile> take_profile(const WorkloadProfile& profile);
  [[nodiscard]] std::shared_ptr<const SharedPlace> take_place(const WorkloadPlace& place);
  void add_address(const WorkloadEntry& entry, const IpAddress& address);
  void remove_address(const WorkloadEntry& entry, const IpAddress& address);
  void elect(const AddressKey& key, std::uint32_t was, const std::vector<std::uint32_t>& owners);
  void add_hostname(const WorkloadEntry& entry);
  void remove_hostname(const WorkloadEntry& entry);
  void take_out(const WorkloadEntry& entry);
  void put_in(const WorkloadEntry& entry);
  // A workload of this node, as the control plane says it.
  [[nodiscard]] bool is_own(const WorkloadEntry& entry) const noexcept {
    return !node_.empty() && entry.node() == node_ && !entry.is_provisional();
  }
  void count_identity(const WorkloadEntry& entry, int by);
  void list_service(const ServiceEntry& entry, bool is_added);
  void list_vip(const ServiceEntry& entry, const NetworkAddress& vip, bool is_added);
  void list_hostname(const ServiceEntry& entry, bool is_added);
  void list_endpoints(const ServiceEntry& entry, bool is_added);
  // A workload of that uid has come, changed or gone.
  void touch_services_that_name(std::string_view uid);
  [[nodiscard]] std::uint32_t service_number(std::string_view namespace_name, std::string_view hostname) const;
  [[nodiscard]] std::shared_ptr<const EndpointTable> make_table(const ServiceEntry& service) const;

  Snapshot now_;
  SharedPool<SharedProfile, ProfileHash> profiles_;
  SharedPool<SharedPlace, PlaceHash> places_;
  std::string node_;
  NumberPool workload_numbers_;
  NumberPool service_numbers_;
  NumberPool vip_numbers_;
  NumberPool hostname_numbers_;
  NumberPool absent_numbers_;
  std::map<AddressKey, std::vector<std::uint32_t>>
      shared_addresses_;  // of two workloads or more, in the order of arrival
  std::map<ServiceName, std::vector<std::uint32_t>> shared_hostnames_;  // likewise
  std::map<ServiceName, std::vector<std::uint32_t>> members_;           // workloads, of services that are known or not
  std::map<std::string, std::vector<std::uint32_t>, std::less<>>
      named_;                                     // by uid: services with the workload in Service::endpoints
  std::set<std::uint32_t> changed_services_;      // whose endpoints are to be made anew
  std::map<SpiffeId, std::uint32_t> identities_;  // of this node, counted
  std::map<SpiffeId, int> identity_changes_;      // +1 came, -1 went since they were last taken
};

}  // namespace culvert::state
