// SPDX-License-Identifier: Apache-2.0
#include "control/xds_backoff.hpp"

#include <vector>

#include <catch2/catch.hpp>

namespace culvert::control {

TEST_CASE("pauses between streams begin with 10 ms, are doubled, and end at 15 s") {
  XdsBackoff backoff;
  std::vector<std::uint64_t> pauses;
  for (int i = 0; i < 13; ++i) pauses.push_back(backoff.next_ms(XdsEnd::ConnectionError, false));
  CHECK(pauses ==
        std::vector<std::uint64_t>{10, 20, 40, 80, 160, 320, 640, 1'280, 2'560, 5'120, 10'240, 15'000, 15'000});
}

TEST_CASE("after a stream that has lived they begin again, and an orderly end is followed at once") {
  XdsBackoff backoff;
  for (int i = 0; i < 5; ++i) static_cast<void>(backoff.next_ms(XdsEnd::Error, false));
  CHECK(backoff.next_ms(XdsEnd::Reconnect, true) == 10);
  CHECK(backoff.next_ms(XdsEnd::ConnectionError, false) == 10);
  CHECK(backoff.next_ms(XdsEnd::ConnectionError, false) == 20);
  CHECK(backoff.next_ms(XdsEnd::Complete, true) == 1);
  CHECK(backoff.next_ms(XdsEnd::Error, true) == 10);
  CHECK(backoff.next_ms(XdsEnd::Error, false) == 20);
  // No stream may be opened in a loop by a server that ends each in order.
  CHECK(backoff.next_ms(XdsEnd::Complete, false) == 40);
  CHECK(backoff.next_ms(XdsEnd::Reconnect, false) == 80);
}

}  // namespace culvert::control
