// SPDX-License-Identifier: Apache-2.0
// The words of the workload API. Pure.
#include "state/workload.hpp"

namespace culvert::state {

std::string_view to_string(Protocol protocol) noexcept { return protocol == Protocol::Tcp ? "TCP" : "HBONE"; }

std::string_view to_string(PeerAuthMode mode) noexcept {
  return mode == PeerAuthMode::Strict ? "STRICT" : "PERMISSIVE";
}

}  // namespace culvert::state
