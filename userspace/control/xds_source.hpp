// SPDX-License-Identifier: Apache-2.0
// XdsSource: the mesh as istiod says it, as a source of snapshots: the store, the discovery session and its stream. Pods that joined this node
// are in it from the moment they join, until istiod has them too. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/config.hpp"
#include "control/xds_client.hpp"
#include "control/xds_session.hpp"
#include "state/store.hpp"

namespace culvert::control {

class XdsSource {
 public:
  struct Callbacks {
    // Runs a task on the control thread, from any.
    std::function<void(std::function<void()>)> post;
    std::function<void(std::shared_ptr<const state::Snapshot>)> changed;
    // The stream ended or could not be opened; once for each new reason.
    std::function<void(const std::string& why)> failed;
    // The stream works again, or for the first time.
    std::function<void()> connected;
    // Some resources of a response were refused.
    std::function<void(const std::string& why)> refused;
  };

  // `changed` is called once from in here, with an empty mesh.
  XdsSource(const Config& config, Callbacks callbacks);
  ~XdsSource();
  XdsSource(const XdsSource&) = delete;
  XdsSource& operator=(const XdsSource&) = delete;

  void set_local_workloads(const std::vector<state::Workload>& workloads);
  // Everything that is not on demand has come once.
  [[nodiscard]] bool is_warm() const noexcept { return session_.is_warm(); }
  [[nodiscard]] const XdsCounters& counters() const noexcept { return client_->counters(); }
  [[nodiscard]] state::Store& store() noexcept { return store_; }

  // How the uid of a pod begins that istiod has not named.
  static constexpr std::string_view kLocalUid = "culvert-local/";

 private:
  void publish();
  std::optional<XdsRequest> received(XdsUpdate update);
  void ended(XdsEnd end, const std::string& why);

  Callbacks callbacks_;
  state::Store store_;
  XdsSession session_;
  std::unordered_map<std::string, state::Workload> local_;  // by uid
  std::string last_error_;
  std::string last_refusal_;
  bool is_connected_ = false;
  std::unique_ptr<XdsClient> client_;
};

}  // namespace culvert::control
