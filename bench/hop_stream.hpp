// SPDX-License-Identifier: Apache-2.0
// The two ends of one bulk stream: a sender with writes of one size, and a reader that throws away what it reads, as wide as
// the agent reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace culvert::bench {

struct SendOptions {
  std::string host;
  std::uint16_t port = 0;
  std::size_t write_bytes = 128UL * 1024;
  double seconds = 3;
};

// Sends for that long on one connection and prints {"bytes":N,"seconds":S}. 0 or 1, as a process ends.
[[nodiscard]] int send_stream(const SendOptions& options);
// Listens on every address and reads one connection after the other until it is killed.
[[nodiscard]] int sink_streams(std::uint16_t port);
// Accepts from both (-1: none) and reads until a signal asks to end (`should_end`).
void read_connections(int listener_v4, int listener_v6, const volatile bool& should_end);

}  // namespace culvert::bench
