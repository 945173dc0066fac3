// SPDX-License-Identifier: Apache-2.0
// Quantities as text; see units.hpp.
#include "ctl/units.hpp"

#include <array>
#include <ctime>

#include <fmt/format.h>

namespace culvert::ctl {

std::string human_bytes(std::uint64_t bytes) {
  constexpr std::array kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1'000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1'024;
  std::size_t unit = 0;
  // 999.95 would be written as 1000.0.
  while (value >= 999.95 && unit + 1 < kUnits.size()) {
    value /= 1'024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_duration(std::uint64_t milliseconds) {
  if (milliseconds < 1'000) return fmt::format("{}ms", milliseconds);
  const std::uint64_t seconds = milliseconds / 1'000;
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3'600) return fmt::format("{}m{}s", seconds / 60, seconds % 60);
  if (seconds < 86'400) return fmt::format("{}h{}m", seconds / 3'600, seconds / 60 % 60);
  return fmt::format("{}d{}h", seconds / 86'400, seconds / 3'600 % 24);
}

std::string human_time(std::int64_t unix_seconds) {
  const std::time_t seconds = unix_seconds;
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return std::to_string(unix_seconds);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z", parts.tm_year + 1'900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace culvert::ctl
