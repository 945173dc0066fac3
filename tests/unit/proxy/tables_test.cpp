// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <catch2/catch.hpp>

#include "proxy/accepted_table.hpp"
#include "proxy/via_table.hpp"

namespace culvert::proxy {

TEST_CASE("lists of accepted identities have one number each, in their order") {
  AcceptedTable table;
  const SpiffeId a{"td", "ns", "a"};
  const SpiffeId b{"td", "ns", "b"};
  const std::vector<SpiffeId> with_b = {b};
  const std::uint32_t only_a = table.intern(a, {});
  const std::uint32_t both = table.intern(a, with_b);
  CHECK(only_a != both);
  CHECK(table.intern(a, {}) == only_a);
  CHECK(table.intern(a, with_b) == both);
  CHECK(table.intern(b, std::vector<SpiffeId>{a}) != both);
  REQUIRE(table.find(both).size() == 2);
  CHECK(table.find(both)[0] == a);
  CHECK(table.find(both)[1] == b);
  CHECK(table.find(0).empty());
  CHECK(table.find(99).empty());
}

TEST_CASE("a way through a gateway is the gateway, who it may be, and what it is asked for") {
  ViaTable table;
  Via via;
  via.gateway = Endpoint::parse("192.0.2.1:15008").value();
  via.accepted = 3;
  via.authority = "cart.shop.svc:80";
  const std::uint32_t first = table.intern(via);
  CHECK(table.intern(via) == first);
  via.authority = "cart.shop.svc:81";
  const std::uint32_t second = table.intern(via);
  CHECK(second != first);
  CHECK(table[first].authority == "cart.shop.svc:80");
  CHECK(table[second].authority == "cart.shop.svc:81");
}

}  // namespace culvert::proxy
