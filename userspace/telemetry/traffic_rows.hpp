// SPDX-License-Identifier: Apache-2.0
// The workers' traffic of one moment, added up by label set, with text that stays for as long as somebody holds the rows. Control thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "telemetry/traffic_table.hpp"

namespace culvert::telemetry {

struct TrafficCounts {
  std::uint64_t opened = 0;  // NameLookup: questions
  std::uint64_t received_bytes = 0;
  std::uint64_t sent_bytes = 0;
  std::array<std::uint64_t, kResponseFlags.size()> closed{};

  TrafficCounts& operator+=(const TrafficCounts& other) noexcept;
};

struct TrafficRow : TrafficCounts {
  LabelSet labels;
};

// What workers counted under sets that they let go, while another worker still counts under them: a set is let go by each worker for itself, and
// what it has counted must not fall meanwhile.
class TrafficHistory {
 public:
  // Gives what the workers let go back to them, and remembers of it what is still needed.
  void reclaim(std::span<TrafficTable* const> workers);
  // Only sets that some worker counts under, and under which a connection was opened. One that is not among them counts from 0 when it comes back.
  [[nodiscard]] std::vector<TrafficRow> rows(std::span<const TrafficTable* const> workers);
  [[nodiscard]] std::size_t size() const noexcept { return kept_.size(); }

 private:
  struct Hash {
    std::size_t operator()(const LabelSet& set) const noexcept { return set.hash(); }
  };
  std::unordered_map<LabelSet, TrafficCounts, Hash> kept_;
  std::unordered_set<const TrafficSlot*> forgotten_;  // let go, not yet given back, and told of as gone
};

// Without a history.
[[nodiscard]] inline std::vector<TrafficRow> traffic_rows(std::span<const TrafficTable* const> workers) {
  return TrafficHistory().rows(workers);
}

}  // namespace culvert::telemetry
