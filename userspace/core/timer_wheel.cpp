// SPDX-License-Identifier: Apache-2.0
#include "core/timer_wheel.hpp"

#include <algorithm>
#include <bit>
#include <climits>

namespace culvert {
namespace {

// A slot gives memory beyond this back when it is empty again.
constexpr std::size_t kKeptEntriesMax = 64;

// The first tick at or after a deadline.
constexpr std::uint64_t tick_of(std::uint64_t deadline_ms) noexcept {
  return deadline_ms / TimerWheel::kTickMs + (deadline_ms % TimerWheel::kTickMs == 0 ? 0 : 1);
}

}  // namespace

TimerWheel::TimerWheel(std::uint64_t now_ms) : slots_(kSlots), tick_(now_ms / kTickMs) {}

void TimerWheel::set_occupied(std::size_t slot, bool is_occupied) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64U);
  if (is_occupied) {
    occupied_[slot / 64] |= bit;
  } else {
    occupied_[slot / 64] &= ~bit;
  }
}

void TimerWheel::schedule(std::uint64_t token, std::uint64_t deadline_ms) {
  const std::size_t slot = std::max(tick_of(deadline_ms), tick_) % kSlots;
  slots_[slot].push_back({token, deadline_ms});
  set_occupied(slot, true);
  ++size_;
}

void TimerWheel::advance(std::uint64_t now_ms, std::vector<std::uint64_t>& fired) {
  const std::uint64_t last = now_ms / kTickMs;
  if (last < tick_) return;
  const std::uint64_t count = std::min<std::uint64_t>(last - tick_ + 1, kSlots);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t slot = (tick_ + i) % kSlots;
    std::vector<Entry>& entries = slots_[slot];
    if (entries.empty()) continue;
    std::size_t kept = 0;
    for (const Entry& entry : entries) {
      if (tick_of(entry.deadline_ms) <= last) {
        fired.push_back(entry.token);
      } else {
        entries[kept++] = entry;
      }
    }
    size_ -= entries.size() - kept;
    entries.resize(kept);
    if (kept != 0) continue;
    set_occupied(slot, false);
    if (entries.capacity() > kKeptEntriesMax) std::vector<Entry>().swap(entries);
  }
  tick_ = last + 1;
}

int TimerWheel::next_timeout_ms(std::uint64_t now_ms) const {
  if (size_ == 0) return -1;
  const std::size_t first = tick_ % kSlots;
  // The word of `first` comes twice: first its upper bits, at the end the lower ones that are a round away.
  for (std::size_t i = 0; i <= occupied_.size(); ++i) {
    const std::size_t index = (first / 64 + i) % occupied_.size();
    const std::uint64_t from_first = ~std::uint64_t{0} << (first % 64U);
    std::uint64_t word = occupied_[index];
    if (i == 0) word &= from_first;
    if (i == occupied_.size()) word &= ~from_first;
    if (word == 0) continue;
    const std::size_t slot = index * 64 + static_cast<std::size_t>(std::countr_zero(word));
    const std::uint64_t at_ms = (tick_ + (slot + kSlots - first) % kSlots) * kTickMs;
    return at_ms > now_ms ? static_cast<int>(std::min<std::uint64_t>(at_ms - now_ms, INT_MAX)) : 0;
  }
  return -1;
}

}  // namespace culvert
