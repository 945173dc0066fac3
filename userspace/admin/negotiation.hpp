// SPDX-License-Identifier: Apache-2.0
// What a scrape is answered with, by its Accept and Accept-Encoding (RFC 9110 sections 12.4.2, 12.5.1, 12.5.3). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "telemetry/exposition.hpp"

namespace culvert::admin {

// OpenMetrics where `accept` has it, with whatever weight but 0.
[[nodiscard]] telemetry::ExpositionFormat exposition_format(std::string_view accept) noexcept;

enum class ContentCoding : std::uint8_t { Identity, Gzip, Deflate };
[[nodiscard]] std::string_view to_string(ContentCoding coding) noexcept;  // "identity", "gzip", "deflate"

// The one of the greatest weight among those that are named; nothing is compressed for whoever does not ask. Null: the client refuses all that
// there are.
[[nodiscard]] std::optional<ContentCoding> content_coding(std::string_view accept_encoding) noexcept;

}  // namespace culvert::admin
