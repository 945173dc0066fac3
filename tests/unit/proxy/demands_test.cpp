// SPDX-License-Identifier: Apache-2.0
// Flows that wait for the control plane to say who an address is: one question for all, what the answer does to each, and the end of patience.
#include "proxy/demands.hpp"

#include <catch2/catch.hpp>

#include "parts.hpp"
#include "state/store.hpp"

namespace culvert::proxy::test {
namespace {

using telemetry::CloseReason;
using telemetry::Direction;

struct Demanding {
  std::vector<std::string> asked;
  state::Store store;
  Parts parts;

  explicit Demanding(std::uint64_t timeout_ms = 5'000) : parts(options(timeout_ms)) {
    store.set_on_demand();
    publish();
  }
  void publish() {
    parts.admission.set_snapshot(store.publish());
    parts.demands.snapshot_changed();
  }
  Flow& flow_to(std::string_view destination) {
    Flow& flow = *parts.state.new_flow(FlowRole::Outbound, kSlot);
    flow.source = Endpoint::parse("10.1.0.5:4000").value();
    flow.destination = Endpoint::parse(destination).value();
    parts.outbound.start(flow, *parts.state.pods.find(kSlot));
    return flow;
  }
  // Plain text from `source` to the pod; whatever is connected for it fails at once, since the pod's namespace cannot be entered.
  SlabHandle inbound_from(std::string_view source) {
    Flow& flow = *parts.state.new_flow(FlowRole::InboundPlaintext, kSlot);
    flow.source = Endpoint::parse(source).value();
    flow.destination = Endpoint::parse("10.1.0.5:80").value();
    return flow.self;
  }
  std::uint64_t closed(CloseReason reason, Direction direction = Direction::Outbound) {
    return parts.state.counters.closed[static_cast<std::size_t>(direction)][static_cast<std::size_t>(reason)].value();
  }

 private:
  Options options(std::uint64_t timeout_ms) {
    Options made;
    made.demand_timeout_ms = timeout_ms;
    made.client_handshakes_max = 0;  // who wants a tunnel waits for it
    made.demand = [this](std::string name) { asked.push_back(std::move(name)); };
    return made;
  }
};

state::Workload server(std::string_view address) {
  state::Workload made;
  made.uid = made.name = "server";
  made.namespace_name = "shop";
  made.identity = SpiffeId::parse(tls::test::kServerId).value();
  made.addresses = {IpAddress::parse(address).value()};
  return made;
}

}  // namespace

TEST_CASE("flows to one unknown address wait, and it is asked for once") {
  Demanding world;
  const Flow& first = world.flow_to("10.2.0.9:80");
  const Flow& second = world.flow_to("10.2.0.9:443");
  const Flow& other = world.flow_to("10.2.0.10:80");
  for (const Flow* flow : {&first, &second, &other}) CHECK(flow->state == FlowState::AwaitMesh);
  CHECK(world.asked == std::vector<std::string>{"/10.2.0.9", "/10.2.0.10"});
  CHECK(world.parts.demands.size() == 3);
  // A snapshot about something else changes nothing.
  world.store.set_absent("/10.9.9.9", true);
  world.publish();
  CHECK(world.parts.demands.size() == 3);
}

TEST_CASE(
    "an address that flows keep coming for is asked for again: whoever asks the control plane may have forgotten it") {
  Demanding world;
  for (int i = 0; i < 30; ++i) {
    static_cast<void>(world.flow_to("10.2.0.9:80"));
    world.parts.pass(500);
  }
  CHECK(world.parts.demands.size() > 0);
  CHECK(world.asked.size() >= 14);
  CHECK(world.asked.size() <= 16);
}

TEST_CASE("clients that are not known take no place of connections that cannot go on without an answer") {
  Demanding world;
  constexpr std::uint32_t kRoom = Demands::kPerPodMax / Demands::kInboundShare;
  for (std::uint32_t i = 0; i < kRoom + 10; ++i) {
    Flow& flow = *world.parts.state.flows.find(world.inbound_from(fmt::format("10.4.{}.{}:4000", i / 256, i % 256)));
    flow.state = FlowState::ConnectUpstream;
    CHECK(world.parts.inbound.waits_for_source(flow, {}) == (i < kRoom));
  }
  CHECK(world.flow_to("10.2.0.9:80").state == FlowState::AwaitMesh);
  CHECK(world.closed(CloseReason::NoRoute) == 0);
}

TEST_CASE("an answer lets exactly those go on that waited for it, nobody's in plain text and somebody's by a tunnel") {
  Demanding world;
  const SlabHandle plain = world.flow_to("10.2.0.9:80").self;
  const Flow& other = world.flow_to("10.2.0.10:80");
  const SlabHandle tunnelled = other.self;
  world.store.set_absent("/10.2.0.9", true);
  world.publish();
  // The plain connect was tried, and failed: there is no namespace to connect from.
  CHECK_FALSE(world.parts.is_live(plain));
  CHECK(world.closed(CloseReason::Overloaded) == 1);
  CHECK(other.state == FlowState::AwaitMesh);
  world.store.upsert(server("10.2.0.10"));
  world.publish();
  REQUIRE(world.parts.is_live(tunnelled));
  CHECK(other.state == FlowState::AwaitTunnel);
  CHECK(world.parts.demands.size() == 0);
}

TEST_CASE("a flow that waited long enough is refused, and never let out") {
  Demanding world;
  const SlabHandle waits = world.flow_to("10.2.0.9:80").self;
  world.parts.pass(4'990);
  CHECK(world.parts.is_live(waits));
  const SlabHandle later = world.flow_to("10.2.0.9:80").self;
  const std::size_t asked = world.asked.size();
  world.parts.pass(50);
  CHECK_FALSE(world.parts.is_live(waits));
  CHECK(world.parts.is_live(later));
  CHECK(world.closed(CloseReason::NoRoute) == 1);
  world.parts.pass(5'000);
  CHECK(world.closed(CloseReason::NoRoute) == 2);
  CHECK(world.closed(CloseReason::Overloaded) == 0);
  CHECK(world.parts.demands.size() == 0);
  // The next one asks anew.
  static_cast<void>(world.flow_to("10.2.0.9:80"));
  CHECK(world.asked.size() == asked + 1);
}

TEST_CASE("what is learned may be a question again, and the patience is for both together") {
  Demanding world;
  state::Workload guarded = server("10.2.0.9");
  guarded.waypoint = state::GatewayRef{{}, "shop", "way.shop.svc.cluster.local", 15'008};
  const SlabHandle flow = world.flow_to("10.2.0.9:80").self;
  world.parts.pass(3'000);
  world.store.upsert(guarded);
  world.publish();
  REQUIRE(world.parts.is_live(flow));
  CHECK(world.asked == std::vector<std::string>{"/10.2.0.9", "shop/way.shop.svc.cluster.local"});
  world.parts.pass(2'100);
  CHECK_FALSE(world.parts.is_live(flow));
  CHECK(world.closed(CloseReason::NoRoute) == 1);
}

TEST_CASE("a flow that ends while it waits is forgotten") {
  Demanding world;
  Flow& first = world.flow_to("10.2.0.9:80");
  Flow& second = world.flow_to("10.2.0.9:80");
  world.parts.finisher.abort(first, CloseReason::ClientReset);
  CHECK(world.parts.demands.size() == 1);
  world.parts.finisher.abort(second, CloseReason::ClientReset);
  CHECK(world.parts.demands.size() == 0);
  CHECK(world.parts.state.pods.find(kSlot)->demand_waits == 0);
  world.store.set_absent("/10.2.0.9", true);
  world.publish();
}

TEST_CASE("a pod has so many that wait; the next one is refused at once, and room comes back") {
  Demanding world;
  for (std::uint32_t i = 0; i < Demands::kPerPodMax; ++i) {
    static_cast<void>(world.flow_to(fmt::format("10.3.{}.{}:80", i / 256, i % 256)));
  }
  CHECK(world.parts.demands.size() == Demands::kPerPodMax);
  CHECK(world.closed(CloseReason::NoRoute) == 0);
  const std::size_t asked = world.asked.size();
  static_cast<void>(world.flow_to("10.2.0.9:80"));
  CHECK(world.closed(CloseReason::NoRoute) == 1);
  CHECK(world.asked.size() == asked);
  world.parts.pass(5'050);
  CHECK(world.parts.demands.size() == 0);
  CHECK(world.flow_to("10.2.0.9:80").state == FlowState::AwaitMesh);
}

TEST_CASE("a connection from an unknown client waits a moment for the client's name, and goes on without") {
  Demanding world;
  const SlabHandle handle = world.inbound_from("10.2.0.9:4000");
  // As Inbound::accept_plaintext does it with a socket.
  Flow& flow = *world.parts.state.flows.find(handle);
  CHECK(world.parts.inbound.waits_for_source(flow, {}));
  CHECK(world.asked == std::vector<std::string>{"/10.2.0.9"});
  CHECK_FALSE(world.parts.inbound.waits_for_source(flow, {}));
  world.parts.pass(1'050);
  const Flow* after = world.parts.state.flows.find(handle);
  CHECK((after == nullptr || after->state != FlowState::AwaitMesh));
  CHECK(world.closed(CloseReason::NoRoute, Direction::Inbound) == 0);
  CHECK(world.parts.demands.size() == 0);
}

TEST_CASE(
    "a CONNECT waits for what it names, and then for its client, and is answered when both are known or their time is "
    "over") {
  Demanding world;
  state::Workload pod = server("127.0.0.1");
  pod.addresses.push_back(IpAddress::parse("10.1.0.5").value());
  world.store.upsert(pod);
  world.parts.state.pods.find(kSlot)->setup.addresses.push_back(IpAddress::parse("127.0.0.1").value());
  world.publish();
  Peer peer(false);
  Tunnel& tunnel = world.parts.add_tunnel(std::move(peer.near), {}, false);
  tunnel.remote = Endpoint::parse("10.2.0.9:4000").value();
  REQUIRE(world.parts.streams.open(tunnel));
  const auto asks = [&](std::size_t count) {
    return world.parts.turn_until([&] { peer.carry(); }, [&] { return world.asked.size() == count; });
  };
  std::string told;
  const auto is_told = [&](std::string_view what) {
    return world.parts.turn_until([&] { peer.carry(), told += peer.told.take(); },
                                  [&] { return told.find(what) != std::string::npos; });
  };
  REQUIRE(peer.session->connect({.authority = "10.96.0.9:80"}) == 1);
  REQUIRE(asks(1));
  CHECK(world.asked.back() == "/10.96.0.9");
  // Nobody has it: this workload is nobody's waypoint.
  world.store.set_absent("/10.96.0.9", true);
  world.publish();
  CHECK(is_told("response 1 400"));
  // What is its own waits for the client's name alone.
  REQUIRE(peer.session->connect({.authority = "127.0.0.1:80", .baggage = "k8s.cluster.name=x"}) == 3);
  REQUIRE(asks(2));
  CHECK(world.asked.back() == "/10.2.0.9");
  CHECK(told.find("response 3") == std::string::npos);
  world.parts.pass(1'050);
  CHECK(is_told("closed 3 unprocessed 7"));  // it was tried: there is no namespace to connect from
  CHECK(world.parts.demands.size() == 0);
  // No answer to what it names: 503, in time.
  REQUIRE(peer.session->connect({.authority = "10.96.0.10:80"}) == 5);
  REQUIRE(asks(3));
  world.parts.pass(5'050);
  CHECK(is_told("response 5 503"));
  // A client that resets its stream is not waited for.
  REQUIRE(peer.session->connect({.authority = "10.96.0.11:80"}) == 7);
  REQUIRE(asks(4));
  peer.session->reset(7, hbone::kCancel);
  CHECK(world.parts.turn_until([&] { peer.carry(); }, [&] { return world.parts.demands.size() == 0; }));
}

}  // namespace culvert::proxy::test
