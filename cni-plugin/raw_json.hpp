// SPDX-License-Identifier: Apache-2.0
// The text of one member of a JSON object as it stands in the document. Parsing and printing would reorder keys and rewrite
// numbers, and what the plugins before us said must reach the runtime as they said it. Pure.
#pragma once

#include <optional>
#include <string_view>

namespace culvert::cni_plugin {

// `document` is valid JSON (a parser has accepted it). Of members that occur twice the last counts, as for the parser.
[[nodiscard]] std::optional<std::string_view> raw_member(std::string_view document, std::string_view key);

}  // namespace culvert::cni_plugin
