// SPDX-License-Identifier: Apache-2.0
// A Scheduler whose clock the test moves.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "control/scheduler.hpp"

namespace culvert::control {

class FakeScheduler final : public Scheduler {
 public:
  static constexpr std::int64_t kStartMs = 1'700'000'000'000;

  std::int64_t wall_ms() const override { return wall_ms_; }
  TimerId after_ms(std::uint64_t delay_ms, std::function<void()> callback) override {
    timers_.emplace(next_id_, Timer{mono_ms_ + static_cast<std::int64_t>(delay_ms), std::move(callback)});
    return next_id_++;
  }
  void cancel(TimerId id) noexcept override { timers_.erase(id); }
  double random() override { return random_value; }

  // Time passes; timers fire in their order, each at its moment.
  void advance(std::int64_t ms) {
    const std::int64_t end_ms = mono_ms_ + ms;
    while (true) {
      auto next = timers_.end();
      for (auto timer = timers_.begin(); timer != timers_.end(); ++timer) {
        if (timer->second.at_ms <= end_ms && (next == timers_.end() || timer->second.at_ms < next->second.at_ms))
          next = timer;
      }
      if (next == timers_.end()) break;
      pass(next->second.at_ms - mono_ms_);
      const std::function<void()> callback = std::move(next->second.callback);
      timers_.erase(next);
      callback();
    }
    pass(end_ms - mono_ms_);
  }
  // Somebody sets the clock.
  void jump_wall(std::int64_t ms) { wall_ms_ += ms; }
  [[nodiscard]] std::size_t timers() const { return timers_.size(); }

  double random_value = 0.5;

 private:
  struct Timer {
    std::int64_t at_ms;
    std::function<void()> callback;
  };
  void pass(std::int64_t ms) {
    mono_ms_ += ms;
    wall_ms_ += ms;
  }
  std::int64_t mono_ms_ = 0;
  std::int64_t wall_ms_ = kStartMs;
  TimerId next_id_ = 1;
  std::map<TimerId, Timer> timers_;
};

}  // namespace culvert::control
