// SPDX-License-Identifier: Apache-2.0
// How the variables of environment.hpp are read, kind by kind. For the files of that module only. Pure.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/text.hpp"
#include "control/environment.hpp"

namespace culvert::control {

// Reads variables one by one; remembers the first that is wrong.
class EnvironmentReader {
 public:
  explicit EnvironmentReader(const Environment& environment) : environment_(environment) {}

  [[nodiscard]] const std::string* find(std::string_view name) const {
    const auto found = environment_.find(name);
    return found == environment_.end() ? nullptr : &found->second;
  }
  void text(std::string_view name, std::string& target) const {
    if (const std::string* value = find(name); value != nullptr) target = *value;
  }
  void text_unless_empty(std::string_view name, std::string& target) const {
    if (const std::string* value = find(name); value != nullptr && !value->empty()) target = *value;
  }
  template <typename Number>
  void number(std::string_view name, Number& target, std::uint64_t min, std::uint64_t max) {
    const std::string* value = find(name);
    if (value == nullptr) return;
    std::uint64_t parsed = 0;
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), parsed);
    if (error != std::errc() || end != value->data() + value->size() || parsed < min || parsed > max) {
      return wrong(name, *value, fmt::format("a number from {} to {} is wanted", min, max));
    }
    target = static_cast<Number>(parsed);
  }
  [[nodiscard]] std::optional<bool> boolean(std::string_view name) {
    const std::string* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (*value == "true") return true;
    if (*value == "false") return false;
    wrong(name, *value, "true or false is wanted");
    return std::nullopt;
  }
  // OpenTelemetry's: in any case of letters.
  [[nodiscard]] std::optional<bool> boolean_in_any_case(std::string_view name) {
    const std::string* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (equals_ignoring_case(*value, "true")) return true;
    if (equals_ignoring_case(*value, "false")) return false;
    wrong(name, *value, "true or false is wanted");
    return std::nullopt;
  }
  void duration(std::string_view name, std::uint64_t& target_ms) {
    const std::string* value = find(name);
    if (value == nullptr) return;
    if (const auto parsed = parse_environment_duration_ms(*value); parsed) {
      target_ms = *parsed;
    } else {
      wrong(name, *value, parsed.error().message());
    }
  }
  void wrong(std::string_view name, std::string_view value, std::string_view why) {
    if (error_.empty()) error_ = fmt::format("invalid env var {}={} ({})", name, value, why);
  }
  // Variables whose names begin so, with the rest of the name.
  [[nodiscard]] HeaderList prefixed(std::string_view prefix) const {
    HeaderList list;
    for (auto at = environment_.lower_bound(prefix); at != environment_.end() && at->first.starts_with(prefix); ++at) {
      if (at->first.size() > prefix.size()) list.emplace_back(at->first.substr(prefix.size()), at->second);
    }
    return list;
  }
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

 private:
  const Environment& environment_;
  std::string error_;
};

}  // namespace culvert::control
