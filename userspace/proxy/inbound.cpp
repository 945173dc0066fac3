// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "base/text.hpp"
#include "core/socket.hpp"
#include "hbone/proxy_header.hpp"
#include "proxy/admission.hpp"
#include "proxy/demands.hpp"
#include "proxy/finisher.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"
#include "proxy/tracing.hpp"
#include "proxy/traffic.hpp"
#include "proxy/tunnels.hpp"
#include "proxy/upstream.hpp"
#include "state/route.hpp"

namespace culvert::proxy {
namespace {

using direct::RefuseReason;
using telemetry::CloseReason;

// What is known of a client is for metrics and the log: it is not worth a long wait.
constexpr std::uint64_t kSourceWaitMs = 1'000;

bool is_agent_port(std::uint16_t port) noexcept {
  return port == enroll::kPortOutbound || port == enroll::kPortInboundPlaintext || port == enroll::kPortTunnel;
}

RefuseReason wire_reason(int connect_errno) noexcept {
  switch (connect_errno) {
    case ECONNREFUSED: return RefuseReason::ConnectRefused;
    case ETIMEDOUT: return RefuseReason::ConnectTimeout;
    default: return RefuseReason::ConnectFailed;
  }
}

}  // namespace

void Inbound::accept_plaintext(WorkerPod& pod, UniqueFd fd, const Endpoint& remote) {
  const std::optional<Endpoint> destination = destination_of(pod, fd.get());
  if (!destination) return;
  Flow* flow = state_.new_flow(FlowRole::InboundPlaintext, pod.setup.slot);
  if (flow == nullptr) return;
  flow->client.fd = std::move(fd);
  flow->client.is_writable = true;
  flow->client.is_readable = true;
  flow->source = remote;
  flow->destination = *destination;
  begin_trace(state_, *flow);
  if (!pod.owns(destination->address) || is_agent_port(destination->port)) {
    state_.finisher->abort(*flow, CloseReason::SelfCall);
    return;
  }
  if (!state_.watch(flow->client.fd.get(), TokenKind::Client, flow->self)) {
    state_.finisher->abort(*flow, CloseReason::Overloaded, "no memory to watch a socket");
    return;
  }
  if (waits_for_source(*flow, {})) return;
  label_inbound(state_, *flow, pod, {}, {});
  admit(*flow);
}

void Inbound::admit(Flow& flow) {
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (pod == nullptr || pod->is_leaving) {
    refuse(flow, CloseReason::PodLeft, RefuseReason::Draining);
    return;
  }
  // OPEN does not say what was dialled, which such an application is to be told. Our clients know and offer h2; others may not.
  const bool is_direct = flow.role == FlowRole::InboundTunnel && flow.stream == 0;
  if (is_direct && pod->workload != nullptr && pod->workload->application_tunnel()) {
    refuse(flow, CloseReason::UnknownDestination, RefuseReason::UnknownDestination,
           "its workload has an application tunnel, which only h2 reaches");
    return;
  }
  state_.finisher->opened(flow);
  const Admission::Judgement judgement = state_.admission->judge(flow, *pod);
  switch (judgement.outcome) {
    case Admission::Outcome::Admit: return connect_application(flow, *pod);
    case Admission::Outcome::Hold: return state_.admission->hold(flow);
    case Admission::Outcome::Refuse: break;
  }
  refuse(flow, judgement.reason,
         judgement.reason == CloseReason::Overloaded ? RefuseReason::Overloaded : RefuseReason::PolicyDenied,
         judgement.detail);
}

Flow* Inbound::on_open(Tunnel& tunnel, const direct::Open& open) {
  if (state_.is_draining || tunnel.is_going_away) {
    state_.tunnel_engine->refuse(tunnel, RefuseReason::Draining);
    return nullptr;
  }
  Flow* flow = state_.new_flow(FlowRole::InboundTunnel, tunnel.pod_slot);
  if (flow == nullptr) {
    state_.tunnel_engine->refuse(tunnel, RefuseReason::Overloaded);
    return nullptr;
  }
  // The address of the TCP peer, not the one that OPEN claims: a peer cannot speak for another address.
  flow->source = Endpoint{tunnel.remote.address, open.source.port};
  flow->destination = flow->target = open.destination;
  flow->why = "direct tunnel: both agents offer it";
  flow->state = FlowState::ConnectUpstream;
  flow->is_prompt = (open.flags & direct::kOpenPrompt) != 0;
  state_.note_tunnel(*flow, tunnel);
  tunnel.flow = flow->self;
  continue_trace(state_, *flow, open.traceparent);
  if (waits_for_source(*flow, {.baggage = open.baggage})) return flow;
  if (const WorkerPod* pod = state_.pods.find(flow->pod_slot)) label_inbound(state_, *flow, *pod, open.baggage, {});
  return flow;
}

bool Inbound::on_connect(Flow& flow, Tunnel& tunnel, const hbone::ConnectRequest& request) {
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  const std::optional<hbone::Authority> authority = hbone::parse_authority(request.authority);
  const std::optional<Endpoint> local = local_endpoint(tunnel.socket.fd());
  flow.why = "HBONE: the peer asked for h2";
  if (!authority || pod == nullptr || !local) {
    refuse(flow, authority ? CloseReason::PodLeft : CloseReason::TunnelProtocol,
           authority ? RefuseReason::ConnectFailed : RefuseReason::BadRequest,
           authority ? std::string_view{} : std::string_view("bad :authority"));
    return false;
  }
  flow.destination = Endpoint{local->address, authority->port};
  if (state_.snapshot == nullptr) {
    refuse(flow, CloseReason::Internal, RefuseReason::ConnectFailed, "the mesh is not known yet");
    return false;
  }
  flow.is_other_network =
      !request.forwarded_network.empty() && !equals_ignoring_case(request.forwarded_network, state_.options.network);
  const state::WorkloadEntry* workload = pod->workload;
  const state::InboundTarget target =
      authority->endpoint
          ? state::inbound_target(*state_.snapshot, workload, local->address, *authority->endpoint)
          : state::inbound_target(*state_.snapshot, workload, local->address, authority->host, authority->port);
  flow.target = authority->endpoint ? *authority->endpoint : flow.destination;
  if (target.wanted && waits_for(flow, *target.wanted, request, false)) return true;
  if (!authority->endpoint) flow.need_details().authority = std::string(request.authority);
  if (target.status != 200) {
    refuse(flow, CloseReason::UnknownDestination,
           target.status == 400 ? RefuseReason::UnknownDestination : RefuseReason::ConnectFailed);
    return false;
  }
  flow.destination.port =
      target.destination.port;  // of the pod for policy and log, wherever in it the application listens
  if (target.wants_proxy_header) {
    FlowDetails& details = flow.need_details();
    details.application = target.destination;
    const SpiffeId* peer = state_.identities.find(tunnel.peer_identity);
    details.proxy_header = hbone::make_proxy_header(flow.source, target.proxy_destination,
                                                    peer == nullptr ? std::string{} : peer->to_string());
  }
  if (waits_for_source(flow, request)) return true;
  label_inbound(state_, flow, *pod, state_.options.hbone_response_baggage ? request.baggage : std::string_view{},
                request.forwarded);
  return true;
}

void Inbound::start(SlabHandle handle) {
  Flow* flow = state_.flows.find(handle);
  if (flow == nullptr || flow->state == FlowState::AwaitMesh) return;
  const WorkerPod* pod = state_.pods.find(flow->pod_slot);
  if (pod == nullptr || pod->is_leaving) {
    refuse(*flow, CloseReason::PodLeft, RefuseReason::Draining);
    return;
  }
  if (!pod->owns(flow->destination.address)) {
    refuse(*flow, CloseReason::UnknownDestination, RefuseReason::UnknownDestination);
    return;
  }
  if (is_agent_port(flow->destination.port)) {
    refuse(*flow, CloseReason::SelfCall,
           flow->is_hbone ? RefuseReason::ConnectFailed : RefuseReason::UnknownDestination);
    return;
  }
  admit(*flow);
}

bool Inbound::waits_for(Flow& flow, const state::Wanted& wanted, const hbone::ConnectRequest& request,
                        bool is_for_source) {
  const std::uint64_t timeout_ms = is_for_source ? kSourceWaitMs : state_.options.demand_timeout_ms;
  const std::uint64_t since_ms = is_for_source ? state_.now_ms : flow.start_ms;
  if (!state_.demands->wait(flow, wanted, since_ms + timeout_ms)) return false;
  flow.details->request = std::make_unique<HeldRequest>(
      HeldRequest{std::string(request.authority), std::string(request.baggage), std::string(request.forwarded),
                  std::string(request.forwarded_network), is_for_source});
  return true;
}

bool Inbound::waits_for_source(Flow& flow, const hbone::ConnectRequest& request) {
  if (state_.snapshot == nullptr || flow.is_other_network || flow.is_source_asked) return false;
  const auto wanted = state::lacking(*state_.snapshot, {}, flow.source.address);
  if (!wanted) return false;
  flow.is_source_asked = true;
  return waits_for(flow, *wanted, request, true);
}

void Inbound::resume(Flow& flow) {
  flow.state = FlowState::ConnectUpstream;
  state_.set_deadline(flow, 0);
  const std::unique_ptr<HeldRequest> held = std::move(flow.details->request);
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (flow.stream != 0) {
    Tunnel* tunnel = state_.tunnels.find(flow.tunnel);
    const hbone::ConnectRequest request{.authority = held->authority,
                                        .baggage = held->baggage,
                                        .forwarded = held->forwarded,
                                        .forwarded_network = held->forwarded_network};
    if (tunnel == nullptr) return state_.finisher->abort(flow, CloseReason::TunnelBroken);
    if (on_connect(flow, *tunnel, request)) start(flow.self);
    return;
  }
  if (pod != nullptr) label_inbound(state_, flow, *pod, held->baggage, {});
  if (flow.role == FlowRole::InboundPlaintext) return admit(flow);
  start(flow.self);
}

void Inbound::overdue(Flow& flow) {
  const bool is_for_source = flow.details->request->is_for_source;
  if (!is_for_source) {
    return refuse(flow, CloseReason::UnknownDestination, RefuseReason::ConnectFailed, Demands::overdue(flow));
  }
  state_.demands->forget(flow);
  resume(flow);
}

void Inbound::connect_application(Flow& flow, const WorkerPod& pod) {
  // What asked for a PROXY header listens on loopback only, so that nobody gets past the agent and forges one.
  const bool is_local = flow.details != nullptr && !flow.details->proxy_header.empty();
  const Endpoint application = is_local ? flow.details->application : flow.destination;
  UniqueFd fd(state_.pod_socket(pod, application.address.family()));
  if (!fd) {
    refuse(flow, CloseReason::Overloaded, RefuseReason::Overloaded, "cannot make a socket in the pod's namespace");
    return;
  }
  // The mark sends the application's replies back over lo. A pod that reached itself through a service is its own client: both addresses are
  // its own, and the kernel's ways do, which name the address's device and not lo.
  int error = 0;
  if (flow.source.address != application.address) {
    error = set_mark(fd.get(), state_.options.mark);
    if (error == 0 && pod.setup.capture == enroll::Capture::Programs) error = bind_to_loopback_device(fd.get());
    if (error == 0 && !is_local && flow.source.address.family() == application.address.family())
      error = bind_transparent(fd.get(), flow.source.address);
  }
  if (error != 0) {
    refuse(flow, CloseReason::UpstreamFailed, RefuseReason::ConnectFailed, ::strerrordesc_np(error));
    return;
  }
  error = start_upstream(state_, flow, std::move(fd), application);
  if (error != 0) refuse(flow, upstream_failure(error), wire_reason(error), ::strerrordesc_np(error));
}

// In front of everything else; a fresh connection takes it whole.
void Inbound::send_proxy_header(Flow& flow) {
  const std::vector<std::uint8_t> header = std::move(flow.details->proxy_header);
  flow.details->proxy_header.clear();
  const ssize_t sent = ::send(flow.upstream.fd.get(), header.data(), header.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(header.size())) flow.upstream.has_failed = true;
}

void Inbound::upstream_event(Flow& flow, std::uint32_t events) {
  const int error = upstream_answer(state_, flow, events);
  if (error == EINPROGRESS) return;
  if (error != 0) {
    refuse(flow, upstream_failure(error), wire_reason(error), ::strerrordesc_np(error));
    return;
  }
  Relay::note_events(flow.upstream, events);
  if (flow.details != nullptr && !flow.details->proxy_header.empty()) send_proxy_header(flow);
  if (flow.stream != 0) {
    if (Tunnel* tunnel = state_.tunnels.find(flow.tunnel)) state_.streams->accept(flow, *tunnel);
    state_.relay->run(flow.self);
    return;
  }
  if (Tunnel* tunnel = state_.tunnels.find(flow.tunnel)) state_.tunnel_engine->send_accept(*tunnel);
  const SlabHandle tunnel = flow.tunnel;
  const bool is_prompt = flow.is_prompt;
  state_.relay->run(flow.self);
  Tunnel* live = state_.tunnels.find(tunnel);
  if (live == nullptr) return;
  if (is_prompt) return state_.tunnel_engine->accept_at_last(*live);
  state_.tunnel_engine->accept_soon(*live);
}

void Inbound::on_timer(Flow& flow) {
  if (flow.state == FlowState::AwaitMesh) return overdue(flow);
  if (flow.state == FlowState::AwaitPolicy)
    return refuse(flow, CloseReason::PolicyDenied, RefuseReason::PolicyDenied, state_.admission->overdue(flow));
  if (flow.state == FlowState::ConnectUpstream)
    refuse(flow, CloseReason::UpstreamTimeout, RefuseReason::ConnectTimeout);
}

void Inbound::refuse(Flow& flow, CloseReason reason, RefuseReason wire, std::string_view detail) {
  Tunnel* tunnel = state_.tunnels.find(flow.tunnel);
  if (tunnel != nullptr && flow.stream != 0) {
    state_.streams->refuse(flow, *tunnel, wire);
  } else if (tunnel != nullptr && tunnel->flow == flow.self) {
    tunnel->flow = {};
    state_.tunnel_engine->refuse(*tunnel, wire);
  }
  state_.finisher->abort(flow, reason, detail);
}

}  // namespace culvert::proxy
