// SPDX-License-Identifier: Apache-2.0
// Outbound: what happens to a connection that a local application opened: into a tunnel, plain, or refused, as state::route decides over the
// snapshot. What this agent alone knows (its own pod, its own listeners) comes first (`forbidden`).
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/worker_state.hpp"
#include "state/route.hpp"

namespace culvert::proxy {

// Why a connection to `destination` is not even looked up; null: it is.
struct Forbidden {
  telemetry::CloseReason reason;
  std::string_view detail;  // static text
};
[[nodiscard]] std::optional<Forbidden> forbidden(const state::Snapshot* snapshot, const WorkerPod& pod,
                                                 const Endpoint& destination) noexcept;

class Outbound : private state::RouteRandom {
 public:
  explicit Outbound(WorkerState& state) noexcept : state_(state) {}

  void accept(WorkerPod& pod, UniqueFd fd, const Endpoint& remote);
  // The same for a flow that waits for it (HeldSyns).
  void accept_held(Flow& flow, UniqueFd fd);
  // Decides where the flow goes, by its source and destination. It may have ended afterwards.
  void start(Flow& flow, const WorkerPod& pod);
  // The mesh knows what the flow has waited for (AwaitMesh). It may have ended afterwards.
  void resume(Flow& flow);
  // DNS has answered for the endpoint that the flow waits for; null: it has no address.
  void name_resolved(SlabHandle flow, const std::optional<IpAddress>& address);
  // A passthrough connect was answered.
  void upstream_event(Flow& flow, std::uint32_t events);
  void on_timer(Flow& flow);

 private:
  void look_at_path(Flow& flow);
  [[nodiscard]] std::uint32_t below(std::uint32_t bound) override;
  [[nodiscard]] bool attach_client(Flow& flow, UniqueFd fd);
  void follow(Flow& flow, const WorkerPod& pod, const state::Route& route);
  void ask_mesh(Flow& flow, const WorkerPod& pod, const state::Route& route);
  void refuse_unknown(Flow& flow, const WorkerPod& pod, std::string_view why);
  void want_tunnel(Flow& flow, const WorkerPod& pod, const state::Route& route);
  void want_gateway(Flow& flow, const WorkerPod& pod, const state::Route& route);
  void ask_name(Flow& flow, const WorkerPod& pod, const state::Route& route);
  void connect_plain(Flow& flow, const WorkerPod& pod, const Endpoint& destination);

  WorkerState& state_;
};

}  // namespace culvert::proxy
