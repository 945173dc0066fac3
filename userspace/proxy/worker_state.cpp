// SPDX-License-Identifier: Apache-2.0
#include "proxy/worker_state.hpp"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "core/netns.hpp"
#include "core/socket.hpp"

namespace culvert::proxy {

WorkerState::WorkerState(const Options& worker_options, Poller worker_poller, datapath::SocketMarker socket_marker,
                         telemetry::WorkerCounters& worker_counters, telemetry::TrafficTable& worker_traffic,
                         telemetry::Log& worker_log, UniqueFd home, std::uint64_t start_ms)
    : options(worker_options),
      poller(std::move(worker_poller)),
      wheel(start_ms),
      buffers(worker_options.buffer_bytes_max),
      io(buffers, worker_options.engines.user),
      pool(worker_options.pool_idle_max, worker_options.hbone.streams_before_settings,
           worker_options.hbone_connections_per_peer,
           worker_options.alpn.size() > 1 ? worker_options.direct_per_peer_max : 0),
      marker(socket_marker),
      counters(worker_counters),
      traffic(worker_traffic),
      log(worker_log),
      home_netns(std::move(home)),
      spare_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      now_ms(start_ms) {
  static_cast<void>(services.intern({}));  // 0
}

std::optional<Endpoint> destination_of(const WorkerPod& pod, int fd) noexcept {
  return pod.setup.capture == enroll::Capture::Rules ? original_destination(fd) : local_endpoint(fd);
}

int WorkerState::pod_socket(const WorkerPod& pod, int family) noexcept {
  int fd = -1;
  {
    const auto guard = NetnsGuard::enter(pod.setup.netns.get(), home_netns.get());
    if (!guard) return -guard.error().sys_errno();
    fd = tcp_socket(family);
  }
  if (fd >= options.descriptors_end) {
    ::close(fd);
    return -EMFILE;
  }
  if (fd < 0) return fd;
  if (pod.setup.capture == enroll::Capture::Rules) {
    // Without it the rules would bring the connection back to us.
    if (const int error = set_mark(fd, options.mark); error != 0) {
      ::close(fd);
      return -error;
    }
  }
  if (const int error = marker.mark_agent(fd); error != 0) {
    ::close(fd);
    return -error;
  }
  return fd;
}

void WorkerState::set_deadline(Flow& flow, std::uint64_t after_ms) {
  flow.deadline.move(wheel, make_token(TokenKind::FlowTimer, flow.self), after_ms == 0 ? 0 : now_ms + after_ms);
}

void WorkerState::await_answer(Flow& flow, const Tunnel& tunnel, std::uint64_t silent_ms) {
  // Of what is inside a stream to a gateway the kernel cannot tell whether it arrives.
  const bool is_doubtful = silent_ms >= kDoubtfulAfterMs && pool.key(tunnel.pool_key).via == 0;
  flow.caution = is_doubtful ? Caution::Doubted : Caution::None;
  set_deadline(flow, is_doubtful ? kDoubtfulAnswerMs : 2 * options.connect_timeout_ms);
}

void WorkerState::set_deadline(Tunnel& tunnel, std::uint64_t after_ms) {
  tunnel.deadline.move(wheel, make_token(TokenKind::TunnelTimer, tunnel.self), after_ms == 0 ? 0 : now_ms + after_ms);
}

namespace {

constexpr std::uint32_t kEdges = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

}  // namespace

bool WorkerState::watch(int fd, TokenKind kind, SlabHandle handle) noexcept {
  return poller.add(fd, kEdges, make_token(kind, handle)) == 0;
}

bool WorkerState::rewatch(int fd, TokenKind kind, SlabHandle handle) noexcept {
  return poller.modify(fd, kEdges, make_token(kind, handle)) == 0;
}

std::shared_ptr<const tls::Credentials> WorkerState::credentials_of(const WorkerPod& pod) const {
  const auto place = credentials.find(pod.setup.identity);
  return place == credentials.end() ? nullptr : place->second;
}

Flow* WorkerState::new_flow(FlowRole role, std::uint32_t pod_slot) {
  if (flows.size() >= options.connections_max) return nullptr;
  const SlabHandle handle = flows.emplace();
  Flow& flow = *flows.find(handle);
  flow.self = handle;
  flow.role = role;
  flow.pod_slot = pod_slot;
  flow.id = static_cast<std::uint64_t>(worker_index) << 48U | next_flow_id++;
  flow.start_us = wall_us();
  flow.start_ms = now_ms;
  const auto direction =
      static_cast<std::size_t>(flow.is_inbound() ? telemetry::Direction::Inbound : telemetry::Direction::Outbound);
  if (WorkerPod* pod = pods.find(pod_slot)) ++pod->live_flows;
  counters.live[direction].add();
  return &flow;
}

namespace {

using state::HboneNeed;

TunnelChoice choice_of(const WorkerState& state, const Tunnel& tunnel) noexcept {
  if (tunnel.hbone == nullptr) return TunnelChoice::BothOffer;
  if (state.options.alpn.size() == 1 && state.options.alpn.front() == tls::Alpn::Hbone) return TunnelChoice::OnlyOffer;
  switch (state.pool.key(tunnel.pool_key).hbone_need) {
    case HboneNeed::None: break;
    case HboneNeed::Name: return TunnelChoice::GatewayOnly;
    case HboneNeed::Waypoint: return TunnelChoice::WaypointOnly;
    case HboneNeed::ApplicationTunnel: return TunnelChoice::ApplicationTunnel;
  }
  return tunnel.is_overflow ? TunnelChoice::Shared : TunnelChoice::OnlyTaken;
}

}  // namespace

void WorkerState::note_tunnel(Flow& flow, const Tunnel& tunnel) noexcept {
  flow.tunnel = tunnel.self;
  flow.used_tunnel = true;
  flow.is_hbone = tunnel.hbone != nullptr;
  if (tunnel.is_client) flow.tunnel_choice = choice_of(*this, tunnel);
  flow.peer_identity = tunnel.peer_identity;
  flow.cipher = static_cast<std::uint8_t>(tunnel.socket.cipher());
  flow.tx_engine = static_cast<std::uint8_t>(tunnel.socket.tx_engine());
  flow.rx_engine = static_cast<std::uint8_t>(tunnel.socket.rx_engine());
}

std::shared_ptr<const state::WorkloadEntry> WorkerState::find_workload(const IpAddress& address) const noexcept {
  const state::WorkloadEntry* found = snapshot == nullptr ? nullptr : snapshot->find(address);
  return found == nullptr ? nullptr : snapshot->share(*found);
}

void WorkerState::defer(Flow& flow) {
  if (flow.is_deferred) return;
  flow.is_deferred = true;
  deferred.push_back(flow.self);
}

void WorkerState::defer(Tunnel& tunnel) {
  if (tunnel.is_deferred) return;
  tunnel.is_deferred = true;
  deferred_tunnels.push_back(tunnel.self);
}

}  // namespace culvert::proxy
