// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "ctl/units.hpp"

namespace culvert::ctl {

TEST_CASE("sizes are written with one decimal and never reach four digits") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(999) == "999 B");
  CHECK(human_bytes(1'000) == "1.0 KiB");
  CHECK(human_bytes(1'024) == "1.0 KiB");
  CHECK(human_bytes(1'536) == "1.5 KiB");
  CHECK(human_bytes(1'023'999) == "1.0 MiB");
  CHECK(human_bytes(1'288'490) == "1.2 MiB");
  CHECK(human_bytes(5ULL << 30U) == "5.0 GiB");
  CHECK(human_bytes(~0ULL) == "16.0 EiB");
}

TEST_CASE("durations have their two largest parts") {
  CHECK(human_duration(0) == "0ms");
  CHECK(human_duration(999) == "999ms");
  CHECK(human_duration(1'000) == "1s");
  CHECK(human_duration(59'999) == "59s");
  CHECK(human_duration(200'000) == "3m20s");
  CHECK(human_duration(3'600'000) == "1h0m");
  CHECK(human_duration(86'400'000ULL * 400 + 3'600'000) == "400d1h");
}

TEST_CASE("times are in UTC") {
  CHECK(human_time(0) == "1970-01-01 00:00:00Z");
  CHECK(human_time(1'709'210'096) == "2024-02-29 12:34:56Z");
}

}  // namespace culvert::ctl
