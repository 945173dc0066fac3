// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_places.hpp"

#include <catch2/catch.hpp>

namespace culvert::proxy {

TEST_CASE(
    "one address gets half of the places while there is room, a quarter where others are, and all together no more "
    "than there are") {
  HandshakePlaces places;
  const IpAddress silent = IpAddress::parse("10.0.0.1").value();
  for (int i = 0; i < 8; ++i) CHECK(places.take(silent, 16));
  CHECK_FALSE(places.take(silent, 16));
  for (const char* other : {"10.0.0.2", "fd00::4"}) {
    for (int i = 0; i < 4; ++i) CHECK(places.take(IpAddress::parse(other).value(), 16));
    CHECK_FALSE(places.take(IpAddress::parse(other).value(), 16));
  }
  CHECK(places.taken() == 16);
  const IpAddress late = IpAddress::parse("10.0.0.5").value();
  CHECK_FALSE(places.take(late, 16));
  places.give_back(silent);
  CHECK(places.take(late, 16));
}

TEST_CASE("who has no place leaves nothing behind") {
  HandshakePlaces places;
  const IpAddress peer = IpAddress::parse("10.0.0.1").value();
  CHECK(places.take(peer, 1));  // a quarter of one is one
  CHECK_FALSE(places.take(peer, 1));
  places.give_back(peer);
  CHECK(places.peers() == 0);
  CHECK(places.taken() == 0);
}

}  // namespace culvert::proxy
