// SPDX-License-Identifier: Apache-2.0
#include "telemetry/traffic_rows.hpp"

#include <atomic>
#include <utility>

namespace culvert::telemetry {
namespace {

struct PointedHash {
  std::size_t operator()(const LabelSet* set) const noexcept { return set->hash(); }
};
struct PointedEqual {
  bool operator()(const LabelSet* a, const LabelSet* b) const noexcept { return *a == *b; }
};

// What has closed is read first: no connection that comes and goes meanwhile has closed without having been opened.
TrafficCounts counts_of(const TrafficSlot& slot) {
  TrafficCounts counts;
  for (std::size_t i = 0; i < counts.closed.size(); ++i) counts.closed[i] = slot.closed[i].value();
  std::atomic_thread_fence(std::memory_order_acquire);
  counts.opened = slot.opened.value();
  counts.received_bytes = slot.received_bytes.value();
  counts.sent_bytes = slot.sent_bytes.value();
  return counts;
}

}  // namespace

TrafficCounts& TrafficCounts::operator+=(const TrafficCounts& other) noexcept {
  opened += other.opened;
  received_bytes += other.received_bytes;
  sent_bytes += other.sent_bytes;
  for (std::size_t i = 0; i < closed.size(); ++i) closed[i] += other.closed[i];
  return *this;
}

void TrafficHistory::reclaim(std::span<TrafficTable* const> workers) {
  // By copies: a slot that is live here may be let go before its turn comes below.
  std::unordered_set<LabelSet, Hash> live;
  for (const TrafficTable* worker : workers) {
    worker->for_each([&](const TrafficSlot& slot, bool is_live) {
      if (is_live) live.insert(slot.labels);
    });
  }
  std::erase_if(kept_, [&](const auto& one) { return !live.contains(one.first); });
  for (TrafficTable* worker : workers) {
    worker->reclaim([&](const TrafficSlot& slot) {
      if (forgotten_.erase(&slot) == 0 && live.contains(slot.labels)) kept_[slot.labels] += counts_of(slot);
    });
  }
}

std::vector<TrafficRow> TrafficHistory::rows(std::span<const TrafficTable* const> workers) {
  std::vector<TrafficRow> rows;
  std::unordered_map<const LabelSet*, std::size_t, PointedHash, PointedEqual>
      places;  // keys in the tables, which this thread alone empties
  std::vector<std::pair<const TrafficSlot*, TrafficCounts>> let_go;
  for (const TrafficTable* worker : workers) {
    worker->for_each([&](const TrafficSlot& slot, bool is_live) {
      const TrafficCounts counts = counts_of(slot);
      if (counts.opened == 0) return;
      if (!is_live) {
        if (!forgotten_.contains(&slot)) let_go.emplace_back(&slot, counts);
        return;
      }
      const auto [place, is_new] = places.try_emplace(&slot.labels, rows.size());
      if (is_new) rows.emplace_back().labels = slot.labels;
      rows[place->second] += counts;
    });
  }
  const auto add = [&](const LabelSet& set, const TrafficCounts& counts) {
    const auto place = places.find(&set);
    if (place != places.end()) rows[place->second] += counts;
    return place != places.end();
  };
  for (const auto& [slot, counts] : let_go) {
    if (!add(slot->labels, counts)) forgotten_.insert(slot);
  }
  std::erase_if(kept_, [&](const auto& one) { return !add(one.first, one.second); });
  return rows;
}

}  // namespace culvert::telemetry
