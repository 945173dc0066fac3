// SPDX-License-Identifier: Apache-2.0
#include "base/spiffe_id.hpp"

#include <string>
#include <unordered_set>

#include <catch2/catch.hpp>

using culvert::ErrorCode;
using culvert::SpiffeId;

TEST_CASE("a well-formed identity is read and printed as it was") {
  for (const char* uri : {"spiffe://cluster.local/ns/shop/sa/cart", "spiffe://a/ns/b/sa/c",
                          "spiffe://td-1_x.example.org/ns/Shop-1/sa/cart.v2_A"}) {
    CAPTURE(uri);
    const auto id = SpiffeId::parse(uri);
    REQUIRE(id);
    CHECK(id->to_string() == uri);
  }
  const auto id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/cart");
  CHECK(id->trust_domain == "cluster.local");
  CHECK(id->namespace_name == "shop");
  CHECK(id->service_account == "cart");
}

TEST_CASE("everything else is refused") {
  const std::string longest(253, 'a');
  CHECK(SpiffeId::parse("spiffe://td/ns/" + longest + "/sa/b"));
  const std::string bad[] = {
      "",
      "spiffe://",
      "spiffe://td",
      "spiffe://td/",
      "spiffe://td/ns/a",
      "spiffe://td/ns/a/sa",
      "spiffe://td/ns/a/sa/",
      "spiffe://td/ns//sa/b",
      "spiffe:///ns/a/sa/b",
      "SPIFFE://td/ns/a/sa/b",
      "http://td/ns/a/sa/b",
      "spiffe:/td/ns/a/sa/b",
      "spiffe://td/ns/a/sa/b/",
      "spiffe://td/ns/a/sa/b/c",
      "spiffe://td/sa/a/ns/b",
      "spiffe://td/NS/a/sa/b",
      "spiffe://TD/ns/a/sa/b",  // trust domains are lower case
      "spiffe://td:8080/ns/a/sa/b",
      "spiffe://user@td/ns/a/sa/b",
      "spiffe://td/ns/a/sa/b?x=1",
      "spiffe://td/ns/a/sa/b#x",
      "spiffe://td/ns/a%2fb/sa/c",
      "spiffe://td/ns/a b/sa/c",
      "spiffe://td/ns/../sa/b",
      "spiffe://td/ns/./sa/b",
      "spiffe://td/ns/a/sa/..",
      "spiffe://../ns/a/sa/b",
      "spiffe://td/ns/\xc3\xa4/sa/b",
      " spiffe://td/ns/a/sa/b",
      "spiffe://td/ns/a/sa/b\n",
      "spiffe://td/ns/" + longest + "a/sa/b",
      "spiffe://td/ns/a/sa/" + longest + "a",
      "spiffe://" + std::string(256, 'a') + "/ns/a/sa/b",
      std::string("spiffe://td/ns/a\0/sa/b", 23),
  };
  for (const std::string& uri : bad) {
    CAPTURE(uri);
    const auto id = SpiffeId::parse(uri);
    REQUIRE_FALSE(id);
    CHECK(id.error().code() == ErrorCode::InvalidArgument);
  }
}

TEST_CASE("an endless text is refused and not repeated whole in the message") {
  const auto id = SpiffeId::parse("spiffe://" + std::string(100'000, 'a'));
  REQUIRE_FALSE(id);
  CHECK(id.error().message().size() < 1000);
}

TEST_CASE("an identity is made from its parts under the same rules") {
  CHECK(SpiffeId::make("cluster.local", "shop", "cart")->to_string() == "spiffe://cluster.local/ns/shop/sa/cart");
  CHECK_FALSE(SpiffeId::make("", "shop", "cart"));
  CHECK_FALSE(SpiffeId::make("cluster.local", "shop/x", "cart"));
  CHECK_FALSE(SpiffeId::make("cluster.local", "shop", ".."));
}

TEST_CASE("identities are keys: equal parts are equal, and parts do not run together") {
  std::unordered_set<SpiffeId> ids;
  ids.insert(*SpiffeId::make("td", "ab", "c"));
  ids.insert(*SpiffeId::make("td", "a", "bc"));
  ids.insert(*SpiffeId::make("td", "ab", "c"));
  CHECK(ids.size() == 2);
}
