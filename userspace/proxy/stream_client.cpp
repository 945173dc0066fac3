// SPDX-License-Identifier: Apache-2.0
// The client's half of Streams: which tunnel a flow takes, its CONNECT and the answer to it, and trying again what nobody looked at.
#include <algorithm>
#include <utility>
#include <vector>

#include "proxy/baggage.hpp"
#include "proxy/finisher.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"
#include "proxy/tracing.hpp"
#include "proxy/traffic.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

constexpr std::uint8_t kAttemptsMax = 3;

CloseReason reason_of(std::uint16_t status) noexcept {
  switch (status) {
    case 401:
    case 403: return CloseReason::PolicyDenied;
    case 503: return CloseReason::UpstreamFailed;
    case 504: return CloseReason::UpstreamTimeout;
    default: return CloseReason::PeerRefused;
  }
}

}  // namespace

bool Streams::is_suspect(const Tunnel& tunnel) const noexcept {
  return tunnel.hbone->session->is_suspect(state_.now_ms);
}

bool Streams::takes_streams(const Tunnel& tunnel) const noexcept {
  return tunnel.may_send() && tunnel.hbone->session->can_connect() && !is_suspect(tunnel);
}

bool Streams::has_sound(std::uint32_t pool_key) const {
  return std::ranges::any_of(state_.pool.shared(pool_key), [this](SlabHandle handle) {
    const Tunnel* tunnel = state_.tunnels.find(handle);
    return tunnel != nullptr && !is_suspect(*tunnel);
  });
}

Tunnel* Streams::pick(std::uint32_t pool_key) {
  Tunnel* best = nullptr;
  for (const SlabHandle handle : state_.pool.shared(pool_key)) {
    Tunnel* tunnel = state_.tunnels.find(handle);
    if (tunnel == nullptr || !takes_streams(*tunnel)) continue;
    // A key that cannot be replaced is not begun upon again once half of its records are used.
    if (!tunnel->socket.can_rekey() && tunnel->socket.tx_records() >= tls::TunnelSocket::kRecordsRekey) continue;
    if (best == nullptr || tunnel->hbone->flows.size() < best->hbone->flows.size()) best = tunnel;
  }
  return best;
}

// A pod's address, whatever address an application has taken for its own: who is told believes it.
Endpoint Streams::source_to_tell(const Flow& flow) const noexcept {
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (pod == nullptr || pod->owns(flow.source.address) || pod->setup.addresses.empty()) return flow.source;
  const auto& own = pod->setup.addresses;
  const auto same =
      std::ranges::find_if(own, [&](const IpAddress& one) { return one.family() == flow.source.address.family(); });
  return {same != own.end() ? *same : own.front(), flow.source.port};
}

bool Streams::start(Tunnel& tunnel, Flow& flow) {
  const FlowDetails* details = flow.details.get();
  const std::string authority =
      details != nullptr && !details->authority.empty() ? details->authority : hbone::format_authority(flow.target);
  const std::string forwarded = hbone::format_forwarded(source_to_tell(flow), state_.services.text(flow.service));
  const std::string traceparent = traceparent_of(state_, flow);
  hbone::ConnectRequest request;
  request.authority = authority;
  request.baggage = pod_baggage(state_, flow.pod_slot);
  request.forwarded = forwarded;
  request.traceparent = traceparent;
  if (details != nullptr) request.forwarded_network = details->forwarded_network;
  const hbone::StreamId stream = tunnel.hbone->session->connect(request);
  if (stream == hbone::kNoStream) return false;
  attach(flow, tunnel, stream);
  flow.state = FlowState::Open;
  flow.is_answered = false;
  state_.await_answer(flow, tunnel, tunnel.hbone->session->silent_ms(state_.now_ms));
  mark_dirty(tunnel);
  state_.relay->run(flow.self);
  return true;
}

void Streams::serve_waiting(Tunnel& tunnel) {
  const std::uint32_t key = tunnel.pool_key;
  const SlabHandle handle = tunnel.self;
  state_.pool.hold(key);
  std::size_t share = state_.pool.share_of_waiting(key);
  for (Tunnel* live = &tunnel; live != nullptr && share > 0 && takes_streams(*live);
       live = state_.tunnels.find(handle), --share) {
    const std::optional<SlabHandle> waiting = state_.pool.dequeue(key);
    if (!waiting) break;
    state_.pool.drop(key);
    if (Flow* flow = state_.flows.find(*waiting); flow != nullptr && !start(*live, *flow))
      state_.finisher->abort(*flow, CloseReason::Internal, "no stream where there was room");
  }
  state_.tunnel_engine->make_more(key);
  state_.pool.drop(key);
}

void Streams::on_response(hbone::StreamId stream, const hbone::ConnectResponse& response) {
  Flow* flow = find(stream);
  if (flow == nullptr) return;
  if (response.status / 100 == 2) {  // RFC 9110 section 9.3.6: any of them
    flow->is_answered = true;
    if (flow->details != nullptr && flow->details->is_far_end_told) {
      label_far_end(state_, *flow, hbone::parse_baggage(response.baggage));
      state_.finisher->opened(*flow);
    }
    flow->early.reset();
    if (!flow->is_reset_awaited) state_.set_deadline(*flow, 0);
    if (flow->is_held) return state_.held->answered(*flow);
    touched_.push_back(flow->self);
    return;
  }
  const CloseReason reason = reason_of(response.status);
  const std::string detail = fmt::format("http status: {}", response.status);
  detach(*flow, *current_);
  state_.finisher->abort(*flow, reason, detail);
}

bool Streams::retry(Flow& flow, Tunnel& tunnel, bool counts) {
  if (flow.is_answered || flow.client.has_failed) return false;
  if (counts && ++flow.attempts > kAttemptsMax) return false;
  Lent early = std::move(flow.early);
  const PoolKey key = state_.pool.key(tunnel.pool_key);
  detach(flow, tunnel);
  // What was sent comes first, then what had been read for it and not sent.
  state_.buffers.append(early, flow.spill.filled());
  flow.spill = std::move(early);
  flow.is_end_sent = false;
  flow.is_blocked = false;
  flow.is_reset_awaited = false;
  flow.state = FlowState::AwaitRetry;
  retries_.push_back({flow.self, key});
  state_.counters.streams_retried.add();
  return true;
}

// Others that are on it may yet get on: it is not ended, only left.
bool Streams::leave_silent(Flow& flow, Tunnel& tunnel) {
  // Nor does the flow try the next one that was silent as long.
  for (const SlabHandle handle : std::vector<SlabHandle>(state_.pool.shared(tunnel.pool_key))) {
    Tunnel* one = state_.tunnels.find(handle);
    if (one == nullptr || (one != &tunnel && one->hbone->session->silent_ms(state_.now_ms) < kDoubtfulAfterMs))
      continue;
    one->is_going_away = true;
    state_.pool.forget_shared(tunnel.pool_key, handle);
    mark_dirty(*one);
  }
  const hbone::StreamId stream = flow.stream;
  if (!retry(flow, tunnel)) return false;
  tunnel.hbone->session->reset(stream, hbone::kCancel);
  return true;
}

void Streams::run_retries() {
  for (const Retry& one : std::exchange(retries_, {})) {
    Flow* flow = state_.flows.find(one.flow);
    if (flow != nullptr && flow->state == FlowState::AwaitRetry) state_.tunnel_engine->want(*flow, one.key);
  }
}

}  // namespace culvert::proxy
