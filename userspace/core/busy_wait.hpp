// SPDX-License-Identifier: Apache-2.0
// BusyWait: a poller's wait that looks again for a while before it lets its thread sleep, as long as that pays. To fall asleep and
// to be woken on another CPU costs some microseconds on each side, more in a virtual machine, whose CPU stops and has to be started;
// two programs that wait for each other pay it at every turn. Used by one thread.
#pragma once

#include <cstdint>
#include <span>

#include "core/poller.hpp"

namespace culvert {

// When to look and when to sleep. Pure: times come in, in nanoseconds of one monotonic clock.
class BusyWaitPolicy {
 public:
  // Looking begins after so many waits in a row that were short enough, when the budget is full.
  static constexpr unsigned kStreak = 32;
  // What is looked in vain is taken from a budget of at most so many windows. It fills with this part of the time that passes and with
  // that part of the looks that were not in vain; where it is used up, looking ends. So of a CPU at most 1/40 is looked in vain, and
  // beyond that a quarter of what was of use.
  static constexpr std::uint64_t kBudgetWindows = 5;
  static constexpr std::uint64_t kTimePart = 40;
  static constexpr std::uint64_t kUsePart = 4;
  // A look that comes back so late shows that somebody else wants the CPU: looking stays off for a second, for longer when it happens
  // again soon.
  static constexpr std::uint64_t kAwayNs = 200'000;
  static constexpr std::uint64_t kAwayPauseMinNs = 1'000'000'000;
  static constexpr std::uint64_t kAwayPauseMaxNs = 4'000'000'000;

  explicit BusyWaitPolicy(std::uint64_t window_ns) noexcept { set_window_ns(window_ns); }

  // The longest look; 0: never look.
  void set_window_ns(std::uint64_t window_ns) noexcept;
  [[nodiscard]] std::uint64_t window_ns() const noexcept { return window_ns_; }
  [[nodiscard]] bool is_looking() const noexcept { return is_looking_; }

  // A wait of `waited_ns` ended at `now_ns`; its first `looked_ns` were a look (0: none), in vain when the wait went on. Asleep a wait
  // is short up to twice the window, because waking up is in it.
  void waited(std::uint64_t waited_ns, std::uint64_t looked_ns, std::uint64_t now_ns) noexcept;
  // One turn of a look took this long. Below kAwayNs that says nothing.
  void turned(std::uint64_t turn_ns, std::uint64_t now_ns) noexcept;

 private:
  [[nodiscard]] std::int64_t full_ns() const noexcept { return static_cast<std::int64_t>(kBudgetWindows * window_ns_); }
  void fill(std::uint64_t now_ns) noexcept;
  void earn(std::uint64_t ns) noexcept;

  std::uint64_t window_ns_ = 0;
  std::int64_t budget_ns_ = 0;   // below 0 by what is left of the last look
  std::uint64_t filled_ns_ = 0;  // the clock at the last filling
  std::uint64_t paused_until_ns_ = 0;
  std::uint64_t away_pause_ns_ = 0;
  unsigned streak_ = 0;
  bool is_looking_ = false;
};

class BusyWait {
 public:
  explicit BusyWait(std::uint64_t window_ns) noexcept : policy_(window_ns) {}

  void set_window_ns(std::uint64_t window_ns) noexcept { policy_.set_window_ns(window_ns); }
  // To be called in turn, with the same arguments: events that came while it looked, if it looked; and then, where there were none,
  // those of Poller::wait. Apart, so that the caller can tell looked_ns() to others before it sleeps.
  [[nodiscard]] std::span<epoll_event> look(Poller& poller, std::span<epoll_event> space, int timeout_ms) noexcept;
  [[nodiscard]] std::span<epoll_event> sleep(Poller& poller, std::span<epoll_event> space, int timeout_ms) noexcept;
  // Nanoseconds spent with looks so far, without those for which others had the CPU.
  [[nodiscard]] std::uint64_t looked_ns() const noexcept { return looked_total_ns_; }

 private:
  BusyWaitPolicy policy_;
  std::uint64_t began_ns_ = 0;   // of this wait
  std::uint64_t looked_ns_ = 0;  // in it
  std::uint64_t looked_total_ns_ = 0;
};

}  // namespace culvert
