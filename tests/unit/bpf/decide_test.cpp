// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "decide_cases.hpp"

using namespace culvert::test;

TEST_CASE("a connect is captured unless there is a reason not to") {
  for (const auto& c : kConnectCases) {
    INFO(c.text);
    CHECK(cv_connect_way(c.flags, c.is_local, c.is_excluded) == c.way);
  }
}

TEST_CASE("an option that sends past tc egress is told from the others") {
  for (const auto& c : kOptionCases) {
    INFO(c.text);
    CHECK(cv_option_bypasses(c.level, c.name) == c.bypasses);
  }
}

TEST_CASE("a question of DNS is the agent's where the pod's are") {
  for (const auto& c : kDnsCases) {
    INFO(c.text);
    CHECK(cv_dns_is_wanted(c.flags, c.is_local, c.is_excluded) == c.is_wanted);
  }
}

TEST_CASE("a first packet finds its listener by device and address") {
  for (const auto& c : kLookupCases) {
    INFO(c.text);
    CHECK(cv_lookup_way(&c.facts) == c.way);
  }
}

TEST_CASE("a packet on its way out is judged by its socket first") {
  for (const auto& c : kEgressSockCases) {
    INFO(c.text);
    CHECK(cv_egress_by_sock(&c.sock) == c.way);
  }
}

TEST_CASE("and by itself where the socket does not say") {
  for (const auto& c : kEgressPacketCases) {
    INFO(c.text);
    const auto verdict = cv_egress_by_packet(&c.packet);
    CHECK(verdict.act == c.act);
    CHECK(verdict.kind == c.kind);
    CHECK(verdict.counter == c.counter);
  }
}
