// SPDX-License-Identifier: Apache-2.0
// Demands: flows of one worker that wait for the control plane to say who an address or a hostname is, where it says so only when it is asked
// (control_plane.on_demand). The first flow that waits for a name has it asked for, later ones now and then; every snapshot that has the answer, somebody or nobody,
// lets all of them go on; the deadline of each ends its wait. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/worker_state.hpp"
#include "state/demand.hpp"

namespace culvert::proxy {

class Demands {
 public:
  // Flows of one pod, and of all, that wait at a time.
  static constexpr std::uint32_t kPerPodMax = 1'024;
  static constexpr std::size_t kMax = 8'192;
  // Inbound ones find room in a fourth of that: peers and clients from anywhere must not take the places of the pod's own connections.
  static constexpr std::uint32_t kInboundShare = 4;
  static constexpr std::string_view kTooMany =
      "too many connections wait for the control plane to say who an address is";

  explicit Demands(WorkerState& state) noexcept : state_(state) {}

  // The flow waits, until `until_ms` of the worker's clock; Outbound::resume or Inbound::resume goes on with it. False: a limit is reached.
  [[nodiscard]] bool wait(Flow& flow, const state::Wanted& wanted, std::uint64_t until_ms);
  // It waits no longer, or ends. Nothing where it does not wait.
  void forget(Flow& flow);
  // The worker has another snapshot.
  void snapshot_changed();
  // "the control plane has not said who NAME is": of a flow that waits.
  [[nodiscard]] static std::string overdue(const Flow& flow);
  [[nodiscard]] std::size_t size() const noexcept { return waiting_; }

 private:
  void count(const Flow& flow, int by);

  WorkerState& state_;
  // The control thread may have forgotten a name (DemandTable): one that flows still come for is asked for again.
  static constexpr std::uint64_t kAskAgainMs = 1'000;
  struct Waiting {
    std::vector<SlabHandle> flows;  // never empty
    std::uint64_t asked_ms = 0;
  };
  std::unordered_map<std::string, Waiting> by_name_;
  std::size_t waiting_ = 0;
};

}  // namespace culvert::proxy
