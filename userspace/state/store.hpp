// SPDX-License-Identifier: Apache-2.0
// Store: the mesh as the control plane tells it, one object at a time, and the snapshots made of it. A snapshot shares with the one before it
// everything that did not change: an update costs in proportion to the change, whatever the size of the mesh. Control thread only;
// the snapshots go to any thread, and may be let go on any.
//
// Order does not matter: a workload may name services that come later (it is their endpoint as soon as they do), a reference may
// point at nothing yet. Nothing that is true of the mesh is refused: several workloads may share an address (see Snapshot::find).
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.hpp"
#include "state/authorization.hpp"
#include "state/service.hpp"
#include "state/snapshot.hpp"
#include "state/workload.hpp"

namespace culvert::state {

class Store {
 public:
  // `network`: the agent's own. It is meant wherever a workload, a virtual address or a reference names none.
  explicit Store(std::string_view network = {});
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Replaces the one with the same uid; a service keeps its endpoints: `services` of the workloads say them, and Service::endpoints
  // is left alone by this class's callers (empty).
  void upsert(Workload workload);
  // By namespace and hostname.
  void upsert(Service service);
  // By namespace and name.
  void upsert(Authorization policy);
  // False: there was none.
  bool remove_workload(std::string_view uid);
  bool remove_service(std::string_view namespace_name, std::string_view hostname);
  bool remove_authorization(std::string_view namespace_name, std::string_view name);

  void set_mesh_mode(PeerAuthMode mode);
  void set_namespace_mode(std::string_view namespace_name, PeerAuthMode mode);
  void set_workload_mode(std::string_view namespace_name, std::string_view workload_name, PeerAuthMode mode);

  // Everything up to here, for workers. Versions grow by one with each.
  [[nodiscard]] std::shared_ptr<const Snapshot> publish();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace culvert::state
