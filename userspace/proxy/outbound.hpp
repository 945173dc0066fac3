// SPDX-License-Identifier: Apache-2.0
// Outbound: what happens to a connection that a local application opened: into a tunnel when the mesh knows the destination
// as a tunnel workload, plain to where it was going otherwise. The decision is pure (`decide`).
#pragma once

#include <cstdint>

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

struct OutboundDecision {
  enum class Kind : std::uint8_t {
    Tunnel,
    Passthrough,
    SelfCall,
    Unready,  // the mesh is not known yet: nothing may leave in clear text by mistake
  };
  Kind kind = Kind::Passthrough;
  const state::Workload* workload = nullptr;  // Tunnel only
  Endpoint next_hop;                          // where the agent connects to
};

// `destination` is what the application dialled; `pod` the pod that it runs in.
[[nodiscard]] OutboundDecision decide_outbound(const state::Snapshot* snapshot, const WorkerPod& pod,
                                               const Endpoint& destination) noexcept;

class Outbound {
 public:
  explicit Outbound(WorkerState& state) noexcept : state_(state) {}

  void accept(WorkerPod& pod, UniqueFd fd, const Endpoint& remote);
  // A passthrough connect was answered.
  void upstream_event(Flow& flow, std::uint32_t events);
  void on_timer(Flow& flow);

 private:
  void connect_plain(Flow& flow, const WorkerPod& pod, const Endpoint& destination);

  WorkerState& state_;
};

}  // namespace culvert::proxy
