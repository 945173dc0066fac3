// SPDX-License-Identifier: Apache-2.0
// Tables of the close-reason list. Pure; any thread.
#include "telemetry/close_reason.hpp"

#include <array>

namespace culvert::telemetry {
namespace {

struct Names {
  std::string_view label;
  std::string_view flag;
  std::string_view text;
};

constexpr std::array<Names, kCloseReasons> kNames{{
#define CV_X(name, label, flag, text) {label, flag, text},
    CV_CLOSE_REASONS(CV_X)
#undef CV_X
}};

// A value outside the list can only come from a damaged object; it is shown, never read out of bounds.
constexpr Names kUnknown{"unknown", "-", "unknown reason"};

const Names& names(CloseReason reason) noexcept {
  const auto index = static_cast<std::size_t>(reason);
  return index < kNames.size() ? kNames[index] : kUnknown;
}

}  // namespace

std::string_view label(CloseReason reason) noexcept { return names(reason).label; }
std::string_view response_flag(CloseReason reason) noexcept { return names(reason).flag; }
std::string_view text(CloseReason reason) noexcept { return names(reason).text; }

}  // namespace culvert::telemetry
