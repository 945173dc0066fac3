// SPDX-License-Identifier: Apache-2.0
#include "proxy/held_syns.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "core/netns.hpp"
#include "core/socket.hpp"
#include "proxy/finisher.hpp"
#include "proxy/outbound.hpp"
#include "proxy/tracing.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

constexpr unsigned kSynsPerTurn = 64;  // begun
// The handshake over lo takes no time; when the accept queue was full the application's own next SYNs (1 s, 3 s) bring it about.
constexpr std::uint64_t kAcceptMs = 5'000;

std::array<UniqueFd*, 2> outbound_listeners(WorkerPod& pod) noexcept {
  return {&pod.setup.listeners.v4.outbound, &pod.setup.listeners.v6.outbound};
}

}  // namespace

HeldSyns::Answer HeldSyns::answer_for(CloseReason reason, bool is_hbone) noexcept {
  switch (reason) {
    // HBONE has one status, 503, for whatever a connect failed for; a closed port is the most common by far.
    case CloseReason::UpstreamFailed: return is_hbone ? Answer::Reset : Answer::Unreachable;
    // Nobody is there, as far as anybody can tell.
    case CloseReason::UpstreamTimeout:
    case CloseReason::TunnelTimeout:
    case CloseReason::TunnelFailed:
    case CloseReason::TunnelBroken:
    case CloseReason::TunnelSilent: return Answer::Unreachable;
    // The application has gone; or it may try the next agent, by itself.
    case CloseReason::ClientReset:
    case CloseReason::Drained: return Answer::Silence;
    default: return Answer::Reset;
  }
}

bool HeldSyns::wants(const WorkerPod& pod) const noexcept {
  const bool of_node = state_.options.answers_after_connect;
  return pod.setup.answer_syn ? *pod.setup.answer_syn == AnswerSyn::AfterConnect : of_node;
}

void HeldSyns::follow(WorkerPod& pod) {
  if (!wants(pod)) return release(pod);
  if (pod.held_until_ms == 0) open(pod);
}

void HeldSyns::follow_options() {
  bool is_used = false;
  state_.pods.for_each([&](WorkerPod& pod) {
    follow(pod);
    is_used = is_used || pod.holds_syns;
  });
  if (is_used || ring_ == nullptr) return;
  ring_->drain(~0U);
  state_.poller.remove(ring_->fd());
  ring_.reset();
}

bool HeldSyns::open_ring() {
  if (ring_ != nullptr) return true;
  auto opened =
      gate_.open_ring(state_.worker_index, [this](std::uint32_t slot, ByteView packet) { on_syn(slot, packet); });
  if (!opened) {
    state_.log.error("answer_syn: worker {} answers at once: {}", state_.worker_index, opened.error().message());
    return false;
  }
  if (state_.poller.add((*opened)->fd(), EPOLLIN, make_token(TokenKind::SynRing, {})) != 0) return false;
  ring_ = std::move(*opened);
  return true;
}

void HeldSyns::open(WorkerPod& pod) {
  // A connection that a rule of others redirected cannot be told from its SYN: where it was going is known once it is accepted.
  const bool may_hold =
      wants(pod) && pod.setup.capture == enroll::Capture::Programs && !pod.is_leaving && !state_.is_draining;
  if (!may_hold || pod.holds_syns || !open_ring()) return;
  // What sends them again comes first: a SYN that is held and cannot be let go would be lost.
  int error = open_sender(pod);
  for (UniqueFd* listener : outbound_listeners(pod)) {
    if (error == 0 && listener->is_open()) error = gate_.hold(listener->get(), pod.setup.slot, state_.worker_index);
  }
  pod.holds_syns = true;
  if (error == 0) return;
  release(pod);
  state_.log.error(
      "capture.answer_syn: connections of pod {} are answered at once: {}; culvertd needs CAP_NET_RAW and CAP_BPF",
      pod.setup.id, ::strerrordesc_np(error));
}

void HeldSyns::close(WorkerPod& pod) {
  if (!std::exchange(pod.holds_syns, false)) return;
  for (UniqueFd* listener : outbound_listeners(pod)) {
    if (!listener->is_open()) continue;
    state_.poller.remove(listener->get());
    gate_.close(*listener);
  }
}

void HeldSyns::release(WorkerPod& pod) {
  if (!std::exchange(pod.holds_syns, false)) return;
  for (UniqueFd* listener : outbound_listeners(pod)) {
    if (listener->is_open()) gate_.release(listener->get());
  }
}

// A socket that sends frames over the pod's lo and receives none. 0 or an errno.
int HeldSyns::open_sender(WorkerPod& pod) {
  if (pod.lo_sender) return 0;
  UniqueFd fd;
  {
    const auto guard = NetnsGuard::enter(pod.setup.netns.get(), state_.home_netns.get());
    if (!guard) return guard.error().sys_errno();
    fd.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  }
  if (!fd) return errno;
  // The mark leads them to this agent, as it led the first ones; the priority past the filter.
  if (const int error = set_mark(fd.get(), state_.options.mark); error != 0) return error;
  const int priority = CV_SYN_PRIORITY;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) != 0) return errno;
  pod.lo_sender = std::move(fd);
  return 0;
}

// One that is lost is made good for by the application's next SYN.
void HeldSyns::send(const WorkerPod& pod, ByteView frame) {
  if (!pod.lo_sender) return;
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(static_cast<std::uint16_t>(frame[12] << 8U | frame[13]));
  to.sll_ifindex = CV_LO_IFINDEX;
  to.sll_halen = ETH_ALEN;
  (void)::sendto(pod.lo_sender.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                 sizeof(to));
}

void HeldSyns::read_ring() {
  if (ring_ != nullptr && may_read_ > 0) may_read_ -= ring_->drain(may_read_);
}

// Called while the ring is read: begins and ends nothing.
void HeldSyns::on_syn(std::uint32_t slot, ByteView bytes) {
  WorkerPod* pod = state_.pods.find(slot);
  if (pod == nullptr) return;
  const std::optional<SynPacket> packet = SynPacket::parse(bytes);
  if (!packet) return;
  const Key key{slot, packet->source(), packet->destination()};
  if (const auto place = held_.find(key); place != held_.end()) {
    // Another copy, or the same ports once more: what is under way is for this one from now on.
    place->second.packet = *packet;
    const Flow* flow = state_.flows.find(place->second.flow);
    if (flow == nullptr || flow->state != FlowState::AwaitClient) return;
  } else if (pod->holds_syns && pod->owns(packet->source().address) && pod->held_syns < kPerPodMax &&
             held_.size() < kMax) {
    held_.emplace(key, Held{*packet, {}});
    ++pod->held_syns;
    arrived_.push_back(key);
    return;
  }
  if (state_.is_draining) return;  // there is no listener any more; the next agent gets the next copy
  answer(*pod, *packet, Answer::Again);
}

void HeldSyns::begin_arrived() {
  may_read_ = kReadPerTurn;
  for (unsigned i = 0; i < kSynsPerTurn && !arrived_.empty(); ++i) {
    const Key key = arrived_.front();
    arrived_.pop_front();
    const auto place = held_.find(key);
    if (place == held_.end() || place->second.flow != SlabHandle{}) continue;
    WorkerPod* pod = state_.pods.find(std::get<0>(key));
    if (pod == nullptr) {
      held_.erase(place);
    } else {
      begin(*pod, place);
    }
  }
}

void HeldSyns::begin(WorkerPod& pod, Place place) {
  const auto& [slot, source, destination] = place->first;
  Flow* flow = state_.new_flow(FlowRole::Outbound, slot);
  if (flow == nullptr) {
    read_ring();
    answer(pod, place->second.packet, Answer::Reset);
    return erase(place);
  }
  flow->is_held = true;
  flow->source = source;
  flow->destination = destination;
  begin_trace(state_, *flow);
  place->second.flow = flow->self;
  state_.counters.syns_held.add();
  state_.outbound->start(*flow, pod);
}

Flow* HeldSyns::take(const WorkerPod& pod, const Endpoint& source, const Endpoint& destination) {
  read_ring();
  const auto place = held_.find({pod.setup.slot, source, destination});
  if (place == held_.end()) return nullptr;
  Flow* flow = state_.flows.find(place->second.flow);
  if (flow != nullptr) flow->is_held = false;
  erase(place);
  return flow;
}

void HeldSyns::erase(Place place) {
  if (WorkerPod* pod = state_.pods.find(std::get<0>(place->first))) --pod->held_syns;
  held_.erase(place);
}

void HeldSyns::answered(Flow& flow) {
  const auto place = held_.find(key_of(flow));
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (place == held_.end() || pod == nullptr) return;
  flow.state = FlowState::AwaitClient;
  state_.set_deadline(flow, kAcceptMs);
  answer(*pod, place->second.packet, Answer::Again);
}

void HeldSyns::ended(Flow& flow, CloseReason reason) {
  read_ring();
  flow.is_held = false;
  const auto place = held_.find(key_of(flow));
  if (place == held_.end()) return;
  if (const WorkerPod* pod = state_.pods.find(flow.pod_slot))
    answer(*pod, place->second.packet, answer_for(reason, flow.is_hbone));
  erase(place);
}

void HeldSyns::answer(const WorkerPod& pod, const SynPacket& packet, Answer answer) {
  FrameBuffer buffer;
  switch (answer) {
    case Answer::Reset: return send(pod, packet.make_reset(buffer));
    case Answer::Unreachable: return send(pod, packet.make_unreachable(buffer));
    case Answer::Silence: return;
    case Answer::Again: return send(pod, packet.make_again(buffer));
  }
}

void HeldSyns::end_all(std::uint32_t slot, CloseReason reason) {
  read_ring();
  std::vector<SlabHandle> flows;
  for (auto next = held_.begin(); next != held_.end();) {
    const auto place = next++;
    if (slot != 0 && std::get<0>(place->first) != slot) continue;
    if (place->second.flow != SlabHandle{}) {
      flows.push_back(place->second.flow);
      continue;
    }
    if (const WorkerPod* pod = state_.pods.find(std::get<0>(place->first)))
      answer(*pod, place->second.packet, answer_for(reason, false));
    erase(place);
  }
  for (const SlabHandle handle : flows) {
    Flow* flow = state_.flows.find(handle);
    if (flow == nullptr) continue;
    if (flow->state == FlowState::AwaitTunnel) state_.tunnel_engine->stop_waiting(*flow);
    state_.finisher->abort(*flow, reason);
  }
}

}  // namespace culvert::proxy
