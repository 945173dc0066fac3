// SPDX-License-Identifier: Apache-2.0
#include "control/cpu_allotment.hpp"

#include <catch2/catch.hpp>

namespace culvert::control {
namespace {

TEST_CASE("a quota grants whole CPUs, rounded up") {
  CHECK(quota_cpus("200000 100000\n") == 2);
  CHECK(quota_cpus("150000 100000\n") == 2);
  CHECK(quota_cpus("1000 100000\n") == 1);
  CHECK(quota_cpus("100000000000 1\n") == 256);
}

TEST_CASE("no quota grants nothing in particular") {
  for (const char* text : {"", "max 100000\n", "100000", "100000 0", "100000 x"}) {
    CAPTURE(text);
    CHECK_FALSE(quota_cpus(text));
  }
}

TEST_CASE("the unified cgroup is found among those of version 1") {
  CHECK(unified_cgroup("12:cpu:/a\n0::/system.slice/x\n") == "/system.slice/x");
  CHECK(unified_cgroup("0::/\n") == "/");
  CHECK(unified_cgroup("12:cpu:/a\n").empty());
  CHECK(unified_cgroup("").empty());
}

TEST_CASE("looking for events is the default where CPU time is not short") {
  CHECK(default_busy_wait_us(false, 2) == kBusyWaitUs);
  CHECK(default_busy_wait_us(true, 8) == 0);
  CHECK(default_busy_wait_us(false, 1) == 0);
}

TEST_CASE("this machine allots at least one CPU") {
  CHECK(allotted_cpus() >= 1);
  CHECK(allotted_cpus() <= 256);
}

}  // namespace
}  // namespace culvert::control
