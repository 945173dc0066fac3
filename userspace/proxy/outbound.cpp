// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/socket.hpp"
#include "hbone/messages.hpp"
#include "proxy/demands.hpp"
#include "proxy/finisher.hpp"
#include "proxy/held_syns.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"
#include "proxy/tracing.hpp"
#include "proxy/traffic.hpp"
#include "proxy/tunnels.hpp"
#include "proxy/upstream.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

state::RouteSource source_of(const WorkerState& state, const WorkerPod& pod, const IpAddress& address) noexcept {
  state::RouteSource source;
  source.address = address;
  source.network = state.options.network;
  source.namespace_name = pod.setup.namespace_name;
  source.identity = &pod.setup.identity;
  source.workload = pod.workload;
  return source;
}

}  // namespace

std::optional<Forbidden> forbidden(const state::Snapshot* snapshot, const WorkerPod& pod,
                                   const Endpoint& destination) noexcept {
  // Steering sends nothing for the pod itself here: somebody dialled the agent's listener.
  if (pod.owns(destination.address) || destination.address.is_loopback() || destination.address.is_unspecified()) {
    return Forbidden{CloseReason::SelfCall, {}};
  }
  if (snapshot == nullptr) return Forbidden{CloseReason::Internal, "the mesh is not known yet"};
  return std::nullopt;
}

std::uint32_t Outbound::below(std::uint32_t bound) {
  return static_cast<std::uint32_t>((state_.random_word() >> 32U) * bound >> 32U);
}

void Outbound::accept(WorkerPod& pod, UniqueFd fd, const Endpoint& remote) {
  const std::optional<Endpoint> destination = destination_of(pod, fd.get());
  if (!destination) return;  // gone already; closing resets
  if (pod.holds_syns || pod.held_syns > 0) {
    datapath::SynGate::pass_all(fd.get());
    if (Flow* held = state_.held->take(pod, remote, *destination)) return accept_held(*held, std::move(fd));
    if (pod.holds_syns) state_.counters.syns_unheld.add();
  }
  Flow* flow = state_.new_flow(FlowRole::Outbound, pod.setup.slot);
  if (flow == nullptr) return;
  flow->source = remote;
  flow->destination = *destination;
  begin_trace(state_, *flow);
  if (attach_client(*flow, std::move(fd))) start(*flow, pod);
}

bool Outbound::attach_client(Flow& flow, UniqueFd fd) {
  flow.client.fd = std::move(fd);
  flow.client.is_writable = true;
  flow.client.is_readable = true;  // worth a try: the application may have written before we came
  if (state_.watch(flow.client.fd.get(), TokenKind::Client, flow.self)) return true;
  state_.finisher->abort(flow, CloseReason::Overloaded, "no memory to watch a socket");
  return false;
}

// Mostly the far end has answered by now. When it has not, the kernel has let a copy of the SYN pass: a flow like any other from here on.
void Outbound::accept_held(Flow& flow, UniqueFd fd) {
  if (flow.state == FlowState::AwaitClient) {
    flow.state = FlowState::Open;
    state_.set_deadline(flow, 0);
  }
  if (attach_client(flow, std::move(fd))) state_.relay->run(flow.self);
}

void Outbound::start(Flow& flow, const WorkerPod& pod) {
  flow.next_hop = flow.target = flow.destination;
  if (const auto why_not = forbidden(state_.snapshot.get(), pod, flow.destination)) {
    flow.role = FlowRole::Passthrough;
    state_.finisher->abort(flow, why_not->reason, why_not->detail);
    return;
  }
  if (!pod.is_named()) {
    flow.role = FlowRole::Passthrough;
    state_.finisher->abort(flow, CloseReason::NoRoute, kUnnamedPod);
    return;
  }
  follow(flow, pod,
         state::route(*state_.snapshot, source_of(state_, pod, flow.source.address), flow.destination, *this));
}

void Outbound::follow(Flow& flow, const WorkerPod& pod, const state::Route& route) {
  flow.why = route.why;
  flow.next_hop = route.next_hop;
  if (route.kind == state::RouteKind::Ask) return ask_mesh(flow, pod, route);
  label_outbound(state_, flow, pod, route);
  switch (route.kind) {
    case state::RouteKind::Passthrough:
    case state::RouteKind::Plain:
      flow.role = FlowRole::Passthrough;
      flow.target = route.next_hop;
      state_.finisher->opened(flow);
      connect_plain(flow, pod, route.next_hop);
      return;
    case state::RouteKind::Tunnel: want_tunnel(flow, pod, route); return;
    case state::RouteKind::Gateway: want_gateway(flow, pod, route); return;
    case state::RouteKind::Resolve: ask_name(flow, pod, route); return;
    case state::RouteKind::Ask:
    case state::RouteKind::Refused:
      state_.finisher->abort(flow, CloseReason::NoRoute, state::to_string(route.refusal));
      return;
  }
}

void Outbound::ask_mesh(Flow& flow, const WorkerPod& pod, const state::Route& route) {
  if (state_.demands->wait(flow, route.wanted, flow.start_ms + state_.options.demand_timeout_ms)) return;
  refuse_unknown(flow, pod, Demands::kTooMany);
}

void Outbound::refuse_unknown(Flow& flow, const WorkerPod& pod, std::string_view why) {
  label_outbound(state_, flow, pod, {});
  state_.finisher->abort(flow, CloseReason::NoRoute, why);
}

void Outbound::resume(Flow& flow) {
  flow.state = FlowState::AwaitTunnel;
  state_.set_deadline(flow, 0);
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (pod == nullptr) return state_.finisher->abort(flow, CloseReason::PodLeft);
  start(flow, *pod);
}

void Outbound::want_tunnel(Flow& flow, const WorkerPod& pod, const state::Route& route) {
  flow.target = route.target;
  flow.peer_identity = state_.identities.intern(route.workload->identity());
  const PoolKey key{pod.setup.slot, state_.accepted.intern(route.workload->identity(), route.accepted), route.next_hop,
                    0, state::hbone_need(route)};
  state_.finisher->opened(flow);
  state_.tunnel_engine->want(flow, key);
}

// Another network: a tunnel to the far workload inside a stream to the gateway.
void Outbound::want_gateway(Flow& flow, const WorkerPod& pod, const state::Route& route) {
  if (route.inner_accepted.empty() || route.workload == nullptr) {
    state_.finisher->abort(flow, CloseReason::NoRoute, "the service in the other network has no identities to verify");
    return;
  }
  FlowDetails& details = flow.need_details();
  details.authority = hbone::format_authority(route.authority_host, route.authority_port);
  details.forwarded_network = state_.options.network;
  details.is_far_end_told = true;
  flow.peer_identity = state_.identities.intern(route.inner_accepted.front());
  Via via;
  via.gateway = route.next_hop;
  via.accepted = state_.accepted.intern(route.workload->identity(), route.accepted);
  via.authority = details.authority;
  via.service = flow.service;
  const std::uint32_t inner = state_.accepted.intern(route.inner_accepted.front(), route.inner_accepted.subspan(1));
  state_.tunnel_engine->want(
      flow, PoolKey{pod.setup.slot, inner, route.next_hop, state_.vias.intern(via), state::HboneNeed::Name});
}

void Outbound::ask_name(Flow& flow, const WorkerPod& pod, const state::Route& route) {
  if (!state_.options.resolve) {
    state_.finisher->abort(flow, CloseReason::NoRoute, "names cannot be resolved here");
    return;
  }
  flow.state = FlowState::AwaitName;
  count_name_lookup(state_, pod, route.dns_name);
  flow.need_details().unresolved = std::make_unique<UnresolvedRoute>(UnresolvedRoute{state_.snapshot, route});
  state_.set_deadline(flow, state_.options.connect_timeout_ms);
  state_.options.resolve(state_.worker_index, std::string(route.dns_name), flow.destination.address.family(),
                         flow.self);
}

void Outbound::name_resolved(SlabHandle handle, const std::optional<IpAddress>& address) {
  Flow* flow = state_.flows.find(handle);
  if (flow == nullptr || flow->state != FlowState::AwaitName) return;
  const WorkerPod* pod = state_.pods.find(flow->pod_slot);
  const auto unresolved = std::move(flow->details->unresolved);
  state_.set_deadline(*flow, 0);
  if (pod == nullptr) return state_.finisher->abort(*flow, CloseReason::PodLeft);
  if (!address) {
    const std::string why = fmt::format("DNS has no address for {}, the endpoint's name", unresolved->route.dns_name);
    return state_.finisher->abort(*flow, CloseReason::NoRoute, why);
  }
  // Decided over the snapshot that chose the endpoint.
  follow(*flow, *pod,
         state::route_resolved(*unresolved->snapshot, source_of(state_, *pod, flow->source.address), unresolved->route,
                               *address));
}

void Outbound::connect_plain(Flow& flow, const WorkerPod& pod, const Endpoint& destination) {
  const int fd = state_.pod_socket(pod, destination.address.family());
  if (fd < 0) {
    state_.finisher->abort(flow, CloseReason::Overloaded, "cannot make a socket in the pod's namespace");
    return;
  }
  if (const int error = start_upstream(state_, flow, UniqueFd(fd), destination); error != 0) {
    state_.finisher->abort(flow, upstream_failure(error), ::strerrordesc_np(error));
  }
}

void Outbound::upstream_event(Flow& flow, std::uint32_t events) {
  const int error = upstream_answer(state_, flow, events);
  if (error == EINPROGRESS) return;
  if (error != 0) {
    state_.finisher->abort(flow, upstream_failure(error), ::strerrordesc_np(error));
    return;
  }
  Relay::note_events(flow.upstream, events);
  if (flow.is_held) return state_.held->answered(flow);
  state_.relay->run(flow.self);
}

// The answer to what was opened on a doubtful tunnel is late: because of the application over there, or because nothing gets there?
void Outbound::look_at_path(Flow& flow) {
  flow.caution = Caution::Looked;
  Tunnel* tunnel = state_.tunnels.find(flow.tunnel);
  if (tunnel == nullptr || !is_unacknowledged(tunnel->socket.fd(), kDoubtfulAnswerMs / 2)) {
    state_.set_deadline(flow, 2 * state_.options.connect_timeout_ms);
    return;
  }
  const SlabHandle handle = flow.self;
  const bool has_moved = tunnel->hbone != nullptr ? state_.streams->leave_silent(flow, *tunnel)
                                                  : state_.tunnel_engine->retry_elsewhere(*tunnel);
  if (!has_moved)
    state_.finisher->abort(*state_.flows.find(handle), CloseReason::TunnelTimeout, "the peer acknowledges nothing");
}

void Outbound::on_timer(Flow& flow) {
  if (flow.state == FlowState::AwaitTunnel) {
    state_.tunnel_engine->stop_waiting(flow);
    state_.finisher->abort(flow, CloseReason::TunnelTimeout);
  } else if (flow.state == FlowState::AwaitClient) {
    state_.finisher->abort(flow, CloseReason::ClientReset, "the application had gone when the far end answered");
  } else if (flow.state == FlowState::ConnectUpstream) {
    state_.finisher->abort(flow, CloseReason::UpstreamTimeout);
  } else if (flow.state == FlowState::AwaitMesh) {
    const WorkerPod* pod = state_.pods.find(flow.pod_slot);
    if (pod == nullptr) return state_.finisher->abort(flow, CloseReason::PodLeft);
    refuse_unknown(flow, *pod, Demands::overdue(flow));
  } else if (flow.state == FlowState::AwaitName) {
    state_.finisher->abort(flow, CloseReason::NoRoute, "DNS did not answer in time");
  } else if (flow.state == FlowState::Open && flow.role == FlowRole::Outbound && !flow.is_answered) {
    if (flow.caution == Caution::Doubted) return look_at_path(flow);
    state_.finisher->abort(flow, CloseReason::UpstreamTimeout,
                           flow.is_hbone ? "the peer did not answer CONNECT" : "the peer did not answer OPEN");
  }
}

}  // namespace culvert::proxy
