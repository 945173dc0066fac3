// SPDX-License-Identifier: Apache-2.0
// Tunnels, how they and their flows end: by the peer, by a broken rule, by a send or a receive that fails, by us.
#include "proxy/tunnels.hpp"

#include <cstring>

#include "proxy/finisher.hpp"
#include "proxy/streams.hpp"

namespace culvert::proxy {

using telemetry::CloseReason;

CloseReason Tunnels::reason_for(tls::IoFailure failure) noexcept {
  switch (failure) {
    case tls::IoFailure::BadRecord:
    case tls::IoFailure::PeerAlert: return CloseReason::BadRecord;
    case tls::IoFailure::UnexpectedType: return CloseReason::TunnelProtocol;
    case tls::IoFailure::KeyLimit: return CloseReason::KeyLimit;
    case tls::IoFailure::System:
    case tls::IoFailure::None: return CloseReason::TunnelBroken;
  }
  return CloseReason::TunnelBroken;
}

CloseReason Tunnels::reason_for(tls::HandshakeFailure failure) noexcept {
  if (failure == tls::HandshakeFailure::PeerIdentity) return CloseReason::PeerIdentity;
  if (failure == tls::HandshakeFailure::PeerRevoked) return CloseReason::CertRevoked;
  return CloseReason::HandshakeFailed;
}

void Tunnels::end_unsound(Tunnel& tunnel) {
  const hbone::SessionFailure failure = tunnel.hbone->session->failure();
  const bool is_abuse = failure == hbone::SessionFailure::Abuse;
  const std::string_view why =
      failure == hbone::SessionFailure::None ? "a record that h2 does not have" : hbone::to_string(failure);
  (is_abuse ? state_.counters.sessions_abused : state_.counters.sessions_failed).add();
  state_.log.debug("HBONE tunnel with {} ended: {}", tunnel.remote.to_string(), why);
  end_hbone(tunnel, CloseReason::TunnelProtocol, why);
}

void Tunnels::end_hbone(Tunnel& tunnel, CloseReason reason, std::string_view detail) {
  const bool is_broken = reason != CloseReason::Completed;
  tunnel.is_going_away = true;
  if (tunnel.is_client) state_.pool.forget_shared(tunnel.pool_key, tunnel.self);
  if (tunnel.may_send()) {
    if (!is_broken || reason == CloseReason::PodLeft || reason == CloseReason::Drained)
      tunnel.hbone->session->go_away_now();
    state_.streams->flush(tunnel);
  }
  state_.streams->fail_flows(tunnel, reason, detail,
                             reason == CloseReason::TunnelBroken || reason == CloseReason::TunnelSilent);
  const bool is_client = tunnel.is_client;
  const std::uint32_t key = tunnel.pool_key;
  if (is_client) state_.pool.hold(key);
  close(tunnel, !is_broken || reason == CloseReason::TunnelProtocol);
  if (!is_client) return;
  make_tunnels(key);  // for those that waited for a stream on it
  state_.pool.drop(key);
}

// RESET or REFUSE was in the batch: the flow ends here, outside the loop over its bytes.
void Tunnels::end_flow(Tunnel& tunnel) {
  tunnel.has_flow_end = false;
  Flow* flow = state_.flows.find(tunnel.flow);
  tunnel.flow = {};
  const SlabHandle handle = tunnel.self;
  // After REFUSE the client's END makes the tunnel usable again.
  if (tunnel.is_client && !tunnel.is_going_away && flow != nullptr && !flow->is_end_sent) send_end(tunnel);
  if (flow != nullptr) state_.finisher->abort(*flow, tunnel.flow_end, tunnel.flow_end_detail);
  if (Tunnel* still = state_.tunnels.find(handle); still != nullptr) {
    if (still->is_going_away || !still->client.can_reuse()) {
      close(*still, true);
    } else {
      serve_next(*still);
    }
  }
}

// A rule of the protocol says that the tunnel ends now.
void Tunnels::close_broken(Tunnel& tunnel) {
  if (tunnel.is_untried && retry_elsewhere(tunnel)) return;
  if (state_.flows.find(tunnel.flow) != nullptr) {
    accept_at_last(tunnel);
    send_message(tunnel, direct::Reset{});
    fail_flow(tunnel, CloseReason::TunnelProtocol, {});
  }
  close(tunnel, true);
}

// Nothing of the application was sent on it, by choice; so it may be sent on another.
bool Tunnels::is_only_opened(const Tunnel& tunnel) const noexcept {
  const Flow* flow = state_.flows.find(tunnel.flow);
  return tunnel.is_client && flow != nullptr && flow->waits_for_answer();
}

void Tunnels::receive_ended(Tunnel& tunnel, const tls::IoResult& result) {
  const bool is_orderly = result.status == tls::IoStatus::Eof;
  direct::Action action = direct::Action::Close;
  if (tunnel.is_client) {
    action = is_orderly ? tunnel.client.on_close_notify() : tunnel.client.on_truncated();
  }
  if ((action == direct::Action::Untried || is_only_opened(tunnel)) && retry_elsewhere(tunnel)) return;
  std::string detail;
  CloseReason reason = CloseReason::TunnelBroken;
  if (result.status == tls::IoStatus::Error) {
    reason = reason_for(result.failure);
    if (result.sys_errno != 0) detail = ::strerrordesc_np(result.sys_errno);
  } else if (result.status == tls::IoStatus::Eof) {
    detail = "close_notify in the middle of a connection";
  }
  // A peer that drains closes right behind its END: nothing is missing, the flow has only to finish.
  if (Flow* flow = state_.flows.find(tunnel.flow); flow != nullptr && flow->is_end_sent && flow->is_end_received) {
    flow->tunnel = {};
    tunnel.flow = {};
    state_.defer(*flow);
  }
  fail_flow(tunnel, reason, detail);
  close(tunnel, result.status == tls::IoStatus::Eof);
}

void Tunnels::send_failed(Tunnel& tunnel, const tls::IoResult& result) {
  if (!tunnel.may_send()) return;
  tunnel.send_failure = result.failure;
  tunnel.send_errno = result.sys_errno;
  tunnel.is_readable = true;
  state_.defer(tunnel);
}

// Nothing that arrived says why the peer takes no more.
void Tunnels::end_unsent(Tunnel& tunnel) {
  std::string detail = "a record could not be sent";
  if (tunnel.send_errno != 0) detail += std::string(": ") + ::strerrordesc_np(tunnel.send_errno);
  if (tunnel.hbone != nullptr) return end_hbone(tunnel, reason_for(tunnel.send_failure), detail);
  if (is_only_opened(tunnel) && retry_elsewhere(tunnel)) return;
  fail_flow(tunnel, reason_for(tunnel.send_failure), detail);
  close(tunnel, false);
}

void Tunnels::fail_flow(Tunnel& tunnel, CloseReason reason, std::string_view detail) {
  Flow* flow = state_.flows.find(tunnel.flow);
  tunnel.flow = {};
  if (flow != nullptr) state_.finisher->abort(*flow, reason, detail);
}

void Tunnels::detach_if_done(Tunnel& tunnel, Flow& flow) {
  if (tunnel.send_failure != tls::IoFailure::None) {
    if (tunnel.is_in_receive) return;  // `pump` ends it, behind the batch
    // Otherwise `pump` ends it; a reader of what arrives that has stopped is not waited for.
    if (!flow.plain().out.empty() || (flow.is_end_sent && flow.is_end_received)) end_unsent(tunnel);
    return;
  }
  if (!flow.is_end_sent || !flow.is_end_received) return;
  flow.tunnel = {};
  tunnel.flow = {};
  if (tunnel.is_client) {
    serve_next(tunnel);
  } else if (tunnel.is_in_receive && (tunnel.is_going_away || state_.is_draining)) {
    tunnel.must_close = true;  // closed behind the batch
  } else if (tunnel.is_going_away || state_.is_draining) {
    close(tunnel, true);
  } else {
    // Twice the client's limit: it is the client that gives an idle tunnel up.
    state_.set_deadline(tunnel, state_.options.pool_idle_timeout_ms * 2);
  }
}

void Tunnels::reset_flow(Tunnel& tunnel) {
  tunnel.flow = {};
  if (tunnel.state == TunnelState::Ready) {
    accept_at_last(tunnel);
    if (tunnel.is_client ? tunnel.client.may_send_reset() : tunnel.server.may_send_reset()) {
      send_message(tunnel, direct::Reset{});
    } else if (!tunnel.is_client && tunnel.server.state() == direct::ServerSession::State::Connecting) {
      send_message(tunnel, direct::Refuse{direct::RefuseReason::Draining});
    }
  }
  if (tunnel.is_in_receive) {
    tunnel.must_close = true;
  } else {
    close(tunnel, !tunnel.socket.wants_write());  // where RESET cannot leave, RST says the same
  }
}

void Tunnels::close(Tunnel& tunnel, bool is_orderly) {
  if (tunnel.is_client) {
    if (tunnel.is_pooled) state_.pool.forget_idle(tunnel.pool_key, tunnel.self);
    if (tunnel.hbone != nullptr) state_.pool.forget_shared(tunnel.pool_key, tunnel.self);
    if (tunnel.state == TunnelState::Ready && tunnel.hbone == nullptr) state_.pool.direct_live(tunnel.pool_key, -1);
    state_.pool.drop(tunnel.pool_key);
  } else if (tunnel.state == TunnelState::Handshaking) {
    state_.handshake_places.give_back(tunnel.remote.address);
  }
  if (tunnel.state == TunnelState::Ready) {
    state_.counters.tunnels_open.subtract();
    state_.counters.key_updates.add(tunnel.socket.rekeys());
    if (is_orderly) {
      tunnel.socket.send_close_notify(state_.io);
      if (!linger(tunnel)) tunnel.socket.close();
    } else {
      tunnel.socket.abort();
    }
  }
  state_.counters.tunnels_idle.set(state_.pool.idle_total());
  state_.streams->closed(tunnel);
  state_.tunnels.free(tunnel.self);
}

namespace {

constexpr std::uint64_t kLingerMs = 30'000;  // without the kernel taking any

}  // namespace

// Under another name, so that nobody here finds it. False: there is nothing to wait for, or no way to.
bool Tunnels::linger(Tunnel& tunnel) {
  if (!tunnel.socket.wants_write()) return false;
  const SlabHandle handle = state_.tunnels.emplace();
  Tunnel& rest = *state_.tunnels.find(handle);
  rest.self = handle;
  rest.state = TunnelState::Closing;
  rest.pod_slot = kNoPod;
  if (!state_.rewatch(tunnel.socket.fd(), TokenKind::Tunnel, handle)) {
    state_.tunnels.free(handle);
    return false;
  }
  rest.socket = std::move(tunnel.socket);
  state_.set_deadline(rest, kLingerMs);
  ++lingering_;
  return true;
}

void Tunnels::linger_on(Tunnel& tunnel, std::uint32_t events) {
  const bool is_broken =
      (events & (EPOLLERR | EPOLLHUP)) != 0 || tunnel.socket.flush(state_.io).status == tls::IoStatus::Error;
  if (is_broken) return end_lingering(tunnel, false);
  if (!tunnel.socket.wants_write()) return end_lingering(tunnel, true);
  if ((events & EPOLLOUT) != 0) state_.set_deadline(tunnel, kLingerMs);
}

void Tunnels::end_lingering(Tunnel& tunnel, bool is_orderly) {
  if (is_orderly) {
    tunnel.socket.close();
  } else {
    tunnel.socket.abort();
  }
  --lingering_;
  state_.tunnels.free(tunnel.self);
}

void Tunnels::cut(SlabHandle handle, CloseReason reason, bool is_orderly) {
  Tunnel* tunnel = state_.tunnels.find(handle);
  if (tunnel == nullptr) return;
  if (tunnel->is_client && tunnel->state != TunnelState::Ready) {
    making_failed(*tunnel, reason, {});
  } else if (tunnel->hbone != nullptr) {
    end_hbone(*tunnel, reason, {});
  } else {
    fail_flow(*tunnel, reason, {});
    if (tunnel = state_.tunnels.find(handle); tunnel != nullptr) close(*tunnel, is_orderly);
  }
}

}  // namespace culvert::proxy
