// SPDX-License-Identifier: Apache-2.0
// The `baggage` headers that this agent's pods send: what the mesh knows of them, as text, made once per snapshot.
#pragma once

#include <string_view>

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

// Of the pod as the client of a CONNECT, and as the destination in its answer; both say the same. Valid until the next snapshot.
[[nodiscard]] std::string_view source_baggage(WorkerState& state, std::uint32_t pod_slot);
[[nodiscard]] inline std::string_view destination_baggage(WorkerState& state, std::uint32_t pod_slot) {
  return source_baggage(state, pod_slot);
}

}  // namespace culvert::proxy
