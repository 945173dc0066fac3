// SPDX-License-Identifier: Apache-2.0
#include "telemetry/response_flag.hpp"

#include <algorithm>
#include <cstdint>

namespace culvert::telemetry {
namespace {

constexpr std::uint8_t place_of(std::string_view flag) {
  return static_cast<std::uint8_t>(std::ranges::find(kResponseFlags, flag) - kResponseFlags.begin());
}

constexpr std::array<std::uint8_t, kCloseReasons> kPlaces{
#define CV_X(name, label, flag, text) place_of(flag),
    CV_CLOSE_REASONS(CV_X)
#undef CV_X
};
static_assert(std::ranges::all_of(kPlaces, [](std::uint8_t place) { return place < kResponseFlags.size(); }),
              "a close reason has a flag that is not in kResponseFlags");

constexpr std::size_t kDeny = place_of("DENY");
constexpr std::size_t kConnect = place_of("CONNECT");

}  // namespace

std::size_t response_flag_of(Direction direction, CloseReason reason) noexcept {
  const auto index = static_cast<std::size_t>(reason);
  const std::size_t place = index < kPlaces.size() ? kPlaces[index] : kConnect;
  return direction == Direction::Outbound && place == kDeny ? kConnect : place;
}

}  // namespace culvert::telemetry
