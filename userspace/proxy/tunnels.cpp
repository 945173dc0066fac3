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

using telemetry::CloseReason;

Tunnels::Tunnels(WorkerState& state) : state_(state), limiter_(state.options.server_handshakes_per_peer_s) {}

void Tunnels::on_event(SlabHandle handle, std::uint32_t events) {
  Tunnel* tunnel = state_.tunnels.find(handle);
  if (tunnel == nullptr) return;
  switch (tunnel->state) {
    case TunnelState::Connecting:
      if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) connected(*tunnel);
      return;
    case TunnelState::Handshaking: advance_handshake(*tunnel); return;
    case TunnelState::Closing: return linger_on(*tunnel, events);
    case TunnelState::Ready: break;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) tunnel->is_readable = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) tunnel->socket.note_hangup();
  const bool has_waited = tunnel->socket.wants_write();
  if ((events & EPOLLOUT) != 0 && has_waited) {
    const tls::IoResult result = tunnel->socket.flush(state_.io);
    if (result.status == tls::IoStatus::Error) send_failed(*tunnel, result);
  }
  if (tunnel->hbone != nullptr) {
    // Every edge says EPOLLOUT while there is room; it is news only to what waited for it.
    const bool is_news = has_waited || !tunnel->hbone->out.empty() || !tunnel->hbone->blocked.empty();
    if ((events & EPOLLOUT) != 0 && is_news) state_.streams->writable(*tunnel);
    return pump_streams(handle);
  }
  const SlabHandle flow = tunnel->flow;
  if (Flow* user = state_.flows.find(flow); user != nullptr) {
    if ((events & EPOLLERR) != 0) user->has_tunnel_error = true;
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
  // A client that does not read its answers is not read either: they would pile up here.
  if (flow == nullptr) return tunnel.is_client || !tunnel.may_send() || !tunnel.socket.wants_write();
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
      return end_hbone(*tunnel,
                       result.status == tls::IoStatus::Error ? reason_for(result.failure) : CloseReason::TunnelBroken,
                       detail);
    }
    if (result.status == tls::IoStatus::WouldBlock && tunnel->send_failure != tls::IoFailure::None)
      return end_unsent(*tunnel);
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
    bool is_cut_short = false;
    for (const tls::Segment& segment : state_.io.segments()) {
      is_cut_short = !handle_segment(*tunnel, segment);
      if (is_cut_short) break;
    }
    tunnel->is_in_receive = false;
    if (result.status == tls::IoStatus::WouldBlock) tunnel->is_readable = false;
    if (tunnel->must_close) {
      close_broken(*tunnel);
      return;
    }
    const bool is_over = result.status != tls::IoStatus::Ok && result.status != tls::IoStatus::WouldBlock;
    if (tunnel->has_flow_end) {
      tunnel->is_going_away = tunnel->is_going_away || is_over;
      end_flow(*tunnel);
      return;
    }
    if (is_over) {
      receive_ended(*tunnel, result);
      return;
    }
    const bool is_read = is_cut_short || result.status == tls::IoStatus::WouldBlock;
    if (is_read && tunnel->send_failure != tls::IoFailure::None) {
      end_unsent(*tunnel);
      return;
    }
    // An OPEN in this batch: its data is in the flow's buffer, now the application is connected.
    const SlabHandle flow_after = tunnel->flow;
    if (!tunnel->is_client && !(flow_after == flow_before)) {
      state_.inbound->start(flow_after);
      continue;
    }
    if (Flow* flow = state_.flows.find(flow_after); flow != nullptr && flow->plain().has_failed)
      return;  // the relay ends it
  }
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
    case TunnelState::Closing: end_lingering(*tunnel, true); return;  // what the kernel has taken still goes
  }
}

void Tunnels::advance_handshake(Tunnel& tunnel) {
  switch (tunnel.handshake.advance(state_.io)) {
    case tls::HandshakeSocket::Step::WantRead:
    case tls::HandshakeSocket::Step::WantWrite: return;
    case tls::HandshakeSocket::Step::Done: handshake_done(tunnel); return;
    case tls::HandshakeSocket::Step::Failed: break;
  }
  const tls::HandshakeFailure failure = tunnel.handshake.failure();
  const bool is_revocation =
      failure == tls::HandshakeFailure::PeerRevoked || failure == tls::HandshakeFailure::PeerUnknown;
  if (is_revocation) state_.counters.crl_rejections[direction_index(tunnel)].add();
  handshake_failed(tunnel, reason_for(failure), std::string(tunnel.handshake.failure_detail()));
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

void Tunnels::drop_pod(std::uint32_t slot, bool closes_busy) { retire(slot, closes_busy, true); }

void Tunnels::renew_pod(std::uint32_t slot) {
  retire(slot, false, false);
  std::vector<SlabHandle> begun;
  state_.tunnels.for_each([&](SlabHandle handle, const Tunnel& tunnel) {
    const bool is_begun = tunnel.is_client && tunnel.state == TunnelState::Handshaking;
    if (is_begun && tunnel.pod_slot == slot) begun.push_back(handle);
  });
  // One that cannot be made anew takes an outer tunnel along.
  for (const SlabHandle handle : begun) {
    if (Tunnel* tunnel = state_.tunnels.find(handle)) make_anew(*tunnel);
  }
}

void Tunnels::retire(std::uint32_t slot, bool closes_busy, bool with_unmade) {
  std::vector<SlabHandle> closing;
  state_.tunnels.for_each([&](SlabHandle handle, Tunnel& tunnel) {
    if (tunnel.pod_slot != slot || (!with_unmade && tunnel.state != TunnelState::Ready)) return;
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
  for (const SlabHandle handle : closing) cut(handle, CloseReason::PodLeft, true);
}

}  // namespace culvert::proxy
