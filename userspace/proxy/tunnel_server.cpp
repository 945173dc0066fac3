// SPDX-License-Identifier: Apache-2.0
// The server's half of Tunnels, and the end of the handshake, which both roles share.
#include <utility>

#include "core/socket.hpp"
#include "proxy/finisher.hpp"
#include "proxy/streams.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {

void Tunnels::accept(WorkerPod& pod, UniqueFd fd, const Endpoint& remote) {
  const auto credentials = state_.credentials_of(pod);
  if (credentials == nullptr || state_.is_draining || !limiter_.admit(remote.address, state_.now_ms) ||
      !state_.handshake_places.take(remote.address, state_.options.server_handshakes_max)) {
    state_.counters.handshakes_refused.add();
    set_reset_on_close(fd.get(), true);
    return;
  }
  const int raw_fd = fd.get();
  tls::ServerHandshakeOptions options;
  options.credentials = credentials;
  options.alpn = state_.options.alpn;
  options.plan = state_.options.engines;
  options.resumption = state_.options.resumption_issuer;
  options.revocation = state_.options.revocation;
  options.trust_domains = state_.options.trust_domains;
  auto handshake = tls::HandshakeSocket::server(std::move(fd), options);
  if (!handshake) {
    state_.counters.handshakes_failed.add();
    state_.handshake_places.give_back(remote.address);
    state_.log.warn("cannot start a handshake for {}: {}", pod.setup.id, handshake.error().message());
    return;
  }
  const SlabHandle handle = state_.tunnels.emplace();
  Tunnel& tunnel = *state_.tunnels.find(handle);
  tunnel.self = handle;
  tunnel.pod_slot = pod.setup.slot;
  tunnel.remote = remote;
  tunnel.handshake = std::move(*handshake);
  tunnel.state = TunnelState::Handshaking;
  if (!state_.watch(raw_fd, TokenKind::Tunnel, handle)) {
    close(tunnel, false);
    return;
  }
  state_.set_deadline(tunnel, state_.options.handshake_timeout_ms);
}

void Tunnels::handshake_failed(Tunnel& tunnel, telemetry::CloseReason reason, std::string_view detail) {
  state_.counters.handshakes_failed.add();
  if (tunnel.is_client) {
    making_failed(tunnel, reason, detail);
  } else {
    state_.log.debug("handshake from {} failed: {}", tunnel.remote.to_string(), detail);
    close(tunnel, false);
  }
}

// Lists may have changed since the peer's certificate was looked at, and this tunnel was not among those that were looked at then.
bool Tunnels::is_revoked(Tunnel& tunnel, const tls::HandshakeOutcome& outcome) {
  if (state_.options.revocation == nullptr) return false;
  tunnel.peer_chain = outcome.peer_chain;
  if (tunnel.peer_chain == nullptr) {
    state_.counters.crl_untracked[direction_index(tunnel)].add();
    return false;
  }
  if (!state_.options.revocation->is_revoked(*tunnel.peer_chain)) return false;
  state_.counters.crl_rejections[direction_index(tunnel)].add();
  return true;
}

void Tunnels::handshake_done(Tunnel& tunnel) {
  const tls::HandshakeOutcome outcome = tunnel.handshake.outcome();
  if (is_revoked(tunnel, outcome)) return handshake_failed(tunnel, telemetry::CloseReason::CertRevoked, {});
  std::optional<tls::TunnelSocket> socket = tunnel.handshake.into_tunnel(state_.io);
  if (!socket) {
    return handshake_failed(tunnel, telemetry::CloseReason::HandshakeFailed,
                            std::string(tunnel.handshake.failure_detail()));
  }
  if (!tunnel.is_client) state_.handshake_places.give_back(tunnel.remote.address);
  tunnel.socket = std::move(*socket);
  tunnel.handshake = tls::HandshakeSocket();
  tunnel.state = TunnelState::Ready;
  tunnel.peer_identity = state_.identities.intern(outcome.peer);
  // Bytes may have been read ahead, and an edge may have been seen by the handshake.
  tunnel.is_readable = true;
  state_.counters.tunnels_open.add();
  if (outcome.is_resumed) state_.counters.handshakes_resumed.add();
  const SlabHandle handle = tunnel.self;
  const bool is_hbone = outcome.alpn == tls::Alpn::Hbone;
  if (tunnel.is_client) {
    state_.counters.handshakes_client.add();
    state_.pool.making(tunnel.pool_key, -1);
    if (tunnel.is_overflow) state_.pool.making_overflow(tunnel.pool_key, -1);
    state_.set_deadline(tunnel, 0);
  } else {
    state_.counters.handshakes_server.add();
  }
  if (tunnel.is_client && !is_hbone) state_.pool.direct_live(tunnel.pool_key, +1);
  if (is_hbone) {
    if (!state_.streams->open(tunnel)) {
      if (tunnel.is_client) state_.pool.direct_live(tunnel.pool_key, +1);  // as `close` counts it
      tunnel.must_close = true;
      tunnel.is_readable = true;
    }
  } else if (tunnel.is_client) {
    state_.pool.set_shared(tunnel.pool_key, false);
    if (state_.options.resumption_store == nullptr || outcome.is_resumed) state_.pool.warm_up(tunnel.pool_key);
    serve_next(tunnel);
  } else {
    if (!outcome.ticket.empty()) send_message(tunnel, direct::Ticket{outcome.ticket_lifetime_s, outcome.ticket});
    state_.set_deadline(tunnel, state_.options.pool_idle_timeout_ms * 2);
  }
  if (Tunnel* live = state_.tunnels.find(handle); live != nullptr && live->is_client) {
    if (const std::optional<std::uint32_t> next = state_.pool.next_wanting(state_.options.client_handshakes_max))
      make_tunnels(*next);
  }
  pump(handle);
}

// Most applications answer at once: ACCEPT then leaves in one record batch with their first bytes, which spares both agents a
// system call and a wake-up. `accept_at_last` sends it alone when they do not.
void Tunnels::send_accept(Tunnel& tunnel) {
  tunnel.server.sent_accept();
  tunnel.owes_accept = true;
}

void Tunnels::accept_soon(Tunnel& tunnel) {
  constexpr std::uint64_t kAcceptDelayMs = 16;
  if (tunnel.owes_accept) state_.set_deadline(tunnel, kAcceptDelayMs);
}

void Tunnels::accept_at_last(Tunnel& tunnel) {
  if (!std::exchange(tunnel.owes_accept, false)) return;
  send_message(tunnel, direct::Accept{});
}

void Tunnels::refuse(Tunnel& tunnel, direct::RefuseReason reason) {
  tunnel.server.sent_refuse();
  send_message(tunnel, direct::Refuse{reason});
  // The client owes END; one that does not send it, or does not read, is not waited for.
  if (!tunnel.socket.wants_write() || !tunnel.deadline.is_ahead(state_.now_ms)) {
    state_.set_deadline(tunnel, state_.options.handshake_timeout_ms);
  }
  if (!tunnel.is_in_receive && tunnel.is_going_away) close(tunnel, true);
}

}  // namespace culvert::proxy
