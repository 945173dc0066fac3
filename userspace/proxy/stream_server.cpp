// SPDX-License-Identifier: Apache-2.0
// The server's half of Streams: CONNECT arrives and is answered.
#include "proxy/baggage.hpp"
#include "proxy/inbound.hpp"
#include "proxy/streams.hpp"
#include "proxy/tracing.hpp"

namespace culvert::proxy {
namespace {

using direct::RefuseReason;

constexpr std::uint64_t kAnswerDelayMs = 16;

// Nothing but these is ever answered (docs/hbone.md, "Answer").
std::uint16_t status_of(RefuseReason reason) noexcept {
  switch (reason) {
    case RefuseReason::PolicyDenied: return 401;
    case RefuseReason::BadRequest:
    case RefuseReason::UnknownDestination: return 400;
    case RefuseReason::ConnectRefused:
    case RefuseReason::ConnectTimeout:
    case RefuseReason::ConnectFailed:
    case RefuseReason::Draining:
    case RefuseReason::Overloaded: break;
  }
  return 503;
}

constexpr std::size_t kForwardedBytesMax = 1'024;
constexpr std::size_t kNetworkBytesMax = 256;

}  // namespace

void Streams::on_connect(hbone::StreamId stream, const hbone::ConnectRequest& request) {
  Tunnel& tunnel = *current_;
  // Also during a drain: what was on its way when the peer was told is served, and what comes behind the last GOAWAY does not get here.
  Flow* flow = state_.new_flow(FlowRole::InboundTunnel, tunnel.pod_slot);
  if (flow == nullptr) {
    tunnel.hbone->session->reset(stream, hbone::kRefusedStream);  // nothing was tried: elsewhere it may work
    return;
  }
  flow->source = tunnel.remote;
  flow->state = FlowState::ConnectUpstream;
  attach(*flow, tunnel, stream);
  continue_trace(state_, *flow, request.traceparent);
  // What may be kept for as long as the connection lives is not as long as headers may be.
  hbone::ConnectRequest said = request;
  if (said.baggage.size() > direct::kBaggageBytesMax) said.baggage = {};
  if (said.forwarded.size() > kForwardedBytesMax) said.forwarded = {};
  said.forwarded_network = said.forwarded_network.substr(0, kNetworkBytesMax);
  if (state_.inbound->on_connect(*flow, tunnel, said)) starting_.push_back(flow->self);
}

// Most applications answer at once: 200 then leaves with their first bytes. A client that waits for it before it speaks gets it now.
void Streams::accept(Flow& flow, Tunnel& tunnel) {
  tunnel.hbone->session->respond(
      flow.stream, 200,
      state_.options.hbone_response_baggage ? pod_baggage(state_, flow.pod_slot) : std::string_view{});
  flow.is_answered = true;
  if (flow.received_bytes == 0) {
    tunnel.hbone->answer_due_ms = 0;
  } else if (tunnel.hbone->answer_due_ms != 0) {
    return;  // it leaves with one that waits already, and does not make that wait for longer
  } else if (!tunnel.hbone->is_dirty) {
    tunnel.hbone->answer_due_ms = state_.now_ms + kAnswerDelayMs;
    schedule(tunnel);
    return;
  }
  mark_dirty(tunnel);
}

void Streams::refuse(Flow& flow, Tunnel& tunnel, RefuseReason reason) {
  if (reason == RefuseReason::Overloaded || reason == RefuseReason::Draining) {
    tunnel.hbone->session->reset(flow.stream, hbone::kRefusedStream);
  } else {
    tunnel.hbone->session->respond(flow.stream, status_of(reason), {});
  }
  mark_dirty(tunnel);
  detach(flow, tunnel);
}

}  // namespace culvert::proxy
