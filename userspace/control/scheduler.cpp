// SPDX-License-Identifier: Apache-2.0
#include "control/scheduler.hpp"

#include <utility>

#include <sys/random.h>

#include "base/clock.hpp"

namespace culvert::control {

std::int64_t ReactorScheduler::wall_ms() const { return static_cast<std::int64_t>(wall_us() / 1'000); }

Scheduler::TimerId ReactorScheduler::after_ms(std::uint64_t delay_ms, std::function<void()> callback) {
  return reactor_.after_ms(delay_ms, std::move(callback));
}

void ReactorScheduler::cancel(TimerId id) noexcept { reactor_.cancel(id); }

double ReactorScheduler::random() {
  std::uint32_t bits = 0;
  // Spreads load, keeps no secret: no entropy yet is answered with the middle.
  if (::getrandom(&bits, sizeof(bits), GRND_NONBLOCK) != static_cast<ssize_t>(sizeof(bits))) return 0.5;
  return static_cast<double>(bits) / 4'294'967'296.0;
}

}  // namespace culvert::control
