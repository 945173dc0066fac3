// SPDX-License-Identifier: Apache-2.0
#include "proxy/leave.hpp"

#include <utility>

#include "proxy/acceptor.hpp"
#include "proxy/finisher.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/streams.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

}  // namespace

void Leave::begin(RemovePod message) {
  WorkerPod* pod = state_.pods.find(message.slot);
  if (pod == nullptr) {
    if (message.done) message.done();
    return;
  }
  pod->is_leaving = true;
  state_.acceptor->close(*pod);
  state_.held->end_all(message.slot, CloseReason::PodLeft);
  state_.tunnel_engine->drop_pod(message.slot, false);
  const std::uint64_t deadline = state_.now_ms + message.deadline_ms;
  // The wheel wakes the loop; the token finds nothing and `check` looks at the deadline.
  state_.wheel.schedule(make_token(TokenKind::FlowTimer, {}), deadline);
  leaving_.push_back({message.slot, deadline, std::move(message.done)});
}

void Leave::drain(Drain message) {
  std::vector<std::uint32_t> slots;
  state_.pods.for_each([&slots](const WorkerPod& pod) { slots.push_back(pod.setup.slot); });
  for (const std::uint32_t slot : slots) state_.acceptor->take_waiting(slot);
  state_.is_draining = true;
  state_.pods.for_each([this](WorkerPod& pod) { state_.acceptor->close(pod); });
  state_.held->end_all(0, CloseReason::Drained);
  state_.tunnel_engine->begin_drain();
  drained_ = std::move(message.done);
  drain_deadline_ms_ = state_.now_ms + message.deadline_ms;
  state_.wheel.schedule(make_token(TokenKind::FlowTimer, {}), drain_deadline_ms_);
}

void Leave::replace(std::uint32_t slot) {
  WorkerPod* pod = state_.pods.find(slot);
  if (pod == nullptr) return;
  state_.acceptor->close(*pod);
  state_.held->end_all(slot, CloseReason::PodLeft);
  cut(slot, CloseReason::PodLeft);
  // Tunnels carry the identity that they were made with: none of the old pod's may serve the new one.
  state_.tunnel_engine->drop_pod(slot, true);
  for (Leaving& one : leaving_) {
    if (one.slot == slot) one.deadline_ms = 0;
  }
  check();
}

void Leave::check() {
  for (std::size_t i = 0; i < leaving_.size();) {
    if (leaving_[i].deadline_ms <= state_.now_ms) cut(leaving_[i].slot, CloseReason::PodLeft);
    if (has_flows(leaving_[i].slot)) {
      ++i;
      continue;
    }
    state_.tunnel_engine->drop_pod(leaving_[i].slot, true);
    remove(leaving_[i].slot);
    const Leaving finished = std::move(leaving_[i]);
    leaving_.erase(leaving_.begin() + static_cast<std::ptrdiff_t>(i));
    if (finished.done) finished.done();
  }
  const bool is_empty =
      state_.flows.size() == 0 && state_.streams->live_tunnels() == 0 && !state_.tunnel_engine->has_lingering();
  if (drained_ && (is_empty || drain_deadline_ms_ <= state_.now_ms)) {
    cut_all(CloseReason::Drained);
    std::exchange(drained_, nullptr)();
  }
}

// The last pod of an identity takes its certificate and key along.
void Leave::remove(std::uint32_t slot) {
  const WorkerPod* pod = state_.pods.find(slot);
  if (pod == nullptr) return;
  const SpiffeId identity = pod->setup.identity;
  state_.pods.remove(slot);
  if (!state_.pods.has_identity(identity)) state_.credentials.erase(identity);
}

bool Leave::has_flows(std::uint32_t slot) {
  const WorkerPod* pod = state_.pods.find(slot);
  return pod != nullptr && pod->live_flows > 0;
}

void Leave::cut(std::uint32_t slot, CloseReason reason) {
  state_.flows.for_each([&](SlabHandle, Flow& flow) {
    if (flow.pod_slot != slot) return;
    if (flow.state == FlowState::AwaitTunnel) state_.tunnel_engine->stop_waiting(flow);
    state_.finisher->abort(flow, reason);
  });
}

void Leave::cut_all(CloseReason reason) {
  state_.flows.for_each([&](SlabHandle, Flow& flow) {
    if (flow.state == FlowState::AwaitTunnel) state_.tunnel_engine->stop_waiting(flow);
    state_.finisher->abort(flow, reason);
  });
}

}  // namespace culvert::proxy
