// SPDX-License-Identifier: Apache-2.0
// The keys below `tracing`, and how their values are read, which environment_tracing.cpp shares. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "control/config_fields.hpp"
#include "control/tracing_config.hpp"

namespace culvert::control {

inline constexpr std::uint32_t kQueuedSpansMax = 1'000'000;
inline constexpr std::uint64_t kExportIntervalMsMin = 100;
inline constexpr std::uint64_t kExportIntervalMsMax = 60'000;
inline constexpr std::uint64_t kExportTimeoutMsMin = 100;
inline constexpr std::uint64_t kExportTimeoutMsMax = 60'000;

void visit_tracing(FieldVisitor& visitor, TracingConfig& tracing);

// "https://HOST[:PORT]", "http://HOST[:PORT]", or HOST[:PORT], which is TLS unless `is_plaintext`; the port is 4317 when not given. As
// TracingConfig::endpoint has it.
[[nodiscard]] Result<std::string> parse_collector(std::string_view text, bool is_plaintext = false);
// A number from 0 to `all`, with the digits behind its point that a share of telemetry::kSamplingAll can have.
[[nodiscard]] Result<std::uint32_t> parse_share(std::string_view text, std::uint32_t all);

}  // namespace culvert::control
