// SPDX-License-Identifier: Apache-2.0
// Reactor: the control thread's loop. Callbacks by descriptor, one-shot timers, signals by signalfd. Not for the data
// path: it allocates and calls through std::function. One thread; a turn serves descriptors first, then due timers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/result.hpp"
#include "core/poller.hpp"

namespace culvert {

class Reactor {
 public:
  using FdCallback = std::function<void(std::uint32_t events)>;
  using TimerCallback = std::function<void()>;
  using TimerId = std::uint64_t;

  [[nodiscard]] static Result<std::unique_ptr<Reactor>> create();

  // `fd` stays the caller's and must be removed before it is closed. A callback may add and remove any descriptor,
  // its own included.
  [[nodiscard]] Result<void> watch(int fd, std::uint32_t events, FdCallback callback);
  // Other events for a watched descriptor, same callback.
  [[nodiscard]] Result<void> modify(int fd, std::uint32_t events);
  // Afterwards the callback is not called again, not even for an event that this turn has already fetched. Unknown: nothing.
  void unwatch(int fd) noexcept;
  // A timer made by a timer's callback runs in a later turn at the earliest, so that no callback starves the loop.
  TimerId after_ms(std::uint64_t delay_ms, TimerCallback callback);
  // Fired or unknown: nothing.
  void cancel(TimerId id) noexcept;
  // Runs until `stop`; a `stop` before `run` makes it return at once. One turn of the loop is `turn`, which waits up to `timeout_ms`.
  void run();
  void turn(int timeout_ms);
  void stop() noexcept { is_stopped_ = true; }

 private:
  explicit Reactor(Poller poller) : poller_(std::move(poller)) {}

  [[nodiscard]] int wait_ms(int timeout_ms) const;
  void run_due_timers();

  struct Watch {
    int fd;
    FdCallback callback;
  };
  Poller poller_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Watch>> watches_;  // by token
  std::unordered_map<int, std::uint64_t> tokens_;                      // by descriptor
  std::map<std::pair<std::uint64_t, TimerId>, TimerCallback> timers_;  // by {deadline_ms, id}
  std::unordered_map<TimerId, std::uint64_t> deadlines_;               // of every timer in timers_
  std::uint64_t next_id_ = 1;
  bool is_stopped_ = false;
};

}  // namespace culvert
