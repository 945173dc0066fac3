// SPDX-License-Identifier: Apache-2.0
// Listing: every live connection once, a bounded number of them in a turn of the loop.
#include "proxy/listing.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <set>
#include <vector>

#include <arpa/inet.h>

#include <catch2/catch.hpp>

#include "parts.hpp"
#include "state/store.hpp"

namespace culvert::proxy {
namespace {

constexpr std::size_t kFlows = 3 * Listing::kRowsPerTurn + 7;

struct Fixture {
  test::Parts parts;
  Listing listing{parts.state};
  std::vector<SlabHandle> flows;
  std::vector<ConnectionPages> answers;

  Fixture() {
    for (std::size_t i = 0; i < kFlows; ++i) add();
  }
  void add() {
    Flow& flow = *parts.state.new_flow(FlowRole::Passthrough, test::kSlot);
    flow.state = FlowState::Open;
    flows.push_back(flow.self);
  }
  void end(std::size_t index) {
    parts.finisher.abort(*parts.state.flows.find(flows[index]), telemetry::CloseReason::ClientReset);
  }
  void ask() {
    listing.begin({[this](ConnectionPages pages) { answers.push_back(std::move(pages)); }});
  }
  std::size_t turns() {
    std::size_t count = 0;
    for (; listing.has_more(); ++count) listing.run();
    return count;
  }
  static std::multiset<std::uint64_t> ids(const ConnectionPages& pages) {
    std::multiset<std::uint64_t> found;
    for (const auto& page : pages) {
      CHECK(page.size() <= Listing::kRowsPerTurn);
      for (const telemetry::ConnectionLog& row : page) found.insert(row.id);
    }
    return found;
  }
};

double cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

}  // namespace

TEST_CASE("all connections are listed once, some in each turn") {
  Fixture fixture;
  CHECK_FALSE(fixture.listing.has_more());
  fixture.ask();
  CHECK(fixture.answers.empty());
  CHECK(fixture.turns() >= kFlows / Listing::kRowsPerTurn);
  REQUIRE(fixture.answers.size() == 1);
  const auto ids = Fixture::ids(fixture.answers[0]);
  CHECK(ids.size() == kFlows);
  CHECK(std::set(ids.begin(), ids.end()).size() == kFlows);
}

TEST_CASE("who ends before its turn is left out, and who asks meanwhile gets a list of all") {
  Fixture fixture;
  fixture.ask();
  fixture.listing.run();
  fixture.end(0);  // has been listed, whichever end the slab begins with, or has not
  fixture.end(kFlows - 1);
  fixture.ask();
  fixture.turns();
  REQUIRE(fixture.answers.size() == 2);
  CHECK(Fixture::ids(fixture.answers[0]).size() == kFlows - 1);
  CHECK(Fixture::ids(fixture.answers[1]).size() == kFlows - 2);
}

TEST_CASE("of no connections there is an empty list, in one turn") {
  Fixture fixture;
  for (std::size_t i = 0; i < kFlows; ++i) fixture.end(i);
  fixture.ask();
  CHECK(fixture.turns() == 1);
  REQUIRE(fixture.answers.size() == 1);
  CHECK(fixture.answers[0].empty());
}

// Not a check of time, for docs/performance.md: `unit_proxy [.bench]` of a release build. What one worker's loop is held up by, in CPU time.
TEST_CASE("what a listing of 50,000 connections costs a worker", "[.bench]") {
  constexpr std::uint32_t kCount = 50'000;
  constexpr int kPolicies = 20;
  test::Parts parts;
  state::Store store;
  state::Workload pod;
  pod.uid = "shop/cart";
  pod.name = "cart";
  pod.namespace_name = "shop";
  pod.addresses = {IpAddress::parse("10.1.0.5").value()};
  store.upsert(pod);
  for (int i = 0; i < kPolicies; ++i) {
    state::PolicyMatch match;
    match.principals = {{state::StringMatch::Kind::Exact, fmt::format("cluster.local/ns/far/sa/{}", i)}};
    state::Authorization policy;
    policy.name = fmt::format("no-{}", i);
    policy.namespace_name = "shop";
    policy.scope = state::PolicyScope::Namespace;
    policy.action = state::PolicyAction::Deny;
    policy.rules = {{{{{match}}}}};
    store.upsert(policy);
  }
  parts.admission.set_snapshot(store.publish());
  while (parts.admission.has_more()) parts.admission.run();
  const std::uint32_t peer = parts.state.identities.intern(SpiffeId::parse(tls::test::kServerId).value());
  for (const FlowRole role : {FlowRole::Outbound, FlowRole::InboundTunnel}) {
    for (std::uint32_t i = 0; i < kCount; ++i) {
      Flow& flow = *parts.state.new_flow(role, test::kSlot);
      flow.source = {IpAddress::v4(in_addr{htonl(0x0a09'0000U + i)}), 4000};
      flow.destination = flow.target = flow.next_hop = Endpoint::parse("10.1.0.5:80").value();
      flow.peer_identity = peer;
      flow.used_tunnel = true;
      flow.why = "direct tunnel: both agents offer it";
      flow.state = FlowState::Open;
    }
    Listing listing(parts.state);
    ConnectionPages listed;  // the control thread lets go of them
    double longest_us = 0;
    double all_us = 0;
    listing.begin({[&listed](ConnectionPages pages) { listed = std::move(pages); }});
    while (listing.has_more()) {
      const double began_us = cpu_us();
      listing.run();
      const double took_us = cpu_us() - began_us;
      longest_us = std::max(longest_us, took_us);
      all_us += took_us;
    }
    std::size_t rows = 0;
    for (const auto& page : listed) rows += page.size();
    CHECK(rows == kCount);
    std::printf("%s: %u connections, %.2f us each, %.1f ms together; the longest turn %.0f us\n",
                role == FlowRole::Outbound ? "outbound" : "inbound, 20 policies", kCount, all_us / kCount, all_us / 1e3,
                longest_us);
    parts.state.flows.for_each(
        [&](SlabHandle, Flow& flow) { parts.finisher.abort(flow, telemetry::CloseReason::ClientReset); });
  }
}

}  // namespace culvert::proxy
