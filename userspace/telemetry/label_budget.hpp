// SPDX-License-Identifier: Apache-2.0
// LabelBudget: how many different label sets the agent's workers count under, all together: a set that several of them have counts once. Any
// thread, without locks; asked when a worker meets a set for the first time and when it lets one go.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace culvert::telemetry {

class LabelBudget {
 public:
  explicit LabelBudget(std::uint32_t sets_max);

  // A worker begins to count under the set with this hash. False: there are `sets_max` others, or (far more seldom) no place to note it at.
  [[nodiscard]] bool take(std::uint64_t hash) noexcept;
  // It ends. Once for each `take` that said true.
  void give(std::uint64_t hash) noexcept;
  [[nodiscard]] std::uint32_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t sets_max() const noexcept { return sets_max_; }

 private:
  struct Free {
    void operator()(std::uint64_t* cells) const noexcept { std::free(cells); }
  };
  [[nodiscard]] std::atomic_ref<std::uint64_t> cell(std::uint64_t hash, std::size_t step) const noexcept;

  std::uint32_t sets_max_;
  std::size_t mask_;
  // A part of the hash and how many workers have it. A cell that nobody has any more may be taken for another hash; none becomes 0 again.
  std::unique_ptr<std::uint64_t, Free> cells_;  // zero pages until they are used
  std::atomic<std::uint32_t> used_{0};
};

}  // namespace culvert::telemetry
