// SPDX-License-Identifier: Apache-2.0
#include "proxy/finisher.hpp"

#include <utility>

#include "core/socket.hpp"
#include "proxy/demands.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/streams.hpp"
#include "proxy/tracing.hpp"
#include "proxy/traffic.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

std::size_t direction_index(const Flow& flow) noexcept {
  return static_cast<std::size_t>(flow.is_inbound() ? telemetry::Direction::Inbound : telemetry::Direction::Outbound);
}

// A socket is reset at close unless this is called: accepted and connected sockets carry linger {1,0} from the start.
void close_orderly(Side& side) noexcept {
  if (!side.fd) return;
  set_reset_on_close(side.fd.get(), false);
  side.fd.reset();
}

std::string_view state_name(const Flow& flow) noexcept {
  if (flow.state == FlowState::AwaitMesh) return "mesh";
  if (flow.state == FlowState::AwaitName) return "name";
  if (flow.state == FlowState::AwaitTunnel || flow.state == FlowState::AwaitRetry) return "tunnel";
  if (flow.state == FlowState::AwaitPolicy) return "policy";
  if (flow.state == FlowState::ConnectUpstream) return "connecting";
  if (flow.state == FlowState::AwaitClient) return "answering";
  const bool is_half_closed =
      flow.client.is_at_eof || flow.client.is_fin_sent || flow.upstream.is_at_eof || flow.upstream.is_fin_sent;
  return is_half_closed ? "half-closed" : "open";
}

// Why this kind of tunnel.
std::string_view text_of(TunnelChoice choice) noexcept {
  switch (choice) {
    case TunnelChoice::BothOffer: return "culvert/1: both agents offer it";
    case TunnelChoice::OnlyOffer: return "h2: nothing else is offered";
    case TunnelChoice::OnlyTaken: return "h2: the peer takes nothing else";
    case TunnelChoice::Shared: return "h2: so many connections to one peer share tunnels";
    case TunnelChoice::GatewayOnly: return state::to_string(state::HboneNeed::Name);
    case TunnelChoice::WaypointOnly: return state::to_string(state::HboneNeed::Waypoint);
    case TunnelChoice::ApplicationTunnel: return state::to_string(state::HboneNeed::ApplicationTunnel);
  }
  return {};
}

std::string why_of(const Flow& flow) {
  std::string why(flow.why);
  if (flow.role == FlowRole::Outbound && flow.used_tunnel) why.append("; ").append(text_of(flow.tunnel_choice));
  return why;
}

}  // namespace

void Finisher::opened(Flow& flow) {
  if (!count_opened(flow) || !state_.log.tells_opened()) return;
  if (!state_.log.connection_opened(describe(flow))) state_.counters.log_lines_dropped.add();
}

void Finisher::complete(Flow& flow) {
  close_orderly(flow.client);
  close_orderly(flow.upstream);
  end(flow, CloseReason::Completed, {});
}

void Finisher::abort(Flow& flow, CloseReason reason, std::string_view detail) {
  flow.client.fd.reset();
  flow.upstream.fd.reset();
  if (flow.is_held) state_.held->ended(flow, reason);
  if (Tunnel* tunnel = state_.tunnels.find(flow.tunnel); tunnel != nullptr) {
    if (flow.stream != 0) {
      state_.streams->reset(flow, *tunnel, hbone::kCancel);
    } else if (tunnel->flow == flow.self) {
      state_.tunnel_engine->reset_flow(*tunnel);
    }
  }
  end(flow, reason, detail);
}

void Finisher::end(Flow& flow, CloseReason reason, std::string_view detail) {
  state_.demands->forget(flow);
  const std::size_t direction = direction_index(flow);
  state_.counters.closed[direction][static_cast<std::size_t>(reason)].add();
  state_.counters.live[direction].subtract();
  // Refused before it was labelled.
  if (flow.traffic == nullptr && flow.far_end == nullptr && !flow.is_other_network) {
    flow.far_end = state_.find_workload(flow.is_inbound() ? flow.source.address : flow.destination.address);
  }
  count_closed(state_, flow, reason);
  if (const bool is_traced = has_span(state_, flow); is_traced || state_.log.has_access_log()) {
    telemetry::ConnectionLog line = describe(flow);
    line.reason = reason;
    line.detail = detail;
    if (state_.log.has_access_log() && !state_.log.connection(line)) state_.counters.log_lines_dropped.add();
    if (is_traced) end_trace(state_, flow, std::move(line));
  }
  if (WorkerPod* pod = state_.pods.find(flow.pod_slot)) --pod->live_flows;
  state_.flows.free(flow.self);
}

telemetry::ConnectionLog Finisher::describe(Flow& flow) {
  telemetry::ConnectionLog row;
  row.id = flow.id;
  row.direction = flow.is_inbound() ? telemetry::Direction::Inbound : telemetry::Direction::Outbound;
  row.transport = !flow.goes_through_tunnel() ? telemetry::Transport::Plaintext
                  : flow.is_hbone             ? telemetry::Transport::Hbone
                                              : telemetry::Transport::Direct;
  row.why = why_of(flow);
  row.state = state_name(flow);
  row.start_us = flow.start_us;
  row.duration_ms = state_.now_ms - flow.start_ms;
  row.original_destination = flow.destination;
  row.source.address = flow.source;
  row.destination.address = flow.destination;
  if (flow.role == FlowRole::Outbound) row.destination.address = flow.next_hop;
  if (flow.role == FlowRole::Passthrough) row.destination.address = flow.target;
  if (flow.role == FlowRole::InboundTunnel) row.destination.address.port = enroll::kPortTunnel;
  row.service = state_.services.text(flow.service);
  if (flow.details != nullptr) row.authority = flow.details->authority;
  if (row.authority.empty() && flow.goes_through_tunnel()) row.authority = flow.target.to_string();
  row.bytes_sent = flow.is_inbound() ? flow.sent_bytes : flow.received_bytes;
  row.bytes_received = flow.is_inbound() ? flow.received_bytes : flow.sent_bytes;

  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  telemetry::Party& local = flow.is_inbound() ? row.destination : row.source;
  telemetry::Party& remote = flow.is_inbound() ? row.source : row.destination;
  if (flow.details != nullptr && flow.details->told != nullptr) {
    const ToldParty& told = *flow.details->told;
    remote.workload = told.workload;
    remote.namespace_name = told.namespace_name;
    remote.cluster = told.cluster;
  } else if (flow.far_end != nullptr) {
    remote.workload = flow.far_end->name();
    remote.namespace_name = flow.far_end->namespace_name();
    remote.cluster = flow.far_end->cluster();
  }
  if (pod != nullptr) {
    row.pod = pod->setup.id;
    local.workload = pod->setup.name;
    local.namespace_name = pod->setup.namespace_name;
    local.cluster = state_.options.cluster;
    if (flow.goes_through_tunnel()) local.identity = pod->setup.identity.to_string();
  }
  if (const SpiffeId* peer = state_.identities.find(flow.peer_identity)) {
    remote.identity = peer->to_string();
    // What it says of itself is no proof of its namespace, and its certificate is.
    const bool is_told = flow.details != nullptr && flow.details->told != nullptr;
    if (remote.namespace_name.empty() || is_told) remote.namespace_name = peer->namespace_name;
  }
  if (flow.used_tunnel) {
    row.cipher = tls::to_string(static_cast<tls::Cipher>(flow.cipher));
    row.tx_engine = tls::to_string(static_cast<tls::Engine>(flow.tx_engine));
    row.rx_engine = tls::to_string(static_cast<tls::Engine>(flow.rx_engine));
  }
  return row;
}

}  // namespace culvert::proxy
