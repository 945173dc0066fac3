// SPDX-License-Identifier: Apache-2.0
// NumberPool: places in an array, given out again after they became free.
#pragma once

#include <cstdint>
#include <vector>

namespace culvert::state {

class NumberPool {
 public:
  [[nodiscard]] std::uint32_t take() {
    if (free_.empty()) return end_++;
    const std::uint32_t number = free_.back();
    free_.pop_back();
    return number;
  }
  void give(std::uint32_t number) { free_.push_back(number); }
  // Above every number that was ever taken: the array needs as many places.
  [[nodiscard]] std::uint32_t end() const noexcept { return end_; }

 private:
  std::vector<std::uint32_t> free_;
  std::uint32_t end_ = 0;
};

}  // namespace culvert::state
