// SPDX-License-Identifier: Apache-2.0
// Revocations: live tunnels whose peer's certificates were taken back end, with everything that they carry, some in each turn of the loop.
// New ones are refused by their handshakes. One worker, one thread.
#pragma once

#include <cstddef>

#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Revocations {
 public:
  // Places of the table of tunnels that one turn looks at, and tunnels that it closes.
  static constexpr std::size_t kPlacesPerTurn = 1'024;
  static constexpr std::size_t kClosesPerTurn = 64;

  explicit Revocations(WorkerState& state) noexcept : state_(state) {}

  // The lists have changed: every tunnel is looked at again.
  void begin() noexcept;
  // Once per turn of the loop.
  void run();
  [[nodiscard]] bool has_more() const noexcept { return place_ < stop_; }

 private:
  WorkerState& state_;
  std::size_t place_ = 0;
  std::size_t stop_ = 0;
  std::size_t closed_ = 0;  // in this round
};

}  // namespace culvert::proxy
