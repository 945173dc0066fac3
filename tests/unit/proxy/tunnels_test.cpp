// SPDX-License-Identifier: Apache-2.0
// Tunnels over real TLS connections: what happens to the flows when they cannot be made, and in which order a flow's bytes leave.
#include "proxy/tunnels.hpp"

#include <catch2/catch.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include "parts.hpp"

using namespace culvert;
using namespace culvert::proxy;
using namespace culvert::proxy::test;

TEST_CASE("a network gateway that cannot be dialled fails the flow that waits for it") {
  Parts parts;
  UniqueFd application;
  const SlabHandle flow = parts.new_flow(application).self;
  Via via;
  via.gateway = Endpoint::parse("10.9.0.1:15008").value();
  via.accepted = parts.key().accepted;
  via.authority = "web.shop.svc.cluster.local:80";
  PoolKey key = parts.key();
  key.next_hop = via.gateway;
  key.via = parts.state.vias.intern(via);
  key.hbone_need = state::HboneNeed::Name;
  // The outer tunnel fails before the inner one is on its way.
  parts.tunnels.want(*parts.state.flows.find(flow), key);
  CHECK(parts.turn_until([] {}, [&] { return !parts.is_live(flow); }));
  CHECK(parts.state.flows.size() == 0);
  CHECK(parts.state.tunnels.size() == 0);
  CHECK(parts.state.pool.making_total() == 0);
}

TEST_CASE("any number of flows that wait for what cannot be dialled fail, one after the other") {
  Options options;
  options.client_handshakes_max = 0;  // they wait for their turn
  Parts parts(options);
  constexpr std::size_t kFlows = 20'000;
  for (std::size_t i = 0; i < kFlows; ++i) {
    parts.tunnels.want(*parts.state.new_flow(FlowRole::Outbound, kSlot), parts.key());
  }
  REQUIRE(parts.state.flows.size() == kFlows);
  parts.state.options.client_handshakes_max = 64;
  parts.tunnels.want(*parts.state.new_flow(FlowRole::Outbound, kSlot), parts.key());
  CHECK(parts.state.flows.size() == 0);
  CHECK(parts.state.tunnels.size() == 0);
}

TEST_CASE("what a flow has read for an earlier tunnel leaves first on the next one") {
  Parts parts;
  tls::test::Tunnels link;
  UniqueFd application;
  Flow& flow = parts.new_flow(application);
  parts.state.buffers.append(flow.spill, as_bytes("first, "));
  REQUIRE(::write(application.get(), "second", 6) == 6);
  parts.add_idle(std::move(link.client), parts.key());
  parts.tunnels.want(flow, parts.key());
  const tls::test::Got got = tls::test::receive_until(
      link.server_end, link.server, [](const tls::test::Got& so_far) { return so_far.data.size() == 13; });
  CHECK(got.control.size() == 1);
  CHECK(got.data == "first, second");
}

TEST_CASE("a peer that takes OPEN and says nothing is given up") {
  Parts parts;
  tls::test::Tunnels link;
  UniqueFd application;
  Flow& flow = parts.new_flow(application);
  parts.add_idle(std::move(link.client), parts.key());
  const SlabHandle handle = flow.self;
  parts.tunnels.want(flow, parts.key());
  REQUIRE(parts.is_live(handle));
  bool is_accepted = GENERATE(false, true);
  CAPTURE(is_accepted);
  if (is_accepted) {
    std::array<std::uint8_t, 16> buffer;
    static_cast<void>(
        tls::test::send_control(link.server_end, link.server, as_text(direct::encode(direct::Accept{}, buffer))));
    CHECK(parts.turn_until([] {}, [&] { return parts.state.flows.find(handle)->is_answered; }));
  }
  parts.pass(2 * parts.state.options.connect_timeout_ms + TimerWheel::kTickMs);
  CHECK(parts.is_live(handle) == is_accepted);
}

TEST_CASE("a peer that closes right behind its END has ended the flow in order") {
  Parts parts;
  tls::test::Tunnels link;
  UniqueFd application;
  Flow& flow = parts.new_flow(application);
  const SlabHandle handle = flow.self;
  parts.add_idle(std::move(link.client), parts.key());
  REQUIRE(::shutdown(application.get(), SHUT_WR) == 0);
  parts.tunnels.want(flow, parts.key());
  REQUIRE(parts.turn_until([] {}, [&] { return parts.state.flows.find(handle)->is_end_sent; }));
  const auto say = [&](const auto& message) {
    std::array<std::uint8_t, direct::kMessageBytesMax> buffer;
    static_cast<void>(tls::test::send_control(link.server_end, link.server, as_text(direct::encode(message, buffer))));
  };
  say(direct::Accept{});
  static_cast<void>(tls::test::send_data(link.server_end, link.server, "farewell"));
  say(direct::End{});
  link.server.send_close_notify(link.server_end.context);
  CHECK(parts.turn_until([] {}, [&] { return !parts.is_live(handle); }));
  std::array<char, 16> heard{};
  CHECK(::read(application.get(), heard.data(), heard.size()) == 8);
  CHECK(::read(application.get(), heard.data(), heard.size()) == 0);
}

TEST_CASE("a tunnel that has more to receive is on the list of those once") {
  Parts parts;
  tls::test::Tunnels link;
  Tunnel& tunnel = parts.add_tunnel(std::move(link.client), parts.key());
  parts.state.pool.direct_live(tunnel.pool_key, +1);
  parts.state.defer(tunnel);
  parts.state.defer(tunnel);
  CHECK(parts.state.deferred_tunnels.size() == 1);
  parts.turn();
  CHECK_FALSE(tunnel.is_deferred);
}

TEST_CASE("a handshake that was begun with the pod's identity before comes to nothing, and who waits for it waits on") {
  Options options;
  options.client_handshakes_max = 0;  // nothing can be dialled here: what waits has to wait for its turn
  Parts parts(options);
  UniqueFd application;
  const SlabHandle flow = parts.new_flow(application).self;
  parts.tunnels.want(*parts.state.flows.find(flow), parts.key());
  const bool is_of_this_pod = GENERATE(true, false);
  CAPTURE(is_of_this_pod);
  const tls::test::Authority authority;
  auto [near, far] = tls::test::tcp_pair();
  const SlabHandle begun = parts.state.tunnels.emplace();
  Tunnel& tunnel = *parts.state.tunnels.find(begun);
  tunnel.self = begun;
  tunnel.is_client = true;
  tunnel.pod_slot = kSlot;
  tunnel.pool_key = parts.state.pool.open(parts.key());
  tunnel.state = TunnelState::Handshaking;
  tunnel.handshake = std::move(*tls::HandshakeSocket::client(
      std::move(near), tls::test::client_options(authority.credentials(tls::test::kClientId))));
  const std::uint32_t key = tunnel.pool_key;
  parts.state.pool.hold(key);
  parts.state.pool.making(key, +1);
  parts.tunnels.renew_pod(is_of_this_pod ? kSlot : kSlot + 1);
  CHECK((parts.state.tunnels.find(begun) == nullptr) == is_of_this_pod);
  CHECK(parts.state.pool.making_total() == (is_of_this_pod ? 0 : 1));
  REQUIRE(parts.is_live(flow));
  CHECK(parts.state.pool.waiting(key) == 1);
  CHECK(parts.state.pool.wants_more(key) == is_of_this_pod);
}
