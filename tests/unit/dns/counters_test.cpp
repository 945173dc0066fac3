// SPDX-License-Identifier: Apache-2.0
// What DNS counts: sets that end, and a limit.
#include "dns/counters.hpp"

#include <fmt/format.h>
#include <catch2/catch.hpp>

namespace culvert::dns {
namespace {

CounterKey key(std::string service) { return {"a", false, std::move(service), "v1"}; }

}  // namespace

TEST_CASE("a set that nobody has asked under for a while ends, and begins anew") {
  Counters counters;
  counters.at(key("gone"), 1'000).requests = 7;
  counters.at(key("stays"), 1'000).requests = 7;
  ++counters.at(key("stays"), 5'000).requests;
  counters.sweep(4'000, 4'999);
  CHECK(counters.rows().size() == 2);
  counters.sweep(4'000, 5'000);
  REQUIRE(counters.rows().size() == 1);
  CHECK(counters.rows().begin()->second.requests == 8);
  CHECK(counters.at(key("gone"), 6'000).requests == 0);
}

TEST_CASE("beyond the limit everything is counted as overflow, until sets end") {
  Counters counters;
  for (std::size_t i = 0; i < Counters::kRowsMax + 10; ++i) ++counters.at(key(fmt::format("s{}", i)), i).requests;
  CHECK(counters.rows().size() == Counters::kRowsMax + 1);
  CHECK(counters.rows().at({"a", false, "overflow", "overflow"}).requests == 10);
  ++counters.at(key("s1"), 10'000).requests;
  CHECK(counters.rows().at(key("s1")).requests == 2);
  counters.sweep(5'000, 12'000);
  ++counters.at(key("fresh"), 12'000).requests;
  CHECK(counters.rows().contains(key("fresh")));
}

}  // namespace culvert::dns
