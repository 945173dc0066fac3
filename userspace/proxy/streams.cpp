// SPDX-License-Identifier: Apache-2.0
// What both roles of an HBONE tunnel share: the life of its session and of the flows on it.
#include "proxy/streams.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "proxy/finisher.hpp"
#include "proxy/inbound.hpp"
#include "proxy/relay.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

std::uint64_t word_of(SlabHandle handle) noexcept { return std::uint64_t{handle.generation} << 32U | handle.index; }
SlabHandle handle_of(std::uint64_t word) noexcept {
  return {static_cast<std::uint32_t>(word), static_cast<std::uint32_t>(word >> 32U)};
}

}  // namespace

bool Streams::open(Tunnel& tunnel) {
  auto made = std::make_unique<HboneTunnel>();
  made->session = tunnel.is_client ? hbone::Session::client(state_.options.hbone, state_.now_ms)
                                   : hbone::Session::server(state_.options.hbone, state_.now_ms);
  if (made->session == nullptr) return false;
  made->idle_since_ms = state_.now_ms;
  tunnel.hbone = std::move(made);
  tunnel.is_going_away = tunnel.is_going_away || state_.is_draining;
  ++live_tunnels_;
  mark_dirty(tunnel);
  if (tunnel.is_client) {
    if (!tunnel.is_overflow) state_.pool.set_shared(tunnel.pool_key, true);
    state_.pool.warm_up(tunnel.pool_key);  // such peers bring no tickets
    if (!tunnel.is_going_away) state_.pool.add_shared(tunnel.pool_key, tunnel.self);
    serve_waiting(tunnel);
  }
  if (tunnel.is_going_away) tunnel.hbone->session->go_away();  // its handshake was under way when the others were told
  schedule(tunnel);
  return true;
}

bool Streams::receive(Tunnel& tunnel, ByteView data) {
  CV_ASSERT(current_ == nullptr);
  current_ = &tunnel;
  const bool is_sound = tunnel.hbone->session->receive(data, state_.now_ms, *this);
  current_ = nullptr;
  return is_sound;
}

void Streams::finish_batch(SlabHandle handle) {
  for (const SlabHandle flow : std::exchange(starting_, {})) state_.inbound->start(flow);
  for (const SlabHandle place : std::exchange(overdrawn_, {})) {
    if (Flow* flow = state_.flows.find(place))
      state_.finisher->abort(*flow, CloseReason::Overloaded,
                             "its reader has stopped, and there is no memory for what it leaves");
  }
  for (const SlabHandle flow : std::exchange(touched_, {})) state_.relay->run(flow);
  Tunnel* const tunnel = state_.tunnels.find(handle);
  if (tunnel != nullptr && (tunnel->hbone->session->wants_write() || may_serve(*tunnel))) mark_dirty(*tunnel);
}

Flow* Streams::find(hbone::StreamId stream) noexcept {
  Flow* flow = state_.flows.find(handle_of(current_->hbone->session->user_word(stream)));
  return flow != nullptr && flow->stream == stream && flow->tunnel == current_->self ? flow : nullptr;
}

void Streams::attach(Flow& flow, Tunnel& tunnel, hbone::StreamId stream) {
  HboneTunnel& hbone = *tunnel.hbone;
  hbone.session->set_user_word(stream, word_of(flow.self));
  flow.stream = stream;
  flow.stream_place = static_cast<std::uint32_t>(hbone.flows.size());
  hbone.flows.push_back(flow.self);
  hbone.idle_since_ms = 0;
  state_.note_tunnel(flow, tunnel);
}

void Streams::detach(Flow& flow, Tunnel& tunnel) {
  HboneTunnel& hbone = *tunnel.hbone;
  hbone.session->set_user_word(flow.stream, 0);
  give_back(flow, hbone, 0);
  const SlabHandle last = hbone.flows.back();
  hbone.flows[flow.stream_place] = last;
  if (Flow* moved = state_.flows.find(last)) moved->stream_place = flow.stream_place;
  hbone.flows.pop_back();
  flow.stream = 0;
  flow.tunnel = {};
  flow.early.reset();
  became_free(tunnel);
}

void Streams::reset(Flow& flow, Tunnel& tunnel, std::uint32_t code) {
  const hbone::StreamId stream = flow.stream;
  tunnel.hbone->session->reset(stream, code);
  mark_dirty(tunnel);
  detach(flow, tunnel);
}

// Client: flows wait for a stream like those of this tunnel, and it takes further ones.
bool Streams::may_serve(const Tunnel& tunnel) const noexcept {
  return tunnel.is_client && !tunnel.is_going_away && state_.pool.waiting(tunnel.pool_key) > 0 && takes_streams(tunnel);
}

// Client: what waits for a stream of this one waits in vain.
bool Streams::must_make(const Tunnel& tunnel) const noexcept {
  return tunnel.is_client && tunnel.is_going_away && state_.pool.waiting(tunnel.pool_key) > 0;
}

// A stream less: one that waits may have its place, and an idle tunnel has a limit again.
void Streams::became_free(Tunnel& tunnel) {
  const bool is_empty = tunnel.hbone->flows.empty();
  if (is_empty) tunnel.hbone->idle_since_ms = state_.now_ms;
  if (may_serve(tunnel) || (is_empty && tunnel.is_going_away)) {
    mark_dirty(tunnel);  // served or closed at the end of the turn: this may be inside a session's call
  } else if (is_empty) {
    schedule(tunnel);
  }
}

void Streams::on_end(hbone::StreamId stream) {
  Flow* flow = find(stream);
  if (flow == nullptr) return;
  flow->is_end_received = true;
  touched_.push_back(flow->self);
}

void Streams::on_writable(hbone::StreamId stream) {
  if (stream != 0) {
    if (Flow* flow = find(stream)) touched_.push_back(flow->self);
    return;
  }
  for (const SlabHandle blocked : std::exchange(current_->hbone->blocked, {})) {
    Flow* flow = state_.flows.find(blocked);
    if (flow == nullptr || !(flow->tunnel == current_->self)) continue;  // it has ended, or moved to another tunnel
    flow->is_blocked = false;
    touched_.push_back(blocked);
  }
}

void Streams::on_closed(hbone::StreamId stream, hbone::StreamEnd end, std::uint32_t code) {
  Flow* flow = find(stream);
  if (flow == nullptr) return;
  Tunnel& tunnel = *current_;
  if (end == hbone::StreamEnd::Finished) {
    flow->is_end_received = true;
    touched_.push_back(flow->self);
    return;  // detached when our END_STREAM is known to be out as well
  }
  if (end == hbone::StreamEnd::Unprocessed && tunnel.is_client) {
    // Streams that left before the peer's limit was known may be above it: as many as it allows are there all the same, so somebody
    // gets on each time, and a burst is not refused for a peer that takes few.
    const hbone::Session& session = *tunnel.hbone->session;
    const bool is_above_limit = session.streams_max() > 0 && session.live_streams() >= session.streams_max();
    if (retry(*flow, tunnel, !is_above_limit)) return;
  }
  if (end == hbone::StreamEnd::Reset && code == hbone::kNoError && flow->is_end_received) {
    // The peer has said everything and takes no more (RFC 9113 section 8.1): what it said is delivered, then FIN.
    detach(*flow, tunnel);
    flow->is_end_sent = true;
    flow->plain().is_at_eof = true;
    touched_.push_back(flow->self);
    return;
  }
  detach(*flow, tunnel);
  CloseReason reason = tunnel.is_client ? CloseReason::ServerReset : CloseReason::ClientReset;
  std::string_view detail;
  if (end == hbone::StreamEnd::Failed) {
    reason = CloseReason::TunnelProtocol;
  } else if (tunnel.is_client && !flow->is_answered) {
    reason = CloseReason::PeerRefused;
    detail = end == hbone::StreamEnd::Unprocessed ? "refused, and so it was on other tunnels"
                                                  : "RST_STREAM before the answer";
  }
  state_.finisher->abort(*flow, reason, detail);
}

void Streams::on_go_away(std::uint32_t) {
  current_->is_going_away = true;
  if (current_->is_client) state_.pool.forget_shared(current_->pool_key, current_->self);
  if (current_->hbone->flows.empty() || must_make(*current_)) mark_dirty(*current_);
}

void Streams::go_away(Tunnel& tunnel) {
  tunnel.is_going_away = true;
  if (tunnel.is_client) state_.pool.forget_shared(tunnel.pool_key, tunnel.self);
  tunnel.hbone->session->go_away();
  if (must_make(tunnel)) mark_dirty(tunnel);
  flush(tunnel);
  schedule(tunnel);
}

void Streams::fail_flows(Tunnel& tunnel, CloseReason reason, std::string_view detail, bool may_retry) {
  const std::string text(detail);
  while (!tunnel.hbone->flows.empty()) {
    const SlabHandle handle = tunnel.hbone->flows.back();
    Flow* flow = state_.flows.find(handle);
    if (flow == nullptr) {
      tunnel.hbone->flows.pop_back();
      continue;
    }
    // Nobody has answered and nobody was sent a byte: at worst the application over there sees an empty connection.
    if (may_retry && tunnel.is_client && !flow->is_answered && flow->early.empty() && retry(*flow, tunnel)) continue;
    detach(*flow, tunnel);
    state_.finisher->abort(*flow, reason, text);
  }
}

// It is the client that gives an idle tunnel up; one that never does is not kept for ever.
std::uint64_t Streams::idle_limit_ms(const Tunnel& tunnel) const noexcept {
  constexpr std::uint64_t kServerIdleMs = 10 * 60'000;
  return tunnel.is_client ? state_.options.pool_idle_timeout_ms
                          : std::max(2 * state_.options.pool_idle_timeout_ms, kServerIdleMs);
}

// A server waits until the client knows which stream was the last; a client only for what it has still to say.
bool Streams::is_done(const Tunnel& tunnel) const noexcept {
  const hbone::Session& session = *tunnel.hbone->session;
  // What the kernel has not taken may be a stream's end.
  const bool is_sent = !tunnel.may_send() || (tunnel.hbone->out.empty() && !tunnel.socket.wants_write());
  return tunnel.is_going_away && is_sent && (session.is_done() || (tunnel.is_client && !session.wants_write()));
}

void Streams::schedule(Tunnel& tunnel) {
  const HboneTunnel& hbone = *tunnel.hbone;
  std::uint64_t due = hbone.session->next_tick_ms();
  const auto sooner = [&due](std::uint64_t when) { due = due == 0 ? when : std::min(due, when); };
  if (hbone.answer_due_ms != 0) sooner(hbone.answer_due_ms);
  if (hbone.idle_since_ms != 0) sooner(hbone.idle_since_ms + idle_limit_ms(tunnel));
  if (due == 0) return;
  state_.set_deadline(tunnel, due > state_.now_ms ? due - state_.now_ms : 1);
}

void Streams::on_timer(Tunnel& tunnel) {
  HboneTunnel& hbone = *tunnel.hbone;
  if (!hbone.session->tick(state_.now_ms)) {
    if (hbone.session->failure() != hbone::SessionFailure::PingTimeout)
      return state_.tunnel_engine->end_unsound(tunnel);
    state_.tunnel_engine->end_hbone(tunnel, CloseReason::TunnelSilent, {});
    return;
  }
  const bool is_idle = hbone.idle_since_ms != 0 && hbone.flows.empty();
  if (is_idle && state_.now_ms >= hbone.idle_since_ms + idle_limit_ms(tunnel)) {
    state_.tunnel_engine->end_hbone(tunnel, CloseReason::Completed, {});
    return;
  }
  if (hbone.answer_due_ms <= state_.now_ms) hbone.answer_due_ms = 0;
  mark_dirty(tunnel);
  schedule(tunnel);
  if (tunnel.is_client && is_suspect(tunnel)) state_.tunnel_engine->make_elsewhere(tunnel.pool_key);
}

void Streams::mark_dirty(Tunnel& tunnel) {
  if (std::exchange(tunnel.hbone->is_dirty, true)) return;
  dirty_.push_back(tunnel.self);
}

void Streams::flush_dirty() {
  release_withheld();
  // Serving and closing may make further ones dirty; a tunnel is looked at a bounded number of times.
  for (unsigned round = 0; round < 4 && !(dirty_.empty() && retries_.empty()); ++round) {
    run_retries();
    for (const SlabHandle handle : std::exchange(dirty_, {})) {
      Tunnel* tunnel = state_.tunnels.find(handle);
      if (tunnel == nullptr || tunnel->hbone == nullptr) continue;
      tunnel->hbone->is_dirty = false;
      if (may_serve(*tunnel)) {
        serve_waiting(*tunnel);
      } else if (must_make(*tunnel)) {
        state_.tunnel_engine->make_elsewhere(tunnel->pool_key);
      }
      if (tunnel = state_.tunnels.find(handle); tunnel == nullptr) continue;
      const bool holds_answer = tunnel->hbone->answer_due_ms > state_.now_ms;
      if (tunnel->may_send() && !holds_answer) flush(*tunnel);
      if (tunnel->must_close) {
        state_.tunnel_engine->end_hbone(*tunnel, CloseReason::Internal, "out of memory");
      } else if (tunnel->hbone->flows.empty() && is_done(*tunnel)) {
        state_.tunnel_engine->end_hbone(*tunnel, CloseReason::Completed, {});
      }
    }
  }
}

}  // namespace culvert::proxy
