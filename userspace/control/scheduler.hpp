// SPDX-License-Identifier: Apache-2.0
// Time and chance as the control thread's state machines see them, so that tests can play both. Control thread only.
#pragma once

#include <cstdint>
#include <functional>

#include "core/reactor.hpp"

namespace culvert::control {

class Scheduler {
 public:
  using TimerId = std::uint64_t;

  virtual ~Scheduler() = default;
  // Wall clock, milliseconds since the Unix epoch. It may jump.
  [[nodiscard]] virtual std::int64_t wall_ms() const = 0;
  // One-shot, after that much monotonic time.
  virtual TimerId after_ms(std::uint64_t delay_ms, std::function<void()> callback) = 0;
  virtual void cancel(TimerId id) noexcept = 0;
  // Uniform in [0, 1).
  [[nodiscard]] virtual double random() = 0;
};

// `reactor` outlives the scheduler.
class ReactorScheduler final : public Scheduler {
 public:
  explicit ReactorScheduler(Reactor& reactor) : reactor_(reactor) {}

  [[nodiscard]] std::int64_t wall_ms() const override;
  TimerId after_ms(std::uint64_t delay_ms, std::function<void()> callback) override;
  void cancel(TimerId id) noexcept override;
  [[nodiscard]] double random() override;

 private:
  Reactor& reactor_;
};

}  // namespace culvert::control
