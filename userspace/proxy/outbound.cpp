// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound.hpp"

#include <cerrno>
#include <cstring>

#include "core/socket.hpp"
#include "proxy/finisher.hpp"
#include "proxy/relay.hpp"
#include "proxy/tunnels.hpp"
#include "proxy/upstream.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

}  // namespace

OutboundDecision decide_outbound(const state::Snapshot* snapshot, const WorkerPod& pod,
                                 const Endpoint& destination) noexcept {
  OutboundDecision decision;
  decision.next_hop = destination;
  // Steering sends nothing for the pod itself here: somebody dialled the agent's listener.
  if (pod.owns(destination.address) || destination.address.is_loopback() || destination.address.is_unspecified()) {
    decision.kind = OutboundDecision::Kind::SelfCall;
    return decision;
  }
  if (snapshot == nullptr) {
    decision.kind = OutboundDecision::Kind::Unready;
    return decision;
  }
  const state::Workload* workload = snapshot->find(destination.address);
  if (workload == nullptr || workload->protocol != state::Protocol::Tunnel) return decision;
  decision.kind = OutboundDecision::Kind::Tunnel;
  decision.workload = workload;
  decision.next_hop.port = enroll::kPortTunnel;
  return decision;
}

void Outbound::accept(WorkerPod& pod, UniqueFd fd, const Endpoint& remote) {
  const std::optional<Endpoint> destination = local_endpoint(fd.get());
  if (!destination) return;  // gone already; closing resets
  const OutboundDecision decision = decide_outbound(state_.snapshot.get(), pod, *destination);
  Flow* flow = state_.new_flow(
      decision.kind == OutboundDecision::Kind::Tunnel ? FlowRole::Outbound : FlowRole::Passthrough, pod.setup.slot);
  if (flow == nullptr) return;
  flow->client.fd = std::move(fd);
  flow->client.is_writable = true;
  flow->client.is_readable = true;  // worth a try: the application may have written before we came
  flow->source = remote;
  flow->destination = *destination;
  if (!state_.watch(flow->client.fd.get(), TokenKind::Client, flow->self)) {
    state_.finisher->abort(*flow, CloseReason::Overloaded, "no memory to watch a socket");
    return;
  }
  switch (decision.kind) {
    case OutboundDecision::Kind::SelfCall: state_.finisher->abort(*flow, CloseReason::SelfCall); return;
    case OutboundDecision::Kind::Unready:
      state_.finisher->abort(*flow, CloseReason::Internal, "the mesh is not known yet");
      return;
    case OutboundDecision::Kind::Passthrough: connect_plain(*flow, pod, *destination); return;
    case OutboundDecision::Kind::Tunnel:
      state_.tunnel_engine->want(
          *flow, PoolKey{pod.setup.slot, state_.identities.intern(decision.workload->identity), decision.next_hop});
      return;
  }
}

void Outbound::connect_plain(Flow& flow, const WorkerPod& pod, const Endpoint& destination) {
  const int fd = state_.pod_socket(pod, destination.address.family());
  if (fd < 0) {
    state_.finisher->abort(flow, CloseReason::Overloaded, "cannot make a socket in the pod's namespace");
    return;
  }
  if (const int error = start_upstream(state_, flow, UniqueFd(fd), destination); error != 0) {
    state_.finisher->abort(flow, upstream_failure(error), ::strerrordesc_np(error));
  }
}

void Outbound::upstream_event(Flow& flow, std::uint32_t events) {
  const int error = upstream_answer(state_, flow, events);
  if (error == EINPROGRESS) return;
  if (error != 0) {
    state_.finisher->abort(flow, upstream_failure(error), ::strerrordesc_np(error));
    return;
  }
  Relay::note_events(flow.upstream, events);
  state_.relay->run(flow.self);
}

void Outbound::on_timer(Flow& flow) {
  if (flow.state == FlowState::AwaitTunnel) {
    state_.tunnel_engine->stop_waiting(flow);
    state_.finisher->abort(flow, CloseReason::TunnelTimeout);
  } else if (flow.state == FlowState::ConnectUpstream) {
    state_.finisher->abort(flow, CloseReason::UpstreamTimeout);
  }
}

}  // namespace culvert::proxy
