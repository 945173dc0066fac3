// SPDX-License-Identifier: Apache-2.0
// The client's half of Tunnels: the pool, making tunnels, opening flows on them.
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>

#include "base/assert.hpp"
#include "base/clock.hpp"
#include "core/socket.hpp"
#include "proxy/finisher.hpp"
#include "proxy/relay.hpp"
#include "proxy/streams.hpp"
#include "proxy/tracing.hpp"
#include "proxy/tunnels.hpp"

namespace culvert::proxy {
namespace {

using telemetry::CloseReason;

constexpr std::size_t kStreamsBeforeSpread = 2;

}  // namespace

void Tunnels::want(Flow& flow, const PoolKey& key) {
  const std::uint32_t number = state_.pool.open(key);
  flow.pool_key = number;
  // After an idle tunnel turned out to be dead its like are not trusted: a new one is made.
  const std::optional<SlabHandle> idle = flow.is_retried ? std::nullopt : state_.pool.take_idle(number);
  if (idle) {
    Tunnel& tunnel = *state_.tunnels.find(*idle);
    tunnel.is_pooled = false;
    state_.counters.tunnels_reused.add();
    state_.counters.tunnels_idle.set(state_.pool.idle_total());
    open_flow(tunnel, flow);
    return;
  }
  Tunnel* shared = state_.pool.prefers_shared(number) ? state_.streams->pick(number) : nullptr;
  if (shared != nullptr) {
    // A busy one gets company, so that many flows to one peer use more than one core here and there.
    const bool is_busy = shared->hbone->flows.size() >= kStreamsBeforeSpread;
    if (is_busy && state_.pool.may_spread(number) && state_.pool.may_make(number, state_.options.client_handshakes_max))
      start_tunnel(number, !state_.pool.is_shared(number));
    const SlabHandle self = flow.self;
    if (state_.streams->start(*shared, flow)) {
      state_.counters.tunnels_reused.add();
      return;
    }
    CV_ASSERT(state_.flows.find(self) != nullptr);
  }
  flow.state = FlowState::AwaitTunnel;
  state_.pool.hold(number);
  state_.pool.enqueue(number, flow.self);
  state_.set_deadline(flow, state_.options.connect_timeout_ms + state_.options.handshake_timeout_ms);
  make_tunnels(number);
}

void Tunnels::stop_waiting(Flow& flow) {
  state_.pool.leave_queue(flow.pool_key, flow.self);
  state_.pool.drop(flow.pool_key);
}

// A tunnel that cannot even be begun takes the flow that it was for along, or stops the making: either way there is less to do each time.
void Tunnels::make_tunnels(std::uint32_t key) {
  const std::size_t at_once_max = state_.options.client_handshakes_max;
  while (state_.pool.wants_more(key) && state_.pool.may_make(key, at_once_max)) start_tunnel(key, false);
  while (state_.pool.wants_overflow(key) && state_.pool.making_total() < at_once_max) start_tunnel(key, true);
}

void Tunnels::make_elsewhere(std::uint32_t key) {
  if (state_.streams->has_sound(key)) return;
  state_.pool.resume_making(key);
  make_tunnels(key);
}

void Tunnels::start_tunnel(std::uint32_t key, bool is_overflow) {
  const PoolKey wanted = state_.pool.key(key);
  const WorkerPod* pod = state_.pods.find(wanted.pod_slot);
  UniqueFd fd;
  int error = EMFILE;
  if (pod != nullptr && wanted.via != 0) {
    fd = outer_stream(*pod, state_.vias[wanted.via]);
    if (fd) error = 0;
  } else if (pod != nullptr) {
    fd.reset(state_.pod_socket(*pod, wanted.next_hop.address.family()));
    if (fd) error = start_connect(fd.get(), wanted.next_hop);
  }
  const SlabHandle handle = state_.tunnels.emplace();
  Tunnel& tunnel = *state_.tunnels.find(handle);
  tunnel.self = handle;
  tunnel.is_client = true;
  tunnel.is_overflow = is_overflow;
  tunnel.pool_key = key;
  tunnel.pod_slot = wanted.pod_slot;
  tunnel.remote = wanted.next_hop;
  tunnel.connecting = std::move(fd);
  state_.pool.hold(key);
  state_.pool.making(key, +1);
  if (is_overflow) state_.pool.making_overflow(key, +1);
  if ((error == 0 || error == EINPROGRESS) && !state_.watch(tunnel.connecting.get(), TokenKind::Tunnel, handle))
    error = ENOMEM;
  if (error != 0 && error != EINPROGRESS) {
    not_made(tunnel, tunnel.connecting ? CloseReason::TunnelFailed : CloseReason::Overloaded, ::strerrordesc_np(error));
    return;
  }
  state_.set_deadline(tunnel, state_.options.connect_timeout_ms);
}

// The inner tunnel's socket: its other end is the application side of a flow of its own, to the gateway. Records of the inner tunnel are
// sealed in user space; those of the outer one by whatever engine is best.
UniqueFd Tunnels::outer_stream(const WorkerPod& pod, const Via& via) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return {};
  UniqueFd inner(ends[0]);
  UniqueFd outer(ends[1]);
  Flow* flow = state_.new_flow(FlowRole::Outbound, pod.setup.slot);
  if (flow == nullptr) return {};
  flow->client.fd = std::move(outer);
  flow->client.is_writable = true;
  flow->client.is_readable = true;
  if (!pod.setup.addresses.empty()) flow->source.address = pod.setup.addresses.front();
  flow->destination = flow->next_hop = flow->target = via.gateway;
  flow->why = "outer tunnel to a network gateway";
  FlowDetails& details = flow->need_details();
  details.authority = via.authority;
  flow->service = via.service;
  flow->far_end = state_.find_workload(via.gateway.address);
  flow->peer_identity = state_.identities.intern(state_.accepted.find(via.accepted).front());
  if (!state_.watch(flow->client.fd.get(), TokenKind::Client, flow->self)) {
    state_.finisher->abort(*flow, CloseReason::Overloaded, "no memory to watch a socket");
    return {};
  }
  want(*flow, PoolKey{pod.setup.slot, via.accepted, via.gateway, 0, state::HboneNeed::Name});
  return inner;
}

void Tunnels::connected(Tunnel& tunnel) {
  if (const int error = connect_error(tunnel.connecting.get()); error != 0) {
    making_failed(tunnel, error == ETIMEDOUT ? CloseReason::TunnelTimeout : CloseReason::TunnelFailed,
                  ::strerrordesc_np(error));
    return;
  }
  const WorkerPod* pod = state_.pods.find(tunnel.pod_slot);
  const std::span<const SpiffeId> accepted = state_.accepted.find(state_.pool.key(tunnel.pool_key).accepted);
  const auto credentials = pod == nullptr ? nullptr : state_.credentials_of(*pod);
  if (credentials == nullptr || accepted.empty()) {
    making_failed(tunnel, CloseReason::NoCertificate, {});
    return;
  }
  tls::ClientHandshakeOptions options;
  options.credentials = credentials;
  options.expected_peers.assign(accepted.begin(), accepted.end());
  options.alpn = state_.options.alpn;
  options.plan = state_.options.engines;
  options.resumption = state_.options.resumption_store;
  options.revocation = state_.options.revocation;
  options.trust_domains = state_.options.trust_domains;
  static constexpr std::array kHboneOnly = {tls::Alpn::Hbone};
  const PoolKey& key = state_.pool.key(tunnel.pool_key);
  if (key.hbone_need != state::HboneNeed::None || tunnel.is_overflow) options.alpn = kHboneOnly;
  if (key.via != 0) options.plan = tls::without_kernel(options.plan);  // the other end of a socketpair
  auto handshake = tls::HandshakeSocket::client(std::move(tunnel.connecting), options);
  if (!handshake) {
    making_failed(tunnel, CloseReason::HandshakeFailed, handshake.error().message());
    return;
  }
  tunnel.handshake = std::move(*handshake);
  tunnel.state = TunnelState::Handshaking;
  state_.set_deadline(tunnel, state_.options.handshake_timeout_ms);
  advance_handshake(tunnel);
}

// A tunnel was not made, and others may be tried.
void Tunnels::making_failed(Tunnel& tunnel, CloseReason reason, std::string_view detail) {
  not_made(tunnel, reason, detail);
  if (const std::optional<std::uint32_t> next = state_.pool.next_wanting(state_.options.client_handshakes_max))
    make_tunnels(*next);
}

// Whoever waits for it waits on: the next one presents the pod's present certificate.
void Tunnels::make_anew(Tunnel& tunnel) {
  const std::uint32_t key = tunnel.pool_key;
  state_.pool.making(key, -1);
  if (tunnel.is_overflow) state_.pool.making_overflow(key, -1);
  state_.pool.hold(key);
  close(tunnel, false);
  make_tunnels(key);
  state_.pool.drop(key);
}

// One flow fails with the tunnel that was being made for it; the others wait for theirs. Where others of its kind live and take streams,
// those carry what waits, and no further one is made before something has changed.
void Tunnels::not_made(Tunnel& tunnel, CloseReason reason, std::string_view detail) {
  const std::uint32_t key = tunnel.pool_key;
  const bool is_overflow = tunnel.is_overflow;
  const std::string text(detail);  // may live in the tunnel
  state_.pool.making(key, -1);
  if (is_overflow) state_.pool.making_overflow(key, -1);
  state_.pool.hold(key);
  close(tunnel, false);
  if (is_overflow && reason == CloseReason::HandshakeFailed) {
    // That the peer does not share is not what the flows wait for: they get tunnels of their own.
    state_.pool.refuse_overflow(key);
  } else if (Tunnel* shared = state_.streams->pick(key)) {
    state_.pool.stop_making(key);
    state_.streams->serve(*shared);
  } else if (state_.streams->has_sound(key)) {
    state_.pool.stop_making(key);  // they are full: a stream that ends makes room
  } else {
    fail_waiting(key, reason, text);
  }
  state_.pool.drop(key);
}

void Tunnels::fail_waiting(std::uint32_t key, CloseReason reason, std::string_view detail) {
  const std::optional<SlabHandle> waiting = state_.pool.dequeue(key);
  if (!waiting) return;
  state_.pool.drop(key);
  if (Flow* flow = state_.flows.find(*waiting)) state_.finisher->abort(*flow, reason, detail);
}

void Tunnels::serve_next(Tunnel& tunnel) {
  const std::uint32_t key = tunnel.pool_key;
  // A key that cannot be replaced is not begun upon again once half of its records are used.
  const bool is_spent = tunnel.is_going_away ||
                        (!tunnel.socket.can_rekey() && tunnel.socket.tx_records() >= tls::TunnelSocket::kRecordsRekey);
  if (is_spent || !tunnel.client.can_reuse()) {
    close(tunnel, true);
    return;
  }
  while (const std::optional<SlabHandle> waiting = state_.pool.dequeue(key)) {
    state_.pool.drop(key);
    if (Flow* flow = state_.flows.find(*waiting)) {
      open_flow(tunnel, *flow);
      return;
    }
  }
  become_idle(tunnel);
}

void Tunnels::become_idle(Tunnel& tunnel) {
  if (!state_.pool.give_idle(tunnel.pool_key, tunnel.self)) {
    close(tunnel, true);
    return;
  }
  tunnel.is_pooled = true;
  tunnel.idle_since_ms = state_.now_ms;
  // The last flight of the handshake may wait for company that does not come.
  if (tunnel.socket.wants_write()) static_cast<void>(tunnel.socket.flush(state_.io));
  state_.counters.tunnels_idle.set(state_.pool.idle_total());
  state_.set_deadline(tunnel, state_.options.pool_idle_timeout_ms);
}

bool Tunnels::retry_elsewhere(Tunnel& tunnel) {
  Flow* flow = state_.flows.find(tunnel.flow);
  if (flow == nullptr || flow->received_bytes > 0 || flow->is_end_sent || flow->is_retried) return false;
  const PoolKey key = state_.pool.key(tunnel.pool_key);
  const SlabHandle handle = flow->self;
  tunnel.flow = {};
  flow->tunnel = {};
  flow->is_retried = true;
  flow->has_tunnel_error = flow->is_reset_awaited = false;  // they were this tunnel's
  close(tunnel, true);
  want(*state_.flows.find(handle), key);
  return true;
}

void Tunnels::keep_ticket(Tunnel& tunnel, const direct::Ticket& ticket) {
  if (state_.options.resumption_store == nullptr) return;
  const auto now_s = static_cast<std::int64_t>(wall_us() / 1'000'000U);
  if (state_.options.resumption_store->keep(ticket.opaque, ticket.lifetime_s, now_s)) {
    state_.pool.warm_up(tunnel.pool_key);
    make_tunnels(tunnel.pool_key);
  }
}

void Tunnels::open_flow(Tunnel& tunnel, Flow& flow) {
  state_.set_deadline(tunnel, 0);
  const std::uint64_t idle_since_ms = std::exchange(tunnel.idle_since_ms, 0);
  state_.await_answer(flow, tunnel, idle_since_ms == 0 ? 0 : state_.now_ms - idle_since_ms);
  tunnel.flow = flow.self;
  flow.state = FlowState::Open;
  state_.note_tunnel(flow, tunnel);
  tunnel.client.sent_open();

  std::array<std::uint8_t, direct::kMessageBytesMax> buffer;
  direct::Open open;
  open.source = flow.source;
  open.destination = flow.target;
  if (flow.is_held || flow.waits_for_answer()) open.flags = direct::kOpenPrompt;
  // So that its agent does not decide anew.
  std::string traceparent;
  if (state_.options.tracing.queue != nullptr) open.traceparent = traceparent = traceparent_of(state_, flow);
  const ByteView message = direct::encode(open, buffer);
  // What the application has written already leaves with OPEN, in one segment; behind what was read for an earlier tunnel.
  const ByteView first = flow.spill.empty() && !flow.waits_for_answer() ? state_.relay->read_first(flow) : ByteView{};
  const tls::IoResult result =
      first.empty() ? tunnel.socket.send(state_.io, {{tls::RecordType::Control, message}})
                    : tunnel.socket.send(
                          state_.io, {{tls::RecordType::Control, message}, {tls::RecordType::ApplicationData, first}});
  if (result.status == tls::IoStatus::Error) {
    send_failed(tunnel, result);
  } else if (result.bytes < first.size()) {
    state_.buffers.append(flow.spill, first.subspan(result.bytes));
  }
  state_.relay->run(flow.self);
}

}  // namespace culvert::proxy
