// SPDX-License-Identifier: Apache-2.0
#include "telemetry/traffic_rows.hpp"

#include <atomic>
#include <unordered_map>

namespace culvert::telemetry {
namespace {

struct Hash {
  std::size_t operator()(const LabelSet* set) const noexcept { return set->hash(); }
};
struct Equal {
  bool operator()(const LabelSet* a, const LabelSet* b) const noexcept { return *a == *b; }
};

}  // namespace

std::vector<TrafficRow> traffic_rows(std::span<const TrafficTable* const> workers) {
  std::vector<TrafficRow> rows;
  std::unordered_map<const LabelSet*, std::size_t, Hash, Equal>
      places;  // keys in the tables: nothing is emptied meanwhile
  for (const TrafficTable* worker : workers) {
    worker->for_each([&](const TrafficSlot& slot) {
      // What has closed is read first: no connection that comes and goes meanwhile has closed without having been opened.
      std::array<std::uint64_t, kResponseFlags.size()> closed;
      for (std::size_t i = 0; i < closed.size(); ++i) closed[i] = slot.closed[i].value();
      std::atomic_thread_fence(std::memory_order_acquire);
      const std::uint64_t opened = slot.opened.value();
      if (opened == 0) return;
      const auto [place, is_new] = places.try_emplace(&slot.labels, rows.size());
      if (is_new) rows.emplace_back().labels = slot.labels;
      TrafficRow& row = rows[place->second];
      row.opened += opened;
      row.received_bytes += slot.received_bytes.value();
      row.sent_bytes += slot.sent_bytes.value();
      for (std::size_t i = 0; i < closed.size(); ++i) row.closed[i] += closed[i];
    });
  }
  return rows;
}

}  // namespace culvert::telemetry
