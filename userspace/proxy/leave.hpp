// SPDX-License-Identifier: Apache-2.0
// Leave: pods that leave the mesh and the agent's own drain: no new connections, live ones until a deadline, then the word to
// the control thread.
#pragma once

#include <functional>
#include <vector>

#include "proxy/messages.hpp"
#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Leave {
 public:
  explicit Leave(WorkerState& state) noexcept : state_(state) {}

  void begin(RemovePod message);
  void drain(Drain message);
  // The slot is taken by a pod that joins now: what is left of the old one is cut.
  void replace(std::uint32_t slot);
  // Once per turn of the loop: whether a leaving pod or the drain is finished or over time.
  void check();

 private:
  struct Leaving {
    std::uint32_t slot;
    std::uint64_t deadline_ms;
    std::function<void()> done;
  };
  [[nodiscard]] bool has_flows(std::uint32_t slot);
  void remove(std::uint32_t slot);
  void cut(std::uint32_t slot, telemetry::CloseReason reason);
  void cut_all(telemetry::CloseReason reason);

  WorkerState& state_;
  std::vector<Leaving> leaving_;
  std::function<void()> drained_;
  std::uint64_t drain_deadline_ms_ = 0;
};

}  // namespace culvert::proxy
