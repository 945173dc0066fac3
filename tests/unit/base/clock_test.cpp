// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"

#include <ctime>

#include <catch2/catch.hpp>

TEST_CASE("the clocks agree with each other and do not go back") {
  const std::uint64_t ns = culvert::monotonic_ns();
  const std::uint64_t ms = culvert::monotonic_ms();
  CHECK(ms >= ns / 1'000'000U);
  CHECK(culvert::monotonic_ns() >= ns);
  const auto seconds = static_cast<std::uint64_t>(std::time(nullptr));
  const std::uint64_t wall_s = culvert::wall_us() / 1'000'000U;
  CHECK(wall_s >= seconds);
  CHECK(wall_s <= seconds + 60);
}
