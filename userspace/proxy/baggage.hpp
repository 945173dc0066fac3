// SPDX-License-Identifier: Apache-2.0
// The `baggage` headers that this agent's pods send: what the mesh knows of them, as text, made once per snapshot.
#pragma once

#include <string_view>

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

// The same as the client of a CONNECT and as the destination in an answer. Valid until the next snapshot.
[[nodiscard]] std::string_view pod_baggage(WorkerState& state, std::uint32_t pod_slot);

}  // namespace culvert::proxy
