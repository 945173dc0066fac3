// SPDX-License-Identifier: Apache-2.0
#include "proxy/tunnels.hpp"

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/socket.hpp"
#include "proxy/finisher.hpp"
#include "proxy/inbound.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

CloseReason reason_of(const tls::IoResult& result) noexcept {
  switch (result.failure) {
    case tls::IoFailure::BadRecord:
    case tls::IoFailure::PeerAlert: return CloseReason::BadRecord;
    case tls::IoFailure::UnexpectedType: return CloseReason::TunnelProtocol;
    case tls::IoFailure::KeyLimit: return CloseReason::KeyLimit;
    case tls::IoFailure::System:
    case tls::IoFailure::None: return CloseReason::TunnelBroken;
  }
  return CloseReason::TunnelBroken;
}

}  // namespace

Tunnels::Tunnels(WorkerState& state) : state_(state), limiter_(state.options.server_handshakes_per_peer_s) {}

void Tunnels::on_event(SlabHandle handle, std::uint32_t events) {
  Tunnel* tunnel = state_.tunnels.find(handle);
  if (tunnel == nullptr) return;
  switch (tunnel->state) {
    case TunnelState::Connecting:
      if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) connected(*tunnel);
      return;
    case TunnelState::Handshaking: advance_handshake(*tunnel); return;
    case TunnelState::Ready: break;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) tunnel->is_readable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) tunnel->socket.note_hangup();
  const bool has_waited = tunnel->socket.wants_write();
  if ((events & EPOLLOUT) != 0 && has_waited) {
    const tls::IoResult result = tunnel->socket.flush(state_.io);
    if (result.status == tls::IoStatus::Error) {
      if (tunnel->hbone != nullptr) return end_hbone(*tunnel, reason_of(result), {});
      fail_flow(*tunnel, reason_of(result), {});
      close(*tunnel, false);
      return;
    }
  }
  if (tunnel->hbone != nullptr) {
    // Every edge says EPOLLOUT while there is room; it is news only to what waited for it.
    const bool is_news = has_waited || !tunnel->hbone->out.empty() || !tunnel->hbone->blocked.empty();
    if ((events & EPOLLOUT) != 0 && is_news) state_.streams->writable(*tunnel);
    return pump_streams(handle);
  }
  const SlabHandle flow = tunnel->flow;
  if (state_.flows.find(flow) != nullptr) {
    state_.relay->run(flow);  // both directions, this tunnel's receive included
  } else {
    pump(handle);
  }
  // Another flow has it now: what is there already is that one's, and no edge will tell of it.
  tunnel = state_.tunnels.find(handle);
  if (tunnel == nullptr || tunnel->flow == flow) return;
  if (Flow* next = state_.flows.find(tunnel->flow)) {
    state_.defer(*next);
  } else {
    pump(handle);
  }
}

bool Tunnels::may_receive(Tunnel& tunnel) noexcept {
  Flow* flow = state_.flows.find(tunnel.flow);
  if (flow == nullptr) return true;
  return flow->plain().out.empty() && !flow->plain().has_failed;
}

// Always received: what arrives for a stream whose reader has stopped is bounded by its window, and the others are not held up.
void Tunnels::pump_streams(SlabHandle handle) {
  constexpr unsigned kReceivesPerTurn = 8;
  for (unsigned receives = 0;; ++receives) {
    Tunnel* tunnel = state_.tunnels.find(handle);
    if (tunnel == nullptr || !tunnel->is_readable) return;
    if (tunnel->must_close) return end_hbone(*tunnel, CloseReason::Internal, "out of memory");
    if (receives == kReceivesPerTurn) return state_.defer(*tunnel);
    const std::size_t budget = state_.buffers.is_exhausted() ? std::size_t{16} * 1024 : tls::IoContext::kBatchBytesMax;
    const tls::IoResult result = tunnel->socket.receive(state_.io, budget);
    if (result.status == tls::IoStatus::WouldBlock) tunnel->is_readable = false;
    const bool is_sound = receive_streams(*tunnel);
    tunnel->is_going_away = tunnel->is_going_away || !is_sound;
    // Only now, with the batch behind us: a flow that runs may receive on another tunnel, into the same memory.
    state_.streams->finish_batch(handle);
    if (tunnel = state_.tunnels.find(handle); tunnel == nullptr) return;
    if (!is_sound) return end_unsound(*tunnel);
    if (result.status != tls::IoStatus::Ok && result.status != tls::IoStatus::WouldBlock) {
      std::string detail = result.status == tls::IoStatus::Eof ? "close_notify with live streams" : "";
      if (result.sys_errno != 0) detail = ::strerrordesc_np(result.sys_errno);
      return end_hbone(*tunnel, result.status == tls::IoStatus::Error ? reason_of(result) : CloseReason::TunnelBroken,
                       detail);
    }
  }
}

// False: the peer has broken a rule.
bool Tunnels::receive_streams(Tunnel& tunnel) {
  for (const tls::Segment& segment : state_.io.segments()) {
    if (segment.type != tls::RecordType::ApplicationData || !state_.streams->receive(tunnel, segment.data))
      return false;
  }
  return true;
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
  if (!tunnel.must_close) {
    if (!is_broken || reason == CloseReason::PodLeft || reason == CloseReason::Drained)
      tunnel.hbone->session->go_away_now();
    state_.streams->flush(tunnel);
  }
  state_.streams->fail_flows(tunnel, reason, detail, reason == CloseReason::TunnelBroken);
  const bool is_client = tunnel.is_client;
  const std::uint32_t key = tunnel.pool_key;
  if (is_client) state_.pool.hold(key);
  close(tunnel, !is_broken || reason == CloseReason::TunnelProtocol);
  if (!is_client) return;
  make_tunnels(key);  // for those that waited for a stream on it
  state_.pool.drop(key);
}

void Tunnels::pump(SlabHandle handle) {
  if (Tunnel* tunnel = state_.tunnels.find(handle); tunnel != nullptr && tunnel->hbone != nullptr)
    return pump_streams(handle);
  constexpr unsigned kReceivesPerTurn = 8;
  unsigned receives = 0;
  for (;;) {
    Tunnel* tunnel = state_.tunnels.find(handle);
    if (tunnel == nullptr || tunnel->state != TunnelState::Ready || !tunnel->is_readable || !may_receive(*tunnel))
      return;
    if (++receives > kReceivesPerTurn) {
      if (Flow* flow = state_.flows.find(tunnel->flow)) return state_.defer(*flow);
      return state_.defer(*tunnel);
    }
    const std::size_t budget = state_.buffers.is_exhausted() ? std::size_t{16} * 1024 : tls::IoContext::kBatchBytesMax;
    const tls::IoResult result = tunnel->socket.receive(state_.io, budget);
    const SlabHandle flow_before = tunnel->flow;
    tunnel->is_in_receive = true;
    for (const tls::Segment& segment : state_.io.segments()) {
      if (!handle_segment(*tunnel, segment)) break;
    }
    tunnel->is_in_receive = false;
    if (result.status == tls::IoStatus::WouldBlock) tunnel->is_readable = false;
    if (tunnel->must_close) {
      close_broken(*tunnel);
      return;
    }
    if (result.status != tls::IoStatus::Ok && result.status != tls::IoStatus::WouldBlock) {
      receive_ended(*tunnel, result);
      return;
    }
    // An OPEN in this batch: its data is in the flow's buffer, now the application is connected.
    const SlabHandle flow_after = tunnel->flow;
    if (!tunnel->is_client && !(flow_after == flow_before)) {
      state_.inbound->start(flow_after);
      continue;
    }
    if (tunnel->has_flow_end) {
      end_flow(*tunnel);
      return;
    }
    if (Flow* flow = state_.flows.find(flow_after); flow != nullptr && flow->plain().has_failed)
      return;  // the relay ends it
  }
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

void Tunnels::receive_ended(Tunnel& tunnel, const tls::IoResult& result) {
  const bool is_orderly = result.status == tls::IoStatus::Eof;
  direct::Action action = direct::Action::Close;
  if (tunnel.is_client) {
    action = is_orderly ? tunnel.client.on_close_notify() : tunnel.client.on_truncated();
  }
  if (action == direct::Action::Untried && retry_elsewhere(tunnel)) return;
  std::string detail;
  CloseReason reason = CloseReason::TunnelBroken;
  if (result.status == tls::IoStatus::Error) {
    reason = reason_of(result);
    if (result.sys_errno != 0) detail = ::strerrordesc_np(result.sys_errno);
  } else if (result.status == tls::IoStatus::Eof) {
    detail = "close_notify in the middle of a connection";
  }
  fail_flow(tunnel, reason, detail);
  close(tunnel, result.status == tls::IoStatus::Eof);
}

void Tunnels::fail_flow(Tunnel& tunnel, CloseReason reason, std::string_view detail) {
  Flow* flow = state_.flows.find(tunnel.flow);
  tunnel.flow = {};
  if (flow != nullptr) state_.finisher->abort(*flow, reason, detail);
}

void Tunnels::detach_if_done(Tunnel& tunnel, Flow& flow) {
  if (tunnel.must_close) {
    tunnel.flow = {};
    state_.finisher->abort(flow, CloseReason::TunnelBroken, "a record could not be sent");
    close(tunnel, false);
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
    close(tunnel, true);
  }
}

void Tunnels::close(Tunnel& tunnel, bool is_orderly) {
  if (tunnel.is_client) {
    if (tunnel.is_pooled) state_.pool.forget_idle(tunnel.pool_key, tunnel.self);
    if (tunnel.hbone != nullptr) state_.pool.forget_shared(tunnel.pool_key, tunnel.self);
    if (tunnel.state == TunnelState::Ready && tunnel.hbone == nullptr) state_.pool.direct_live(tunnel.pool_key, -1);
    state_.pool.drop(tunnel.pool_key);
  } else if (tunnel.state == TunnelState::Handshaking) {
    --state_.server_handshakes;
  }
  if (tunnel.state == TunnelState::Ready) {
    state_.counters.tunnels_open.subtract();
    state_.counters.key_updates.add(tunnel.socket.rekeys());
    if (is_orderly) {
      tunnel.socket.send_close_notify(state_.io);
      tunnel.socket.close();
    } else {
      tunnel.socket.abort();
    }
  }
  state_.counters.tunnels_idle.set(state_.pool.idle_total());
  state_.streams->closed(tunnel);
  state_.tunnels.free(tunnel.self);
}

void Tunnels::on_timer(SlabHandle handle) {
  Tunnel* tunnel = state_.tunnels.find(handle);
  if (tunnel == nullptr) return;
  switch (tunnel->state) {
    case TunnelState::Connecting: making_failed(*tunnel, CloseReason::TunnelTimeout, {}); return;
    case TunnelState::Handshaking:
      state_.counters.handshakes_failed.add();
      if (tunnel->is_client) {
        making_failed(*tunnel, CloseReason::HandshakeTimeout, {});
      } else {
        close(*tunnel, false);
      }
      return;
    case TunnelState::Ready:
      if (tunnel->hbone != nullptr) {
        state_.streams->on_timer(*tunnel);
        return;
      }
      if (state_.flows.find(tunnel->flow) == nullptr) {
        close(*tunnel, true);
      } else {
        accept_at_last(*tunnel);
      }
      return;
  }
}

void Tunnels::advance_handshake(Tunnel& tunnel) {
  switch (tunnel.handshake.advance(state_.io)) {
    case tls::HandshakeSocket::Step::WantRead:
    case tls::HandshakeSocket::Step::WantWrite: return;
    case tls::HandshakeSocket::Step::Done: handshake_done(tunnel); return;
    case tls::HandshakeSocket::Step::Failed: break;
  }
  state_.counters.handshakes_failed.add();
  const std::string detail = tunnel.handshake.failure_detail();
  const CloseReason reason = tunnel.handshake.failure() == tls::HandshakeFailure::PeerIdentity
                                 ? CloseReason::PeerIdentity
                                 : CloseReason::HandshakeFailed;
  if (tunnel.is_client) {
    making_failed(tunnel, reason, detail);
  } else {
    state_.log.debug("handshake from {} failed: {}", tunnel.remote.to_string(), detail);
    close(tunnel, false);
  }
}

void Tunnels::begin_drain() {
  std::vector<SlabHandle> idle;
  state_.tunnels.for_each([&](SlabHandle handle, Tunnel& tunnel) {
    tunnel.is_going_away = true;
    if (tunnel.state != TunnelState::Ready) return;
    if (tunnel.hbone != nullptr) return state_.streams->go_away(tunnel);
    send_go_away(tunnel);
    if (state_.flows.find(tunnel.flow) == nullptr) idle.push_back(handle);
  });
  for (const SlabHandle handle : idle) close(*state_.tunnels.find(handle), true);
}

void Tunnels::drop_pod(std::uint32_t slot, bool closes_busy) {
  std::vector<SlabHandle> closing;
  state_.tunnels.for_each([&](SlabHandle handle, Tunnel& tunnel) {
    if (tunnel.pod_slot != slot) return;
    tunnel.is_going_away = true;
    bool is_busy = tunnel.state != TunnelState::Ready || state_.flows.find(tunnel.flow) != nullptr;
    if (tunnel.hbone != nullptr) {
      state_.streams->go_away(tunnel);
      is_busy = !tunnel.hbone->flows.empty();
    } else if (tunnel.state == TunnelState::Ready) {
      send_go_away(tunnel);
    }
    if (!is_busy || closes_busy) closing.push_back(handle);
  });
  for (const SlabHandle handle : closing) {
    Tunnel* tunnel = state_.tunnels.find(handle);
    if (tunnel == nullptr) continue;
    if (tunnel->is_client && tunnel->state != TunnelState::Ready) {
      making_failed(*tunnel, CloseReason::PodLeft, {});
    } else if (tunnel->hbone != nullptr) {
      end_hbone(*tunnel, CloseReason::PodLeft, {});
    } else {
      fail_flow(*tunnel, CloseReason::PodLeft, {});
      if (tunnel = state_.tunnels.find(handle); tunnel != nullptr) close(*tunnel, true);
    }
  }
}

}  // namespace culvert::proxy
