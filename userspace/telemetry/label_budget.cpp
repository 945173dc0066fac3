// SPDX-License-Identifier: Apache-2.0
#include "telemetry/label_budget.hpp"

#include <bit>

#include "base/assert.hpp"

namespace culvert::telemetry {
namespace {

constexpr std::uint64_t kHolders = 0xffff;  // the low bits; workers are fewer
constexpr std::size_t kProbes = 64;

constexpr std::uint64_t tag_of(std::uint64_t hash) noexcept { return (hash | 1ULL << 63U) & ~kHolders; }

}  // namespace

LabelBudget::LabelBudget(std::uint32_t sets_max)
    : sets_max_(sets_max),
      mask_(std::bit_ceil(std::size_t{4} * sets_max + kProbes) - 1),
      cells_(static_cast<std::uint64_t*>(std::calloc(mask_ + 1, sizeof(std::uint64_t)))) {
  CV_ASSERT(cells_ != nullptr);
}

std::atomic_ref<std::uint64_t> LabelBudget::cell(std::uint64_t hash, std::size_t step) const noexcept {
  return std::atomic_ref<std::uint64_t>(cells_.get()[(hash + step) & mask_]);
}

bool LabelBudget::take(std::uint64_t hash) noexcept {
  const std::uint64_t tag = tag_of(hash);
  for (std::size_t step = 0; step < kProbes; ++step) {
    const auto place = cell(hash, step);
    std::uint64_t seen = place.load(std::memory_order_relaxed);
    if (seen == 0) break;  // nothing was ever put behind it
    while ((seen & ~kHolders) == tag && (seen & kHolders) != 0) {
      if (place.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) return true;
    }
  }
  if (used_.fetch_add(1, std::memory_order_relaxed) < sets_max_) {
    for (std::size_t step = 0; step < kProbes; ++step) {
      const auto place = cell(hash, step);
      std::uint64_t seen = place.load(std::memory_order_relaxed);
      while ((seen & kHolders) == 0) {
        if (place.compare_exchange_weak(seen, tag | 1, std::memory_order_relaxed)) return true;
      }
    }
  }
  used_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

// Two workers that met a set at the same moment may have noted it twice; each note goes with its own last holder.
void LabelBudget::give(std::uint64_t hash) noexcept {
  const std::uint64_t tag = tag_of(hash);
  for (std::size_t step = 0; step < kProbes; ++step) {
    const auto place = cell(hash, step);
    std::uint64_t seen = place.load(std::memory_order_relaxed);
    while ((seen & ~kHolders) == tag && (seen & kHolders) != 0) {
      if (!place.compare_exchange_weak(seen, seen - 1, std::memory_order_relaxed)) continue;
      if ((seen & kHolders) == 1) used_.fetch_sub(1, std::memory_order_relaxed);
      return;
    }
  }
}

}  // namespace culvert::telemetry
