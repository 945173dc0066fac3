// SPDX-License-Identifier: Apache-2.0
// Text of protocols: ASCII letters of either case, blanks around words, percent signs. No locale has a say.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace culvert {

[[nodiscard]] constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

[[nodiscard]] constexpr bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, {}, lower, lower);
}

inline void make_lower(std::string& text) noexcept { std::ranges::transform(text, text.begin(), lower); }

// Without the spaces and tabs at either end.
[[nodiscard]] constexpr std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// "%41" is "A" (RFC 3986 section 2.1). Nothing for a broken escape, and for %00.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text);

}  // namespace culvert
