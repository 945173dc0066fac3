// SPDX-License-Identifier: Apache-2.0
// TokenBucket: how often something may happen. Time is told by the caller; a clock that stands still only stops the refill.
#pragma once

#include <algorithm>
#include <cstdint>

#include "hbone/abuse_limits.hpp"

namespace culvert::hbone {

class TokenBucket {
 public:
  constexpr TokenBucket(BucketLimit limit, std::uint64_t now_ms) noexcept
      : millitokens_(std::uint64_t{limit.burst} * 1'000), last_ms_(now_ms), limit_(limit) {}

  // False: there are not that many.
  [[nodiscard]] bool take(std::uint64_t now_ms, std::uint64_t count = 1) noexcept {
    if (now_ms > last_ms_) {
      give_millitokens(std::min<std::uint64_t>(now_ms - last_ms_, kRefillMsMax) * limit_.per_second);
      last_ms_ = now_ms;
    }
    if (millitokens_ < count * 1'000) return false;
    millitokens_ -= count * 1'000;
    return true;
  }
  // Never above the burst.
  void give(std::uint64_t count) noexcept { give_millitokens(count * 1'000); }

 private:
  static constexpr std::uint64_t kRefillMsMax = 3'600'000;  // keeps the product small

  void give_millitokens(std::uint64_t more) noexcept {
    millitokens_ = std::min(millitokens_ + more, std::uint64_t{limit_.burst} * 1'000);
  }

  std::uint64_t millitokens_;
  std::uint64_t last_ms_;
  BucketLimit limit_;
};

}  // namespace culvert::hbone
