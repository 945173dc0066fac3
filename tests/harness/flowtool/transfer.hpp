// SPDX-License-Identifier: Apache-2.0
// Byte-exact transfers. The client opens with one Ask that tells both sides what to send, how fast to read and how to end;
// then both send at once, from generators that the other side knows, and report what they saw as one JSON line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "net.hpp"

namespace flowtool {

enum class Ending : std::uint32_t {
  HalfClose,     // each side shuts down after its last byte and reads until EOF
  ServerResets,  // the server sends RST once it has received and sent everything
  ClientResets,
  ServerCloses,  // the server closes at once, having read nothing but the Ask
};

struct Ask {
  std::uint32_t magic = kMagic;
  Ending ending = Ending::HalfClose;
  std::uint64_t seed = 1;
  std::uint64_t to_server_bytes = 0;
  std::uint64_t to_client_bytes = 0;
  std::uint32_t chunk_max = 65536;         // writes are 1..chunk_max bytes
  std::uint32_t pause_us_max = 0;          // between writes, now and then
  std::uint32_t server_stall_ms = 0;       // before the server's first read
  std::uint32_t server_waits_for_eof = 0;  // the server sends only after the client's half-close

  static constexpr std::uint32_t kMagic = 0x43564654;
};
static_assert(sizeof(Ask) == 48);

struct TransferOptions {
  Address to;
  std::optional<Address> source;
  Ask ask;
  std::uint32_t client_stall_ms = 0;
  std::uint32_t connect_timeout_ms = 10'000;
  std::uint32_t io_timeout_ms = 60'000;
  std::uint32_t parallel = 1;
};

// 0 when every byte and the ending were as asked.
[[nodiscard]] int run_transfer(const TransferOptions& options);
// Serves until it is killed; one JSON line for each connection that ended.
[[noreturn]] void serve_transfers(std::uint16_t port, std::uint32_t io_timeout_ms);

}  // namespace flowtool
