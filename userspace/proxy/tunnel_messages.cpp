// SPDX-License-Identifier: Apache-2.0
// The messages of the direct tunnel: what arrived, driven through the session's rules, and what is sent.
#include <array>
#include <utility>

#include "proxy/finisher.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/inbound.hpp"
#include "proxy/relay.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using direct::Action;
using telemetry::CloseReason;

CloseReason reason_of(direct::RefuseReason reason) noexcept {
  switch (reason) {
    case direct::RefuseReason::PolicyDenied: return CloseReason::PolicyDenied;
    case direct::RefuseReason::ConnectRefused: return CloseReason::UpstreamRefused;
    case direct::RefuseReason::ConnectTimeout: return CloseReason::UpstreamTimeout;
    case direct::RefuseReason::ConnectFailed: return CloseReason::UpstreamFailed;
    default: return CloseReason::PeerRefused;
  }
}

}  // namespace

bool Tunnels::handle_segment(Tunnel& tunnel, const tls::Segment& segment) {
  switch (segment.type) {
    case tls::RecordType::ApplicationData: return handle_data(tunnel, segment.data);
    case tls::RecordType::Control: return handle_control(tunnel, segment.data);
    case tls::RecordType::Alert:
    case tls::RecordType::Handshake: break;  // the record layer deals with them
  }
  tunnel.must_close = true;
  return false;
}

bool Tunnels::handle_data(Tunnel& tunnel, ByteView data) {
  if (data.empty()) return true;
  const Action action = tunnel.is_client ? tunnel.client.on_data() : tunnel.server.on_data();
  if (action != Action::Deliver) return act(tunnel, action, std::nullopt);
  if (Flow* flow = state_.flows.find(tunnel.flow); flow != nullptr) state_.relay->deliver(*flow, data);
  return true;
}

bool Tunnels::handle_control(Tunnel& tunnel, ByteView record) {
  const std::optional<direct::Message> message = direct::decode(record);
  Action action = Action::ProtocolError;
  if (message) {
    const direct::MessageType type = direct::type_of(*message);
    action = tunnel.is_client ? tunnel.client.on_message(type) : tunnel.server.on_message(type);
  } else {
    action = tunnel.is_client ? tunnel.client.on_malformed(record) : tunnel.server.on_malformed(record);
  }
  return act(tunnel, action, message);
}

// False: no more of this batch is looked at.
bool Tunnels::act(Tunnel& tunnel, Action action, const std::optional<direct::Message>& message) {
  switch (action) {
    case Action::Deliver:
    case Action::Discard: return true;
    case Action::Accepted:
      if (Flow* flow = state_.flows.find(tunnel.flow)) {
        flow->is_answered = true;
        if (!flow->is_reset_awaited) state_.set_deadline(*flow, 0);
        if (flow->is_held) state_.held->answered(*flow);
        if (flow->caution != Caution::None) state_.defer(*flow);  // it may send now
      }
      return true;
    case Action::KeepTicket: keep_ticket(tunnel, std::get<direct::Ticket>(*message)); return true;
    case Action::StartConnect: {
      if (tunnel.send_failure != tls::IoFailure::None) return false;  // nothing could be answered
      const bool is_taken = state_.inbound->on_open(tunnel, std::get<direct::Open>(*message)) != nullptr;
      return is_taken || !tunnel.must_close;
    }
    case Action::RefuseDraining: refuse(tunnel, direct::RefuseReason::Draining); return true;
    case Action::RefuseBadRequest: refuse(tunnel, direct::RefuseReason::BadRequest); return true;
    case Action::PeerEnded:
      if (Flow* flow = state_.flows.find(tunnel.flow); flow != nullptr) peer_ended(tunnel, *flow);
      return true;
    case Action::Refused: {
      const direct::RefuseReason reason = std::get<direct::Refuse>(*message).reason;
      note_flow_end(tunnel, reason_of(reason), direct::to_string(reason));
      return true;
    }
    case Action::PeerReset:
      tunnel.is_going_away = true;
      note_flow_end(tunnel, tunnel.is_client ? CloseReason::ServerReset : CloseReason::ClientReset, {});
      return false;
    case Action::PeerGoingAway: tunnel.is_going_away = true; return true;
    case Action::Untried: tunnel.is_untried = true; [[fallthrough]];
    case Action::Close:
    case Action::ProtocolError: break;
  }
  tunnel.must_close = true;
  return false;
}

void Tunnels::peer_ended(Tunnel& tunnel, Flow& flow) {
  flow.is_end_received = true;
  if (tunnel.is_client || !flow.is_end_sent) return;
  // The client may send its next OPEN in this very batch: the tunnel is free, the flow only has to empty its buffer.
  detach_if_done(tunnel, flow);
  state_.defer(flow);
}

void Tunnels::note_flow_end(Tunnel& tunnel, CloseReason reason, std::string_view detail) {
  tunnel.has_flow_end = true;
  tunnel.flow_end = reason;
  tunnel.flow_end_detail = detail;
}

void Tunnels::send_message(Tunnel& tunnel, const direct::Message& message) {
  std::array<std::uint8_t, direct::kMessageBytesMax> buffer;
  const ByteView bytes = direct::encode(message, buffer);
  if (bytes.empty()) return;
  const tls::IoResult result = tunnel.socket.send(state_.io, {{tls::RecordType::Control, bytes}});
  if (result.status == tls::IoStatus::Error) send_failed(tunnel, result);
}

std::size_t Tunnels::send_data(Tunnel& tunnel, ByteView data) {
  tls::IoResult result;
  if (std::exchange(tunnel.owes_accept, false)) {
    std::array<std::uint8_t, 16> buffer;
    const ByteView accept = direct::encode(direct::Accept{}, buffer);
    result =
        tunnel.socket.send(state_.io, {{tls::RecordType::Control, accept}, {tls::RecordType::ApplicationData, data}});
  } else {
    result = tunnel.socket.send(state_.io, {{tls::RecordType::ApplicationData, data}});
  }
  if (result.status == tls::IoStatus::Error) {
    send_failed(tunnel, result);
    return data.size();  // nobody will take it any more
  }
  return result.bytes;
}

void Tunnels::send_end(Tunnel& tunnel) {
  if (tunnel.is_client) {
    if (!tunnel.client.may_send_end()) return;
    tunnel.client.sent_end();
  } else {
    if (!tunnel.server.may_send_end()) return;
    accept_at_last(tunnel);
    tunnel.server.sent_end();
  }
  send_message(tunnel, direct::End{});
}

void Tunnels::send_go_away(Tunnel& tunnel) {
  if (tunnel.is_client || tunnel.server.is_going_away() || tunnel.server.is_closed()) return;
  tunnel.server.sent_go_away();
  send_message(tunnel, direct::GoAway{});
}

}  // namespace culvert::proxy
