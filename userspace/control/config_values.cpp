// SPDX-License-Identifier: Apache-2.0
// Numbers with units, and the helpers that make an error message readable. Pure.
#include "control/config_values.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>

namespace culvert::control {
namespace {

struct Unit {
  std::string_view suffix;
  std::uint64_t factor;
};
// Largest first: formatting takes the first that divides.
constexpr std::array<Unit, 4> kDurations = {{{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr std::array<Unit, 4> kSizes = {{{"GiB", 1ULL << 30U}, {"MiB", 1ULL << 20U}, {"KiB", 1ULL << 10U}, {"B", 1}}};

Result<std::uint64_t> parse_with_unit(std::string_view text, std::span<const Unit> units, std::string_view remedy) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc()) {
    const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
    for (const Unit& unit : units) {
      if (suffix != unit.suffix && !(number == 0 && suffix.empty())) continue;
      if (number > std::numeric_limits<std::uint64_t>::max() / unit.factor) break;
      return number * unit.factor;
    }
  }
  return fail(ErrorCode::InvalidArgument, "{} is not {}", quoted(text), remedy);
}

std::string format_with_unit(std::uint64_t value, std::span<const Unit> units) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.suffix);
  }
  return "0";
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace

Result<std::uint64_t> parse_duration_ms(std::string_view text) {
  return parse_with_unit(text, kDurations, "a duration; write a whole number and one of ms, s, m, h, such as 30s");
}

std::string format_duration_ms(std::uint64_t value_ms) { return format_with_unit(value_ms, kDurations); }

Result<std::uint64_t> parse_size_bytes(std::string_view text) {
  return parse_with_unit(text, kSizes, "a size; write a whole number and one of B, KiB, MiB, GiB, such as 64MiB");
}

std::string format_size_bytes(std::uint64_t bytes) { return format_with_unit(bytes, kSizes); }

Result<std::uint64_t> parse_integer(std::string_view text) {
  const bool is_hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = is_hex ? text.substr(2) : text;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, is_hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return fail(ErrorCode::InvalidArgument, "{} is not a whole number", quoted(text));
  }
  return number;
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kShown = 80;
  std::string out = "\"";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '"' || c == '\\') {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + (text.size() > kShown ? "...\"" : "\"");
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  constexpr std::size_t kWordMax = 64;  // the distance costs the product of the lengths
  if (word.size() > kWordMax) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

Result<std::size_t> find_word(std::string_view text, const std::vector<std::string>& words) {
  const auto found = std::ranges::find(words, text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  return fail(ErrorCode::InvalidArgument, "{} is not known; write {}", quoted(text), fmt::join(words, " or "));
}

}  // namespace culvert::control
