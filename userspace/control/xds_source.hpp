// SPDX-License-Identifier: Apache-2.0
// XdsSource: the mesh as istiod says it, as a source of snapshots: the store, the discovery session and its stream. Pods that joined this node
// are in it from the moment they join, until istiod has them too. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
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
    // It sends what nothing here can use, in spite of which it is answered; once a minute at most.
    std::function<void(const std::string& why)> surprised;
    // Runs a task on this thread, later. On demand only.
    std::function<void(std::uint64_t delay_ms, std::function<void()>)> after;
  };

  // `changed` is called once from in here, with an empty mesh.
  XdsSource(const Config& config, Callbacks callbacks);
  ~XdsSource();
  XdsSource(const XdsSource&) = delete;
  XdsSource& operator=(const XdsSource&) = delete;

  // LOCAL_XDS has changed: takes what went out of the mesh, and puts what came into it. Of an object that the control plane has named too, that
  // one's counts.
  void set_local_mesh(const SharedLocalMesh& mesh);
  void set_local_workloads(const std::vector<state::Workload>& workloads);
  // On demand: a name of state/demand.hpp that a decision lacks. The answer comes with a snapshot, or never.
  void want(const std::string& name);
  // Everything that is not on demand has come once.
  [[nodiscard]] bool is_warm() const noexcept { return session_.is_warm(); }
  [[nodiscard]] const XdsCounters& counters() const noexcept { return client_->counters(); }
  [[nodiscard]] const DemandTable& demands() const noexcept { return session_.demands(); }
  [[nodiscard]] state::Store& store() noexcept { return store_; }
  [[nodiscard]] const state::Store& store() const noexcept { return store_; }
  // How many objects came, changed or went since this was last asked.
  [[nodiscard]] std::size_t take_changes() noexcept { return std::exchange(changes_, 0); }

  // How the uid of a pod begins that istiod has not named.
  static constexpr std::string_view kLocalUid = "culvert-local/";
  // Names are asked for together, at most this often: each request costs istiod a walk over the mesh.
  static constexpr std::uint64_t kAskIntervalMs = 10;
  static constexpr std::size_t kBacklogMax = 4;            // requests that wait to be written
  static constexpr std::uint64_t kTendIntervalMs = 1'000;  // of names whose time is over
  static constexpr std::uint64_t kSurpriseIntervalMs = 60'000;

 private:
  void publish();
  std::optional<XdsRequest> received(const XdsUpdate& update);
  void ended(XdsEnd end, const std::string& why);
  void note_unknown(const std::string& type_url);
  void ask_soon();
  void ask();
  void tend_soon();

  Callbacks callbacks_;
  state::Store store_;
  XdsSession session_;
  SharedLocalMesh local_mesh_;
  std::unordered_map<std::string, state::Workload> local_;  // by uid
  std::string last_error_;
  std::string last_refusal_;
  std::optional<std::uint64_t> surprised_ms_;  // when that was last told
  std::size_t surprises_ = 0;                  // since then
  std::size_t changes_ = 0;
  bool is_connected_ = false;
  bool is_amid_response_ = false;  // more of it is to come
  bool is_ask_due_ = false;
  bool is_tend_due_ = false;
  std::uint64_t asked_ms_ = 0;  // when names were last asked for
  std::unique_ptr<XdsClient> client_;
};

}  // namespace culvert::control
