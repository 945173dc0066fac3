// SPDX-License-Identifier: Apache-2.0
// Time comes in at the edge: pure code takes milliseconds as values; only the loops read the clock.
#pragma once

#include <cstdint>

namespace culvert {

// CLOCK_MONOTONIC in milliseconds and in nanoseconds; never goes back, unrelated to the wall clock.
[[nodiscard]] std::uint64_t monotonic_ms() noexcept;
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;
// Wall clock, microseconds since the Unix epoch.
[[nodiscard]] std::uint64_t wall_us() noexcept;

}  // namespace culvert
