// SPDX-License-Identifier: Apache-2.0
// TimerWheel: coarse deadlines for very many connections. Pure: it is told the time. Entries are never cancelled; the
// owner compares the fired token with the deadline that it holds now and schedules again when that moved.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace culvert {

class TimerWheel {
 public:
  static constexpr std::uint64_t kTickMs = 16;  // deadlines fire at most one tick late
  static constexpr std::size_t kSlots = 1024;   // later deadlines go round again

  explicit TimerWheel(std::uint64_t now_ms);

  // Constant time. `token` comes back from `advance` once, at or just after `deadline_ms`.
  void schedule(std::uint64_t token, std::uint64_t deadline_ms);
  // Moves time on to `now_ms` and appends the tokens that are due to `fired`.
  void advance(std::uint64_t now_ms, std::vector<std::uint64_t>& fired);
  // Milliseconds until the next tick whose slot has an entry; -1 when there is none. A deadline that is more than one round
  // (16 s) away makes that early; nothing fires then and the next call says more.
  [[nodiscard]] int next_timeout_ms(std::uint64_t now_ms) const;
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  struct Entry {
    std::uint64_t token;
    std::uint64_t deadline_ms;
  };
  void set_occupied(std::size_t slot, bool is_occupied) noexcept;

  std::vector<std::vector<Entry>> slots_;
  std::array<std::uint64_t, kSlots / 64>
      occupied_{};      // one bit a slot, so that finding the next one is 17 words at most
  std::uint64_t tick_;  // the first tick that has not fired
  std::size_t size_ = 0;
};

}  // namespace culvert
