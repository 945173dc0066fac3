// SPDX-License-Identifier: Apache-2.0
// Load against flowtool's echo server: round-trip latency, connections a second, and many connections at once. Each prints
// one JSON line; times are microseconds unless the name says otherwise.
#pragma once

#include <cstdint>
#include <optional>

#include "net.hpp"

namespace flowtool {

struct LoadOptions {
  Address to;
  std::optional<Address> source;
  std::uint32_t size = 64;     // latency: bytes of one round trip
  std::uint32_t count = 1000;  // latency: round trips; connects, many: connections
  std::uint32_t threads = 1;   // rate
  double seconds = 3;          // rate: how long
  double hold_seconds = 0;     // many: how long they stay open between the two rounds of messages
  bool holds_until_stdin_ends = false;
  std::uint32_t timeout_ms = 10'000;
};

[[nodiscard]] int measure_latency(const LoadOptions& options);
// Connect, one byte each way, close; over and over.
[[nodiscard]] int measure_rate(const LoadOptions& options);
// One connection after the other: how long connect() takes, and connect() and a byte each way together.
[[nodiscard]] int measure_connects(const LoadOptions& options);
// All connections at once; each sends its number and must get it back, at the start and again at the end.
[[nodiscard]] int hold_many(const LoadOptions& options);

}  // namespace flowtool
