// SPDX-License-Identifier: Apache-2.0
#include "core/busy_wait.hpp"

#include <algorithm>

#include <sched.h>

#include "base/clock.hpp"

namespace culvert {
namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;

std::uint64_t ns_of(int timeout_ms) noexcept {
  return timeout_ms < 0 ? UINT64_MAX : static_cast<std::uint64_t>(timeout_ms) * kNsPerMs;
}

}  // namespace

void BusyWaitPolicy::set_window_ns(std::uint64_t window_ns) noexcept {
  if (window_ns == window_ns_) return;
  window_ns_ = window_ns;
  budget_ns_ = full_ns();
  is_looking_ = false;
  streak_ = 0;
}

void BusyWaitPolicy::waited(std::uint64_t waited_ns, std::uint64_t looked_ns, std::uint64_t now_ns) noexcept {
  if (window_ns_ == 0) return;
  fill(now_ns);
  if (looked_ns != 0 && looked_ns < waited_ns) {
    budget_ns_ -= static_cast<std::int64_t>(looked_ns);
    if (budget_ns_ <= 0) is_looking_ = false;
  } else {
    earn(looked_ns / kUsePart);
  }
  if (is_looking_) return;
  streak_ = looked_ns == 0 && waited_ns <= 2 * window_ns_ ? streak_ + 1 : 0;
  if (streak_ < kStreak || now_ns < paused_until_ns_ || budget_ns_ < full_ns()) return;
  is_looking_ = true;
  streak_ = 0;
}

void BusyWaitPolicy::turned(std::uint64_t turn_ns, std::uint64_t now_ns) noexcept {
  if (turn_ns < kAwayNs) return;
  const bool is_soon = now_ns < paused_until_ns_ + away_pause_ns_;
  away_pause_ns_ = is_soon ? std::min(2 * away_pause_ns_, kAwayPauseMaxNs) : kAwayPauseMinNs;
  paused_until_ns_ = now_ns + away_pause_ns_;
  is_looking_ = false;
  streak_ = 0;
}

void BusyWaitPolicy::fill(std::uint64_t now_ns) noexcept {
  earn((now_ns - std::min(filled_ns_, now_ns)) / kTimePart);
  filled_ns_ = now_ns;
}

void BusyWaitPolicy::earn(std::uint64_t ns) noexcept {
  const std::int64_t room_ns = full_ns() - budget_ns_;
  budget_ns_ += ns < static_cast<std::uint64_t>(room_ns) ? static_cast<std::int64_t>(ns) : room_ns;
}

std::span<epoll_event> BusyWait::look(Poller& poller, std::span<epoll_event> space, int timeout_ms) noexcept {
  looked_ns_ = 0;
  if (timeout_ms == 0 || policy_.window_ns() == 0) return {};
  began_ns_ = monotonic_ns();
  if (!policy_.is_looking()) return {};
  const std::uint64_t longest_ns = std::min(ns_of(timeout_ms), policy_.window_ns());
  std::span<epoll_event> events;
  for (std::uint64_t now_ns = began_ns_; events.empty() && policy_.is_looking() && now_ns < began_ns_ + longest_ns;) {
    events = poller.wait(space, 0);
    // Lets whoever waits for this CPU in: the one for whose answer this is a look, more often than not.
    if (events.empty()) ::sched_yield();
    const std::uint64_t turn_ns = monotonic_ns() - now_ns;
    now_ns += turn_ns;
    looked_ns_ = std::max<std::uint64_t>(now_ns - began_ns_, 1);
    if (turn_ns < BusyWaitPolicy::kAwayNs) looked_total_ns_ += turn_ns;
    if (events.empty()) policy_.turned(turn_ns, now_ns);
  }
  if (!events.empty()) policy_.waited(looked_ns_, looked_ns_, began_ns_ + looked_ns_);
  return events;
}

std::span<epoll_event> BusyWait::sleep(Poller& poller, std::span<epoll_event> space, int timeout_ms) noexcept {
  const bool is_counted = timeout_ms != 0 && policy_.window_ns() != 0;
  if (timeout_ms > 0) {
    const std::uint64_t left_ns = ns_of(timeout_ms) - std::min(ns_of(timeout_ms), looked_ns_);
    timeout_ms = static_cast<int>((left_ns + kNsPerMs - 1) / kNsPerMs);
  }
  const std::span<epoll_event> events = poller.wait(space, timeout_ms);
  if (!is_counted) return events;
  const std::uint64_t now_ns = monotonic_ns();
  // Without an event it says nothing of how soon events come, but what was looked was looked in vain.
  if (!events.empty() || looked_ns_ != 0) policy_.waited(now_ns - began_ns_, looked_ns_, now_ns);
  return events;
}

}  // namespace culvert
