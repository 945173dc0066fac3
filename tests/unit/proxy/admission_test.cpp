// SPDX-License-Identifier: Apache-2.0
// Policy on one worker: who waits, who is judged again, and how much of that one turn does.
#include <algorithm>
#include <cstdio>

#include <catch2/catch.hpp>

#include "base/clock.hpp"

#include "parts.hpp"
#include "state/snapshot_builder.hpp"
#include "state/store.hpp"

namespace culvert::proxy::test {
namespace {

using telemetry::CloseReason;

// A DENY policy for clients of this range.
state::Authorization deny(std::string_view range) {
  state::PolicyMatch match;
  match.source_ips = {Cidr::parse(range).value()};
  state::Authorization made;
  made.name = "no";
  made.namespace_name = "shop";
  made.scope = state::PolicyScope::Namespace;
  made.action = state::PolicyAction::Deny;
  made.rules = {{{{{match}}}}};
  return made;
}

class Mesh {
 public:
  Mesh() {
    pod.uid = "shop/cart";
    pod.name = "cart";
    pod.namespace_name = "shop";
    pod.addresses = {IpAddress::parse("10.1.0.5").value()};
  }
  state::Workload pod;
  state::Store store;
};

Flow& inbound_flow(Parts& parts, std::uint32_t client) {
  Flow& flow = *parts.state.new_flow(FlowRole::InboundPlaintext, kSlot);
  flow.source = {IpAddress::v4(in_addr{htonl(0x0a09'0000U + client)}), 4000};
  flow.destination = Endpoint::parse("10.1.0.5:80").value();
  flow.state = FlowState::Open;
  return flow;
}

std::uint64_t closed(const Parts& parts, CloseReason reason) {
  return parts.state.counters
      .closed[static_cast<std::size_t>(telemetry::Direction::Inbound)][static_cast<std::size_t>(reason)]
      .value();
}

TEST_CASE("a change closes exactly what it denies, a bounded number in each turn") {
  Parts parts;
  Mesh mesh;
  mesh.store.upsert(mesh.pod);
  parts.admission.set_snapshot(mesh.store.publish());
  while (parts.admission.has_more()) parts.admission.run();
  std::vector<SlabHandle> flows;
  for (std::uint32_t i = 0; i < 10'000; ++i) flows.push_back(inbound_flow(parts, i).self);

  mesh.store.upsert(deny("10.9.0.0/20"));  // 4,096 of them
  parts.admission.set_snapshot(mesh.store.publish());
  std::uint64_t before = 0;
  while (parts.admission.has_more()) {
    parts.admission.run();
    const std::uint64_t after = closed(parts, CloseReason::PolicyChanged);
    REQUIRE(after - before <= Admission::kClosesPerTurn);
    before = after;
  }
  CHECK(before == 4'096);
  for (std::uint32_t i = 0; i < flows.size(); ++i) REQUIRE(parts.is_live(flows[i]) == (i >= 4'096));
}

TEST_CASE("a change in the middle of a round reaches those that were looked at before") {
  Parts parts;
  Mesh mesh;
  mesh.store.upsert(mesh.pod);
  parts.admission.set_snapshot(mesh.store.publish());
  std::vector<SlabHandle> flows;
  for (std::uint32_t i = 0; i < 5'000; ++i) flows.push_back(inbound_flow(parts, i).self);
  mesh.store.upsert(deny("10.8.0.0/16"));  // nobody
  parts.admission.set_snapshot(mesh.store.publish());
  parts.admission.run();
  REQUIRE(parts.admission.has_more());
  mesh.store.upsert(deny("10.9.0.0/16"));  // everybody
  parts.admission.set_snapshot(mesh.store.publish());
  // The table grows meanwhile: the round is over all that was there.
  for (std::uint32_t i = 0; i < 500; ++i) static_cast<void>(inbound_flow(parts, 0x10'0000U + i));
  for (unsigned turns = 0; parts.admission.has_more(); ++turns) {
    REQUIRE(turns < 1'000);
    parts.admission.run();
  }
  CHECK(closed(parts, CloseReason::PolicyChanged) == 5'000);
}

TEST_CASE("a snapshot that changes nothing for a pod starts no round") {
  Parts parts;
  Mesh mesh;
  mesh.store.upsert(mesh.pod);
  mesh.store.upsert(deny("10.8.0.0/16"));
  parts.admission.set_snapshot(mesh.store.publish());
  static_cast<void>(inbound_flow(parts, 1));
  while (parts.admission.has_more()) parts.admission.run();
  state::Workload other = mesh.pod;
  other.uid = "shop/other";
  other.name = "other";
  other.addresses = {IpAddress::parse("10.1.0.6").value()};
  mesh.store.upsert(other);
  parts.admission.set_snapshot(mesh.store.publish());
  CHECK_FALSE(parts.admission.has_more());
  state::Authorization elsewhere = deny("10.9.0.0/16");
  elsewhere.namespace_name = "bank";
  mesh.store.upsert(elsewhere);
  parts.admission.set_snapshot(mesh.store.publish());
  CHECK_FALSE(parts.admission.has_more());
  mesh.pod.authorization_policies = {"bank/no"};
  mesh.store.upsert(mesh.pod);
  parts.admission.set_snapshot(mesh.store.publish());
  CHECK(parts.admission.has_more());
}

TEST_CASE("what cannot be judged waits, and is judged when the policy comes, or refused in time") {
  Options options;
  options.policy_hold_ms = 3'000;
  Parts parts(options);
  Mesh mesh;
  mesh.pod.authorization_policies = {"shop/no"};
  mesh.store.upsert(mesh.pod);
  parts.admission.set_snapshot(mesh.store.publish());
  const SlabHandle denied = inbound_flow(parts, 1).self;
  parts.inbound.admit(*parts.state.flows.find(denied));
  REQUIRE(parts.is_live(denied));
  CHECK(parts.state.flows.find(denied)->state == FlowState::AwaitPolicy);
  parts.pass(2'000);
  REQUIRE(parts.is_live(denied));
  SECTION("it comes and denies") {
    mesh.store.upsert(deny("10.9.0.0/16"));
    parts.admission.set_snapshot(mesh.store.publish());
    CHECK_FALSE(parts.is_live(denied));
    CHECK(closed(parts, CloseReason::PolicyDenied) == 1);
  }
  SECTION("it comes and allows: the application is connected, which this pod's namespace does not let") {
    mesh.store.upsert(deny("10.8.0.0/16"));
    parts.admission.set_snapshot(mesh.store.publish());
    CHECK_FALSE(parts.is_live(denied));
    CHECK(closed(parts, CloseReason::PolicyDenied) == 0);
    CHECK(closed(parts, CloseReason::Overloaded) == 1);
  }
  SECTION("it does not come") {
    parts.pass(1'500);
    CHECK_FALSE(parts.is_live(denied));
    CHECK(closed(parts, CloseReason::PolicyDenied) == 1);
  }
}

TEST_CASE("before there is any state, and before it is complete, nobody is let in") {
  Options options;
  options.policy_unknown = GENERATE(policy::UnknownAnswer::Hold, policy::UnknownAnswer::Deny);
  Parts parts(options);
  Mesh mesh;
  const bool has_state = GENERATE(false, true);
  if (has_state) {
    mesh.store.set_complete(false);
    mesh.store.upsert(mesh.pod);
    parts.admission.set_snapshot(mesh.store.publish());
  }
  const SlabHandle flow = inbound_flow(parts, 1).self;
  parts.inbound.admit(*parts.state.flows.find(flow));
  CHECK(parts.is_live(flow) == (options.policy_unknown == policy::UnknownAnswer::Hold));
  CHECK(closed(parts, CloseReason::Overloaded) == 0);
}

TEST_CASE("so many wait and no more, and those that gave up make room") {
  Parts parts;
  std::vector<SlabHandle> flows;
  for (std::uint32_t i = 0; i < Admission::kHeldMax + 1; ++i) {
    flows.push_back(inbound_flow(parts, i).self);
    parts.inbound.admit(*parts.state.flows.find(flows.back()));
  }
  CHECK(parts.is_live(flows[Admission::kHeldMax - 1]));
  CHECK_FALSE(parts.is_live(flows.back()));
  CHECK(closed(parts, CloseReason::Overloaded) == 1);
  parts.finisher.abort(*parts.state.flows.find(flows[0]), CloseReason::ClientReset);
  const SlabHandle next = inbound_flow(parts, 1).self;
  parts.inbound.admit(*parts.state.flows.find(next));
  CHECK(parts.is_live(next));
}

// Hidden: how long one turn of the loop is held up, and a whole round, with 20 policies that all have to be looked at.
TEST_CASE("cost of a round over ten thousand connections", "[.bench]") {
  Parts parts;
  Mesh mesh;
  mesh.store.upsert(mesh.pod);
  parts.admission.set_snapshot(mesh.store.publish());
  for (std::uint32_t i = 0; i < 10'000; ++i) static_cast<void>(inbound_flow(parts, i));
  for (int repeat = 0; repeat < 5; ++repeat) {
    for (int i = 0; i < 20; ++i) {
      state::Authorization one = deny(fmt::format("10.8.{}.0/24", 20 * repeat + i));
      one.name = fmt::format("policy-{}", i);
      mesh.store.upsert(one);
    }
    parts.admission.set_snapshot(mesh.store.publish());
    std::uint64_t longest = 0;
    const std::uint64_t start = monotonic_ns();
    while (parts.admission.has_more()) {
      const std::uint64_t turn = monotonic_ns();
      parts.admission.run();
      longest = std::max(longest, monotonic_ns() - turn);
    }
    std::printf("round %.2f ms, longest turn %.2f ms\n", static_cast<double>(monotonic_ns() - start) / 1e6,
                static_cast<double>(longest) / 1e6);
  }
}

}  // namespace
}  // namespace culvert::proxy::test
