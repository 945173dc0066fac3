// SPDX-License-Identifier: Apache-2.0
// The values that `response_flags` has in Istio's metrics, and which of them a closed connection counts under. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "telemetry/close_reason.hpp"
#include "telemetry/connection_log.hpp"

namespace culvert::telemetry {

// "-" is a connection that did not fail.
inline constexpr std::array<std::string_view, 8> kResponseFlags = {
    "-", "DENY", "CONNECT", "TLS_FAILURE", "H2_HANDSHAKE_FAILURE", "NETWORK_POLICY", "IDENTITY_ERROR", "CERT_REVOKED"};
inline constexpr std::size_t kNoFlag = 0;

// The place in kResponseFlags. Only the agent that denies says so: the client's learns of it as a peer that does not connect.
[[nodiscard]] std::size_t response_flag_of(Direction direction, CloseReason reason) noexcept;

}  // namespace culvert::telemetry
