// SPDX-License-Identifier: Apache-2.0
// The words for a connection's direction and transport. Pure; any thread.
#include "telemetry/connection_log.hpp"

namespace culvert::telemetry {

std::string_view to_string(Direction direction) noexcept {
  return direction == Direction::Inbound ? "inbound" : "outbound";
}

std::string_view to_string(Transport transport) noexcept {
  switch (transport) {
    case Transport::Plaintext: return "tcp";
    case Transport::Direct: return "direct";
    case Transport::Hbone: return "hbone";
  }
  return "unknown";
}

}  // namespace culvert::telemetry
