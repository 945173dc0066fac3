// SPDX-License-Identifier: Apache-2.0
#include "dns/name_cache.hpp"

#include <string>

#include <catch2/catch.hpp>

namespace culvert::dns {
namespace {

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

}  // namespace

TEST_CASE("an answer holds for its time, within bounds") {
  struct Case {
    const char* description;
    std::uint64_t ttl_ms;
    std::uint64_t holds_ms;
  };
  const Case cases[] = {
      {"as it says", 30'000, 30'000}, {"at least a second", 0, 1'000}, {"five minutes at most", 3'600'000, 300'000}};
  for (const Case& one : cases) {
    INFO(one.description);
    NameCache cache;
    cache.keep("db.example", {ip("192.0.2.1")}, one.ttl_ms, 1'000);
    REQUIRE(cache.find("db.example", 1'000 + one.holds_ms - 1) != nullptr);
    CHECK(cache.find("db.example", 1'000 + one.holds_ms) == nullptr);
  }
}

TEST_CASE("that a name has no address is remembered for a short while") {
  NameCache cache;
  cache.keep("none.example", {}, 3'600'000, 0);
  REQUIRE(cache.find("none.example", 4'999) != nullptr);
  CHECK(cache.find("none.example", 4'999)->empty());
  CHECK(cache.find("none.example", 5'000) == nullptr);
}

TEST_CASE("at the limit names whose time is over go first") {
  NameCache cache;
  for (std::size_t i = 0; i < NameCache::kNamesMax; ++i)
    cache.keep(std::to_string(i), {ip("192.0.2.1")}, i == 7 ? 1'000 : 60'000, 0);
  cache.keep("new", {ip("192.0.2.2")}, 60'000, 2'000);
  CHECK(cache.size() == NameCache::kNamesMax);
  CHECK(cache.find("8", 2'000) != nullptr);
  CHECK(cache.find("new", 2'000) != nullptr);
  cache.keep("newer", {ip("192.0.2.2")}, 60'000, 2'000);
  CHECK(cache.size() == NameCache::kNamesMax);
  CHECK(cache.find("newer", 2'000) != nullptr);
}

TEST_CASE("an address of the dialled family is preferred") {
  const std::vector<IpAddress> both = {ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.2")};
  CHECK(choose(both, AF_INET, 0) == ip("192.0.2.1"));
  CHECK(choose(both, AF_INET, 1) == ip("192.0.2.2"));
  CHECK(choose(both, AF_INET, 2) == ip("192.0.2.1"));
  CHECK(choose(both, AF_INET6, 5) == ip("2001:db8::1"));
  CHECK(choose({ip("192.0.2.1")}, AF_INET6, 9) == ip("192.0.2.1"));
}

}  // namespace culvert::dns
