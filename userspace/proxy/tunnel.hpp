// SPDX-License-Identifier: Apache-2.0
// Tunnel: one TLS connection between two agents, from connect or accept to its end. A direct one carries one flow at a time and is then
// used again (docs/protocol.md); with `hbone` set it carries many as HTTP/2 streams (docs/hbone.md). Plain state; what it does is in
// tunnels.cpp and streams.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/address.hpp"
#include "base/unique_fd.hpp"
#include "core/slab.hpp"
#include "direct/session.hpp"
#include "proxy/deadline.hpp"
#include "proxy/hbone_tunnel.hpp"
#include "telemetry/close_reason.hpp"
#include "telemetry/connection_log.hpp"
#include "tls/handshake_socket.hpp"
#include "tls/tunnel_socket.hpp"

namespace culvert::proxy {

inline constexpr std::uint32_t kNoPod = 0xffff'ffffU;

enum class TunnelState : std::uint8_t {
  Connecting,  // client: TCP connect under way
  Handshaking,
  Ready,  // records flow; `flow` says whether somebody uses it
  Closing,  // closed for everybody here; its last records, END and close_notify among them, wait for the kernel to take them
};

struct Tunnel {
  tls::TunnelSocket socket;
  tls::HandshakeSocket handshake;  // empty once Ready
  UniqueFd connecting;             // only while Connecting
  SlabHandle self;
  SlabHandle flow;     // direct only
  int send_errno = 0;  // of `send_failure`
  std::unique_ptr<HboneTunnel> hbone;
  std::shared_ptr<const tls::VerifiedChain> peer_chain;  // null: nobody asks whether it is revoked
  Endpoint remote;
  // A send failed: nothing leaves any more. What the peer said before that is received first, it tells more.
  tls::IoFailure send_failure = tls::IoFailure::None;
  bool has_flow_end = false;  // the peer ended the flow out of order: flow_end, flow_end_detail
  telemetry::CloseReason flow_end = telemetry::CloseReason::Completed;
  TunnelState state = TunnelState::Connecting;
  bool is_client = false;
  bool is_overflow = false;         // client: offers HTTP/2 only, for flows beyond those that have direct tunnels
  Deadline deadline;                // connect, handshake or idle limit, a held answer, keepalive
  std::uint64_t idle_since_ms = 0;  // client, direct: in the pool
  std::uint32_t pod_slot = 0;
  std::uint32_t peer_identity = 0;
  std::uint32_t pool_key = 0;    // client: index in the pool
  direct::ClientSession client;  // one of the two is in use
  direct::ServerSession server;
  bool is_readable = false;
  bool is_pooled = false;            // client: on the pool's idle list
  bool is_going_away = false;        // not used for a further flow
  bool is_deferred = false;          // on the worker's list of tunnels that have more to receive
  bool is_in_receive = false;        // segments of this tunnel are being handled: close later
  bool must_close = false;           // a rule was broken, or memory is out: at the next safe point
  bool owes_accept = false;          // server: ACCEPT leaves with the first data, or after a moment
  bool is_untried = false;           // client: the peer closed without looking at our OPEN
  std::string_view flow_end_detail;  // static text

  [[nodiscard]] bool may_send() const noexcept { return !must_close && send_failure == tls::IoFailure::None; }
};

static_assert(sizeof(Tunnel) <= 440, "an idle connection is a Flow and a Tunnel in each agent");

[[nodiscard]] constexpr std::size_t direction_index(const Tunnel& tunnel) noexcept {
  return static_cast<std::size_t>(tunnel.is_client ? telemetry::Direction::Outbound : telemetry::Direction::Inbound);
}

}  // namespace culvert::proxy
