// SPDX-License-Identifier: Apache-2.0
// Deadline: one deadline of a flow or a tunnel, in a wheel whose entries cannot be taken out. Deadlines move all the time (a tunnel is used
// again a thousand times a second, an answer is held back for 16 ms), so the nearest two entries are remembered and used again.
// Pure.
#pragma once

#include <cstdint>

#include "core/timer_wheel.hpp"

namespace culvert::proxy {

class Deadline {
 public:
  // `when_ms` 0: none. `token` comes back from the wheel, and then `fired` is asked.
  void move(TimerWheel& wheel, std::uint64_t token, std::uint64_t when_ms) {
    when_ms_ = when_ms;
    if (when_ms_ == 0 || (entry_ms_ != 0 && entry_ms_ <= when_ms_)) return;
    later_entry_ms_ = entry_ms_;
    entry_ms_ = when_ms_;
    wheel.schedule(token, entry_ms_);
  }
  [[nodiscard]] bool is_ahead(std::uint64_t now_ms) const noexcept { return when_ms_ > now_ms; }
  // An entry of this object came out of the wheel: has its time come? Puts another one in where that is needed.
  [[nodiscard]] bool fired(TimerWheel& wheel, std::uint64_t token, std::uint64_t now_ms) {
    if (entry_ms_ == 0 || entry_ms_ > now_ms) return false;  // one that is not counted on any more
    entry_ms_ = later_entry_ms_ > now_ms ? later_entry_ms_ : 0;
    later_entry_ms_ = 0;
    if (when_ms_ != 0 && when_ms_ <= now_ms) return true;
    move(wheel, token, when_ms_);
    return false;
  }
  [[nodiscard]] std::uint64_t when_ms() const noexcept { return when_ms_; }

 private:
  std::uint64_t when_ms_ = 0;
  std::uint64_t entry_ms_ = 0;        // the next entry in the wheel; 0: there is none
  std::uint64_t later_entry_ms_ = 0;  // one behind it that is still there; 0: none
};

}  // namespace culvert::proxy
