// SPDX-License-Identifier: Apache-2.0
// FastRandom: endpoint choice whose own cost does not count; the same sequence each time.
#pragma once

#include <cstdint>

#include "state/route.hpp"

namespace culvert::bench {

class FastRandom final : public state::RouteRandom {
 public:
  [[nodiscard]] std::uint32_t below(std::uint32_t bound) override {
    state_ = state_ * 6'364'136'223'846'793'005ULL + 1;
    return static_cast<std::uint32_t>(((state_ >> 32U) * bound) >> 32U);
  }

 private:
  std::uint64_t state_ = 1;
};

}  // namespace culvert::bench
