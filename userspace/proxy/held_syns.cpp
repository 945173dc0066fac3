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

constexpr unsigned kSynsPerTurn = 64;
// The handshake over lo takes no time; when the accept queue was full the application's own next SYNs (1 s, 3 s) bring it about.
constexpr std::uint64_t kAcceptMs = 5'000;

enum class Answer : std::uint8_t { Reset, Unreachable, Silence };

Answer answer_for(const Flow& flow, CloseReason reason) noexcept {
  switch (reason) {
    // HBONE has one status, 503, for whatever a connect failed for; a closed port is the most common by far.
    case CloseReason::UpstreamFailed: return flow.is_hbone ? Answer::Reset : Answer::Unreachable;
    // Nobody is there, as far as anybody can tell.
    case CloseReason::UpstreamTimeout:
    case CloseReason::TunnelTimeout:
    case CloseReason::TunnelFailed:
    case CloseReason::TunnelBroken: return Answer::Unreachable;
    // The application has gone; or it may try the next agent, by itself.
    case CloseReason::ClientReset:
    case CloseReason::Drained: return Answer::Silence;
    default: return Answer::Reset;
  }
}

std::array<UniqueFd*, 2> outbound_listeners(WorkerPod& pod) noexcept {
  return {&pod.setup.listeners.v4.outbound, &pod.setup.listeners.v6.outbound};
}

}  // namespace

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

void HeldSyns::on_ring() {
  if (ring_ != nullptr) ring_->drain(kSynsPerTurn);
}

void HeldSyns::on_syn(std::uint32_t slot, ByteView bytes) {
  WorkerPod* pod = state_.pods.find(slot);
  if (pod == nullptr) return;
  const std::optional<SynPacket> packet = SynPacket::parse(bytes);
  if (!packet) return;
  if (const auto place = held_.find({slot, packet->source(), packet->destination()}); place != held_.end()) {
    // Another copy, or the same ports once more: what is under way is for this one from now on.
    place->second.packet = *packet;
    const Flow* flow = state_.flows.find(place->second.flow);
    if (flow == nullptr || flow->state != FlowState::AwaitClient) return;
  } else if (pod->holds_syns && pod->owns(packet->source().address) && pod->held_syns < kPerPodMax &&
             held_.size() < kMax) {
    return begin(*pod, *packet);
  }
  FrameBuffer buffer;
  send(*pod, packet->make_again(buffer));
}

void HeldSyns::begin(WorkerPod& pod, const SynPacket& packet) {
  Flow* flow = state_.new_flow(FlowRole::Outbound, pod.setup.slot);
  if (flow == nullptr) {
    FrameBuffer buffer;
    return send(pod, packet.make_reset(buffer));
  }
  flow->is_held = true;
  flow->source = packet.source();
  flow->destination = packet.destination();
  begin_trace(state_, *flow);
  held_.emplace(key_of(*flow), Held{packet, flow->self});
  ++pod.held_syns;
  state_.counters.syns_held.add();
  state_.outbound->start(*flow, pod);
}

Flow* HeldSyns::take(const WorkerPod& pod, const Endpoint& source, const Endpoint& destination) {
  const auto place = held_.find({pod.setup.slot, source, destination});
  if (place == held_.end()) return nullptr;
  Flow* flow = state_.flows.find(place->second.flow);
  if (flow != nullptr) erase(*flow);
  return flow;
}

void HeldSyns::erase(Flow& flow) {
  flow.is_held = false;
  if (held_.erase(key_of(flow)) == 0) return;
  if (WorkerPod* pod = state_.pods.find(flow.pod_slot)) --pod->held_syns;
}

void HeldSyns::answered(Flow& flow) {
  const auto place = held_.find(key_of(flow));
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (place == held_.end() || pod == nullptr) return;
  flow.state = FlowState::AwaitClient;
  state_.set_deadline(flow, kAcceptMs);
  FrameBuffer buffer;
  send(*pod, place->second.packet.make_again(buffer));
}

void HeldSyns::ended(Flow& flow, CloseReason reason) {
  const auto place = held_.find(key_of(flow));
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (place != held_.end() && pod != nullptr) {
    FrameBuffer buffer;
    switch (answer_for(flow, reason)) {
      case Answer::Reset: send(*pod, place->second.packet.make_reset(buffer)); break;
      case Answer::Unreachable: send(*pod, place->second.packet.make_unreachable(buffer)); break;
      case Answer::Silence: break;
    }
  }
  erase(flow);
}

void HeldSyns::end_all(std::uint32_t slot, CloseReason reason) {
  std::vector<SlabHandle> flows;
  for (const auto& [key, held] : held_) {
    if (slot == 0 || std::get<0>(key) == slot) flows.push_back(held.flow);
  }
  for (const SlabHandle handle : flows) {
    Flow* flow = state_.flows.find(handle);
    if (flow == nullptr) continue;
    if (flow->state == FlowState::AwaitTunnel) state_.tunnel_engine->stop_waiting(*flow);
    state_.finisher->abort(*flow, reason);
  }
}

}  // namespace culvert::proxy
