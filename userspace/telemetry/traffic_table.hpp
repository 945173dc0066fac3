// SPDX-License-Identifier: Apache-2.0
// TrafficTable: the label sets that one worker counts its connections under. The worker looks a set up once per connection, by a few numbers; the
// text is made when they are new. Counting is a relaxed store to the set's slot.
//
// The control thread reads along without asking anybody, because a slot never moves and always has one owner, said by its state: Free is the
// worker's, to fill; Live has labels that nobody changes and counters that the worker writes; Retired is the control thread's, to empty.
//
// Limits: LabelBudget for the sets of all workers; twice as many slots, so that those which wait to be emptied do not count. What is beyond is
// counted under one overflow set for each reporter and security policy.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "telemetry/counters.hpp"
#include "telemetry/label_budget.hpp"
#include "telemetry/response_flag.hpp"
#include "telemetry/traffic_labels.hpp"

namespace culvert::telemetry {

// What makes a label set, as numbers that mean the same for as long as the worker lives. Equal keys have equal labels.
struct TrafficKey {
  std::uint64_t source = 0;
  std::uint64_t destination = 0;
  std::uint64_t service = 0;
  std::uint32_t principal = 0;  // of the source; 0: none
  LabelSet::Kind kind = LabelSet::Kind::Traffic;
  Reporter reporter = Reporter::Source;
  SecurityPolicy policy = SecurityPolicy::Unknown;
  bool operator==(const TrafficKey&) const noexcept = default;
};

// The labels of a key, as they are made when it is new.
struct NewLabels {
  LabelText source;
  LabelText service;
  LabelText destination;  // NameLookup: ignored
};

struct alignas(64) TrafficSlot {
  enum class State : std::uint8_t { Free, Live, Retired };

  Counter opened;  // NameLookup: questions
  Counter received_bytes;
  Counter sent_bytes;
  std::array<Counter, kResponseFlags.size()> closed;

  std::atomic<State> state{State::Free};
  bool is_overflow = false;
  std::uint32_t live = 0;  // the worker's: connections that point here
  std::uint32_t index = 0;
  std::uint32_t generation = 0;    // the worker's: grows when it is retired
  std::uint64_t last_used_ms = 0;  // the worker's
  LabelSet labels;
};

class TrafficTable {
 public:
  // `budget` outlives the table.
  explicit TrafficTable(LabelBudget& budget);
  ~TrafficTable();
  TrafficTable(const TrafficTable&) = delete;
  TrafficTable& operator=(const TrafficTable&) = delete;

  // The worker. A slot stays for as long as it is held; `now_ms` is any clock that goes on.
  // Null: the key is new here, or its set is beyond the limit.
  [[nodiscard]] TrafficSlot* find(const TrafficKey& key) noexcept;
  [[nodiscard]] TrafficSlot& intern(const TrafficKey& key, NewLabels labels);
  static void hold(TrafficSlot& slot, std::uint64_t now_ms) noexcept {
    ++slot.live;
    slot.last_used_ms = now_ms;
  }
  static void let_go(TrafficSlot& slot, std::uint64_t now_ms) noexcept {
    --slot.live;
    slot.last_used_ms = now_ms;
  }
  // Sets that nobody has held for so long are let go by the following calls of `sweep`, each of which looks at kSlotsPerSweep slots.
  static constexpr std::uint32_t kSlotsPerSweep = 256;
  void begin_sweep(std::uint64_t expiry_ms) noexcept;
  void sweep(std::uint64_t now_ms);
  [[nodiscard]] bool has_more_to_sweep() const noexcept { return sweep_place_ < sweep_end_; }

  // The control thread.
  // Every slot that is live, or let go and not yet given back: `visit(slot, is_live)`.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    const std::uint32_t made = made_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < made; ++i) {
      const TrafficSlot& slot = at(i);
      const TrafficSlot::State state = slot.state.load(std::memory_order_acquire);
      if (state != TrafficSlot::State::Free) visit(slot, state == TrafficSlot::State::Live);
    }
  }
  // Gives slots that were let go back to the worker, each after `visit(slot)`.
  template <typename Visit>
  void reclaim(Visit&& visit) {
    const std::uint32_t made = made_.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < made; ++i) {
      TrafficSlot& slot = at(i);
      if (slot.state.load(std::memory_order_acquire) != TrafficSlot::State::Retired) continue;
      visit(std::as_const(slot));
      give_back(slot);
    }
  }
  void reclaim() {
    reclaim([](const TrafficSlot&) {});
  }
  [[nodiscard]] bool is_untouched() const noexcept { return made_.load(std::memory_order_relaxed) == 0; }
  // Connections and lookups that were counted under an overflow set.
  [[nodiscard]] std::uint64_t folded() const noexcept { return folded_.value(); }

 private:
  static constexpr std::uint32_t kSlotsPerChunk = 16;
  static constexpr std::uint32_t kOverflowSets = 5;
  using Chunk = std::array<TrafficSlot, kSlotsPerChunk>;
  struct CacheEntry {
    TrafficKey key;
    TrafficSlot* slot = nullptr;
    std::uint32_t generation = 0;
  };
  struct Text {
    std::shared_ptr<const LabelText> text;
    std::uint32_t holders = 0;
  };
  struct SetHash {
    std::size_t operator()(const LabelSet* set) const noexcept { return set->hash(); }
  };
  struct SetEqual {
    bool operator()(const LabelSet* a, const LabelSet* b) const noexcept { return *a == *b; }
  };

  [[nodiscard]] TrafficSlot& at(std::uint32_t index) const noexcept {
    return (*chunks_[index / kSlotsPerChunk])[index % kSlotsPerChunk];
  }
  [[nodiscard]] std::shared_ptr<const LabelText> take_text(LabelText text);
  void give_text(const std::shared_ptr<const LabelText>& text);
  void give_texts(const LabelSet& set);
  [[nodiscard]] LabelSet make_set(const TrafficKey& key, NewLabels labels);
  [[nodiscard]] TrafficSlot* new_slot(std::uint32_t slots_max);
  TrafficSlot& publish(TrafficSlot& slot, LabelSet set);
  [[nodiscard]] TrafficSlot& overflow(const TrafficKey& key);
  void remember(const TrafficKey& key, TrafficSlot& slot);
  void retire(TrafficSlot& slot);
  static void give_back(TrafficSlot& slot);

  LabelBudget& budget_;
  std::uint32_t slots_max_;                           // besides those of overflow
  std::unique_ptr<std::unique_ptr<Chunk>[]> chunks_;  // as many places as can be needed; set before `made_` says so
  std::atomic<std::uint32_t> made_{0};                // slots

  // The worker's alone.
  std::unordered_map<std::string_view, Text> texts_;
  std::unordered_map<const LabelSet*, TrafficSlot*, SetHash, SetEqual> sets_;
  std::vector<CacheEntry> cache_;  // a power of two; an entry makes room for another one
  std::array<TrafficSlot*, kOverflowSets> overflow_{};
  std::deque<std::uint32_t> retired_;  // oldest first
  std::uint32_t sweep_place_ = 0;
  std::uint32_t sweep_end_ = 0;
  std::uint64_t expiry_ms_ = 0;
  Counter folded_;
};

}  // namespace culvert::telemetry
