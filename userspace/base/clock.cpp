// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"

#include <ctime>

namespace culvert {
namespace {

std::uint64_t read_ns(clockid_t clock) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t monotonic_ns() noexcept { return read_ns(CLOCK_MONOTONIC); }
std::uint64_t monotonic_ms() noexcept { return monotonic_ns() / 1'000'000U; }
std::uint64_t wall_us() noexcept { return read_ns(CLOCK_REALTIME) / 1'000U; }

}  // namespace culvert
