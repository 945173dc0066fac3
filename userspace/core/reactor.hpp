// SPDX-License-Identifier: Apache-2.0
// Reactor: the control thread's loop. Callbacks by descriptor, one-shot timers, signals by signalfd. Not for the data
// path: it allocates and calls through std::function.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

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
  void unwatch(int fd) noexcept;
  TimerId after_ms(std::uint64_t delay_ms, TimerCallback callback);
  void cancel(TimerId id) noexcept;
  // Runs until `stop`. One turn of the loop is `turn`, which waits up to `timeout_ms`.
  void run();
  void turn(int timeout_ms);
  void stop() noexcept { is_stopped_ = true; }

 private:
  explicit Reactor(Poller poller) : poller_(std::move(poller)) {}

  struct Watch {
    int fd;
    FdCallback callback;
  };
  Poller poller_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Watch>> watches_;  // by token
  std::unordered_map<int, std::uint64_t> tokens_;                      // by descriptor
  std::map<std::pair<std::uint64_t, TimerId>, TimerCallback> timers_;  // by {deadline_ms, id}
  std::uint64_t next_id_ = 1;
  bool is_stopped_ = false;
};

}  // namespace culvert
