// SPDX-License-Identifier: Apache-2.0
// One connection as it is told to people: the access-log line at its end (Istio's ztunnel fields), and a row of
// `culvertctl connections` while it lives. Plain values; filled on a worker.
#pragma once

#include <cstdint>
#include <string>

#include "base/address.hpp"
#include "telemetry/close_reason.hpp"

namespace culvert::telemetry {

enum class Direction : std::uint8_t { Inbound, Outbound };
enum class Transport : std::uint8_t { Plaintext, Direct, Hbone };

[[nodiscard]] std::string_view to_string(Direction direction) noexcept;
[[nodiscard]] std::string_view to_string(Transport transport) noexcept;  // "tcp", "direct", "hbone"

// One side. Empty strings are unknown and are left out of the log.
struct Party {
  Endpoint address;
  std::string workload;
  std::string namespace_name;
  std::string identity;  // SPIFFE URI, mutual TLS only
  std::string cluster;
};

struct ConnectionLog {
  std::uint64_t id = 0;  // unique in this process
  Direction direction = Direction::Outbound;
  Transport transport = Transport::Plaintext;
  Party source;
  Party destination;              // address: the next hop (outbound) or the local address (inbound)
  Endpoint original_destination;  // what the application dialled
  std::string authority;          // what the far side was asked for (dst.hbone_addr); empty for plaintext
  std::string service;            // hostname of the service that was dialled; empty: an address
  std::string why;                // why it goes this way; for people
  std::string pod;                // the local pod's id
  std::string cipher;             // empty for plaintext
  std::string tx_engine;          // "user-ipsec-mb", "kernel", ..., empty for plaintext
  std::string rx_engine;
  std::uint64_t bytes_sent =
      0;  // as the access log of ztunnel counts them: outbound client to server, inbound server to client
  std::uint64_t bytes_received = 0;
  std::uint64_t start_us = 0;  // wall clock, microseconds since the epoch
  std::uint64_t duration_ms = 0;
  CloseReason reason = CloseReason::Completed;  // of an ended connection
  std::string detail;                           // what exactly failed, may be empty
  std::string state;                            // of a live one: connecting, handshake, open, half-closed, closing
};

}  // namespace culvert::telemetry
