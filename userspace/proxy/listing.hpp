// SPDX-License-Identifier: Apache-2.0
// Listing: rows of the live connections for people, some in each turn of the loop, so that no connection waits for all of them to be written down.
// Each row is as of its own moment: a connection that ends before its turn is left out, one that begins behind it may be. One worker.
#pragma once

#include <cstddef>
#include <deque>

#include "proxy/messages.hpp"
#include "proxy/worker_state.hpp"

namespace culvert::proxy {

class Listing {
 public:
  // Rows that one turn makes, some microseconds each, and places of the table of flows that it looks at.
  static constexpr std::size_t kRowsPerTurn = 64;
  static constexpr std::size_t kPlacesPerTurn = 8'192;

  explicit Listing(WorkerState& state) noexcept : state_(state) {}

  void begin(ListConnections&& message);
  // Once per turn of the loop.
  void run();
  [[nodiscard]] bool has_more() const noexcept { return !waiting_.empty(); }

 private:
  struct Round {
    ListConnections message;
    std::size_t place = 0;
    ConnectionPages pages;
  };
  void add(std::vector<telemetry::ConnectionLog>& page, Flow& flow);

  WorkerState& state_;
  std::deque<Round> waiting_;  // the first is under way
};

}  // namespace culvert::proxy
