// SPDX-License-Identifier: Apache-2.0
#include "parts.hpp"

#include <array>
#include <utility>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "core/netns.hpp"

namespace culvert::proxy::test {
namespace {

std::unique_ptr<telemetry::Log> silent_log() {
  telemetry::Log::Options options;
  options.access_log = false;
  options.filter.level = telemetry::Level::Error;
  return std::move(*telemetry::Log::start(options));
}

}  // namespace

Parts::Parts(const Options& options)
    : log_(silent_log()),
      state(options, std::move(*Poller::create()), datapath::SocketMarker(-1), counters_, traffic_, *log_,
            std::move(*open_current_netns()), monotonic_ms()),
      outbound(state),
      inbound(state),
      admission(state),
      demands(state),
      tunnels(state),
      streams(state),
      relay(state),
      finisher(state),
      held(state, {}),
      accepted_(state.accepted.intern(SpiffeId::parse(tls::test::kServerId).value(), {})) {
  state.outbound = &outbound;
  state.inbound = &inbound;
  state.admission = &admission;
  state.demands = &demands;
  state.tunnel_engine = &tunnels;
  state.streams = &streams;
  state.relay = &relay;
  state.finisher = &finisher;
  state.held = &held;
  PodSetup setup;
  setup.slot = kSlot;
  setup.id = "shop/cart";
  setup.identity = SpiffeId::parse(tls::test::kClientId).value();
  setup.addresses = {IpAddress::parse("10.1.0.5").value()};
  state.pods.add(std::move(setup));
}

Parts::~Parts() {
  state.flows.for_each([&](SlabHandle, Flow& flow) {
    if (flow.state == FlowState::AwaitTunnel) tunnels.stop_waiting(flow);
    finisher.abort(flow, telemetry::CloseReason::Drained);
  });
  tunnels.drop_pod(kSlot, true);
}

void Parts::turn(int wait_ms) {
  std::array<epoll_event, 64> space{};
  for (const epoll_event& event : state.poller.wait(space, wait_ms)) {
    const SlabHandle handle = token_handle(event.data.u64);
    if (token_kind(event.data.u64) == TokenKind::Tunnel) {
      tunnels.on_event(handle, event.events);
    } else if (Flow* flow = state.flows.find(handle)) {
      Relay::note_events(flow->client, event.events);
      relay.run(handle);
    }
  }
  for (const SlabHandle handle : std::exchange(state.deferred, {})) {
    if (Flow* flow = state.flows.find(handle)) flow->is_deferred = false;
    relay.run(handle);
  }
  for (const SlabHandle handle : std::exchange(state.deferred_tunnels, {})) {
    if (Tunnel* tunnel = state.tunnels.find(handle)) tunnel->is_deferred = false;
    tunnels.pump(handle);
  }
  std::vector<std::uint64_t> fired;
  state.wheel.advance(state.now_ms, fired);
  for (const std::uint64_t token : fired) {
    const SlabHandle handle = token_handle(token);
    if (token_kind(token) == TokenKind::TunnelTimer) {
      Tunnel* tunnel = state.tunnels.find(handle);
      if (tunnel != nullptr && tunnel->deadline.fired(state.wheel, token, state.now_ms)) tunnels.on_timer(handle);
    } else if (Flow* flow = state.flows.find(handle)) {
      if (flow->deadline.fired(state.wheel, token, state.now_ms)) relay.on_timer(*flow);
    }
  }
  streams.flush_dirty();
}

void Parts::pass(std::uint64_t ms) {
  state.now_ms += ms;
  turn();
}

Flow& Parts::new_flow(UniqueFd& application) {
  std::array<int, 2> ends;
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
  const int small = 1;  // the kernel makes it the smallest that it has
  REQUIRE(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
  Flow& flow = *state.new_flow(FlowRole::Outbound, kSlot);
  flow.client.fd.reset(ends[0]);
  application.reset(ends[1]);
  flow.client.is_writable = flow.client.is_readable = true;
  flow.source = Endpoint::parse("10.1.0.5:4000").value();
  flow.destination = flow.next_hop = flow.target = Endpoint::parse("10.2.0.7:80").value();
  REQUIRE(state.watch(flow.client.fd.get(), TokenKind::Client, flow.self));
  return flow;
}

Tunnel& Parts::add_tunnel(tls::TunnelSocket socket, const PoolKey& key, bool is_client) {
  const SlabHandle handle = state.tunnels.emplace();
  Tunnel& tunnel = *state.tunnels.find(handle);
  tunnel.self = handle;
  tunnel.is_client = is_client;
  tunnel.pod_slot = kSlot;
  tunnel.socket = std::move(socket);
  tunnel.state = TunnelState::Ready;
  tunnel.is_readable = true;
  if (is_client) {
    tunnel.pool_key = state.pool.open(key);
    state.pool.hold(tunnel.pool_key);
  }
  counters_.tunnels_open.add();
  REQUIRE(state.watch(tunnel.socket.fd(), TokenKind::Tunnel, handle));
  return tunnel;
}

void Parts::add_idle(tls::TunnelSocket socket, const PoolKey& key) {
  Tunnel& tunnel = add_tunnel(std::move(socket), key);
  state.pool.direct_live(tunnel.pool_key, +1);
  REQUIRE(state.pool.give_idle(tunnel.pool_key, tunnel.self));
  tunnel.is_pooled = true;
}

Peer::Peer(bool is_server, const hbone::Limits& limits)
    : near(std::move(is_server ? link.client : link.server)),
      socket(std::move(is_server ? link.server : link.client)),
      session(is_server ? hbone::Session::server(limits, now_ms_) : hbone::Session::client(limits, now_ms_)),
      end_(is_server ? link.server_end : link.client_end) {}

bool Peer::carry() {
  const tls::IoResult result = socket.receive(end_.context, tls::IoContext::kBatchBytesMax);
  bool is_alive = result.status == tls::IoStatus::Ok || result.status == tls::IoStatus::WouldBlock;
  for (const tls::Segment& segment : end_.context.segments()) {
    is_alive = session->receive(segment.data, now_ms_, told) && is_alive;
  }
  flush();
  return is_alive;
}

void Peer::send(hbone::StreamId stream, std::string_view payload) {
  out_ += hbone::test::take_all(*session);
  out_ += hbone::test::data_frames(*session, stream, payload);
  flush();
}

void Peer::flush() {
  out_ += hbone::test::take_all(*session);
  if (socket.wants_write()) static_cast<void>(socket.flush(end_.context));
  while (!out_.empty() && !socket.wants_write()) {
    const tls::IoResult result = socket.send(end_.context, {{tls::RecordType::ApplicationData, as_bytes(out_)}});
    if (result.status == tls::IoStatus::Error) return;
    out_.erase(0, result.bytes);
  }
}

std::string read_all(int fd) {
  std::string all;
  std::array<char, 4096> part;
  for (ssize_t got = 0; (got = ::read(fd, part.data(), part.size())) > 0;)
    all.append(part.data(), static_cast<std::size_t>(got));
  return all;
}

}  // namespace culvert::proxy::test
