// SPDX-License-Identifier: Apache-2.0
// Inbound: connections for a local application, from a tunnel or in plain text. Policy is asked before anything is connected; the
// application sees the client's own address.
#pragma once

#include "direct/messages.hpp"
#include "hbone/messages.hpp"
#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Inbound {
 public:
  explicit Inbound(WorkerState& state) noexcept : state_(state) {}

  void accept_plaintext(WorkerPod& pod, UniqueFd fd, const Endpoint& remote);

  // OPEN arrived: makes the flow, so that data behind it has a place; `start` connects once the batch has been read.
  // Null: refused (the tunnel has been told).
  [[nodiscard]] Flow* on_open(Tunnel& tunnel, const direct::Open& open);
  void start(SlabHandle flow);
  // CONNECT arrived on a stream of an HBONE tunnel. False: answered with a refusal, the flow is gone.
  [[nodiscard]] bool on_connect(Flow& flow, Tunnel& tunnel, const hbone::ConnectRequest& request);

  // Asks policy, and connects, refuses, or lets it wait. The flow may be gone afterwards.
  void admit(Flow& flow);

  // The mesh knows what the flow has waited for (AwaitMesh). It may have ended afterwards.
  void resume(Flow& flow);

  // True: the mesh may know the connection's client and does not yet; the flow waits for that, once and for a moment, and `resume` goes on with it.
  // `request`: what it came with.
  [[nodiscard]] bool waits_for_source(Flow& flow, const hbone::ConnectRequest& request);

  // The connect to the application was answered.
  void upstream_event(Flow& flow, std::uint32_t events);
  void on_timer(Flow& flow);

 private:
  // True: the flow waits.
  [[nodiscard]] bool waits_for(Flow& flow, const state::Wanted& wanted, const hbone::ConnectRequest& request,
                               bool is_for_source);
  void overdue(Flow& flow);
  void send_proxy_header(Flow& flow);
  void connect_application(Flow& flow, const WorkerPod& pod);
  void refuse(Flow& flow, telemetry::CloseReason reason, direct::RefuseReason wire_reason,
              std::string_view detail = {});

  WorkerState& state_;
};

}  // namespace culvert::proxy
