// SPDX-License-Identifier: Apache-2.0
// XdsBackoff: how long to wait before the next stream of discovery is opened: 10 ms at first, doubled with each failure up to 15 s, and from the beginning
// after a stream that has lived. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>

namespace culvert::control {

// Why a stream ended.
enum class XdsEnd : std::uint8_t { ConnectionError, Error, Reconnect, Complete };
inline constexpr std::size_t kXdsEnds = 4;
[[nodiscard]] std::string_view to_string(XdsEnd end) noexcept;  // as Istio's metric label

class XdsBackoff {
 public:
  static constexpr std::uint64_t kMsMin = 10;
  static constexpr std::uint64_t kMsMax = 15'000;

  // After a stream that ended so. One that ended before it had lived counts as a failure, however orderly.
  [[nodiscard]] std::uint64_t next_ms(XdsEnd end, bool has_lived) noexcept {
    if (has_lived) pause_ms_ = kMsMin;
    // The other side was restarted: it is followed at once, or almost.
    if (has_lived && end == XdsEnd::Complete) return 1;
    if (has_lived && end == XdsEnd::Reconnect) return pause_ms_;
    return std::exchange(pause_ms_, std::min(pause_ms_ * 2, kMsMax));
  }

 private:
  std::uint64_t pause_ms_ = kMsMin;
};

}  // namespace culvert::control
