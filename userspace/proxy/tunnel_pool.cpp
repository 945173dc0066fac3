// SPDX-License-Identifier: Apache-2.0
#include "proxy/tunnel_pool.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace culvert::proxy {

std::uint32_t TunnelPool::open(const PoolKey& key) {
  if (const auto place = numbers_.find(key); place != numbers_.end()) return place->second;
  std::uint32_t number = 0;
  if (free_.empty()) {
    number = static_cast<std::uint32_t>(entries_.size());
    entries_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  entries_[number] = Entry{};
  entries_[number].key = key;
  entries_[number].is_used = true;
  numbers_.emplace(key, number);
  return number;
}

void TunnelPool::drop(std::uint32_t number) noexcept {
  Entry& entry = entries_[number];
  CV_ASSERT(entry.holders > 0);
  if (--entry.holders > 0) return;
  CV_ASSERT(entry.idle.empty() && entry.shared.empty() && entry.waiting.empty() && entry.making == 0 &&
            entry.direct == 0);
  numbers_.erase(entry.key);
  entry.is_used = false;
  free_.push_back(number);
}

std::optional<SlabHandle> TunnelPool::take_idle(std::uint32_t number) {
  Entry& entry = entries_[number];
  if (entry.idle.empty()) return std::nullopt;
  const SlabHandle tunnel = entry.idle.back();
  entry.idle.pop_back();
  --idle_total_;
  return tunnel;
}

bool TunnelPool::give_idle(std::uint32_t number, SlabHandle tunnel) {
  Entry& entry = entries_[number];
  if (entry.idle.size() >= idle_max_) return false;
  entry.idle.push_back(tunnel);
  ++idle_total_;
  return true;
}

void TunnelPool::forget_idle(std::uint32_t number, SlabHandle tunnel) {
  idle_total_ -= std::erase(entries_[number].idle, tunnel);
}

std::optional<SlabHandle> TunnelPool::dequeue(std::uint32_t number) {
  Entry& entry = entries_[number];
  if (entry.waiting.empty()) return std::nullopt;
  const SlabHandle flow = entry.waiting.front();
  entry.waiting.pop_front();
  return flow;
}

void TunnelPool::leave_queue(std::uint32_t number, SlabHandle flow) { std::erase(entries_[number].waiting, flow); }

void TunnelPool::making(std::uint32_t number, int change) noexcept {
  entries_[number].making = static_cast<std::uint32_t>(static_cast<int>(entries_[number].making) + change);
  if (change < 0 && ++entries_[number].made >= 4 * kColdHandshakes) entries_[number].is_warm = true;
  making_total_ = static_cast<std::size_t>(static_cast<std::ptrdiff_t>(making_total_) + change);
}

std::optional<std::uint32_t> TunnelPool::next_wanting(std::size_t at_once_max) {
  for (std::size_t step = 0; step < entries_.size(); ++step) {
    cursor_ = static_cast<std::uint32_t>((cursor_ + 1U) % entries_.size());
    if (!entries_[cursor_].is_used) continue;
    if (wants_more(cursor_) && may_make(cursor_, at_once_max)) return cursor_;
    if (wants_overflow(cursor_) && making_total_ < at_once_max) return cursor_;
  }
  return std::nullopt;
}

}  // namespace culvert::proxy
