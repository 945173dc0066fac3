// SPDX-License-Identifier: Apache-2.0
#include "telemetry/traffic_table.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "base/assert.hpp"

namespace culvert::telemetry {
namespace {

constexpr std::size_t kWays = 4;  // keys that may share a place of the cache
constexpr std::size_t kCacheMin = 256;
constexpr std::size_t kCacheMax = 16'384;

std::size_t hash_of(const TrafficKey& key) noexcept {
  std::uint64_t mixed = mix_hash(key.source, key.destination);
  mixed = mix_hash(mixed, key.service);
  return mix_hash(mixed, std::uint64_t{key.principal} << 24U | static_cast<std::uint64_t>(key.kind) << 16U |
                             static_cast<std::uint64_t>(key.reporter) << 8U | static_cast<std::uint64_t>(key.policy));
}

std::size_t bucket_of(const TrafficKey& key, std::size_t cache_size) noexcept {
  return hash_of(key) & (cache_size - 1) & ~(kWays - 1);
}

std::size_t overflow_place(const TrafficKey& key) noexcept {
  if (key.kind == LabelSet::Kind::NameLookup) return 4;
  return static_cast<std::size_t>(key.reporter) * 2 + static_cast<std::size_t>(key.policy);
}

NewLabels overflow_labels(LabelSet::Kind kind) {
  constexpr std::string_view kIt = kOverflowLabel;
  const TrafficParty party{true, kIt, kIt, kIt, kIt, kIt, kIt, kIt, kIt, kIt, kIt};
  return {source_text(party), kind == LabelSet::Kind::NameLookup ? hostname_text(kIt) : service_text({kIt, kIt, kIt}),
          destination_text(party)};
}

}  // namespace

TrafficTable::TrafficTable(LabelBudget& budget) : budget_(budget), slots_max_(2 * budget.sets_max() + kSlotsPerChunk) {
  chunks_ = std::make_unique<std::unique_ptr<Chunk>[]>((slots_max_ + kOverflowSets) / kSlotsPerChunk + 1);
}

TrafficTable::~TrafficTable() = default;

TrafficSlot* TrafficTable::find(const TrafficKey& key) noexcept {
  if (cache_.empty()) return nullptr;
  for (const CacheEntry& entry : std::span(cache_).subspan(bucket_of(key, cache_.size()), kWays)) {
    if (entry.slot != nullptr && entry.key == key && entry.generation == entry.slot->generation) return entry.slot;
  }
  return nullptr;
}

void TrafficTable::remember(const TrafficKey& key, TrafficSlot& slot) {
  if (cache_.empty() || (sets_.size() * 4 > cache_.size() && cache_.size() < kCacheMax)) {
    // What was remembered is found again by its labels.
    const std::size_t size = std::max(kCacheMin, cache_.size() * 4);
    cache_.clear();
    cache_.resize(size);
  }
  const auto bucket = std::span(cache_).subspan(bucket_of(key, cache_.size()), kWays);
  std::shift_right(bucket.begin(), bucket.end(), 1);  // the one that came first goes
  bucket.front() = {key, &slot, slot.generation};
}

LabelSet TrafficTable::make_set(const TrafficKey& key, NewLabels labels) {
  LabelSet set{.kind = key.kind,
               .reporter = key.reporter,
               .policy = key.policy,
               .source = take_text(std::move(labels.source)),
               .service = take_text(std::move(labels.service)),
               .destination = nullptr};
  if (key.kind == LabelSet::Kind::Traffic) set.destination = take_text(std::move(labels.destination));
  return set;
}

TrafficSlot& TrafficTable::intern(const TrafficKey& key, NewLabels labels) {
  LabelSet set = make_set(key, std::move(labels));
  if (const auto known = sets_.find(&set); known != sets_.end()) {
    give_texts(set);
    remember(key, *known->second);
    return *known->second;
  }
  const std::uint64_t hash = set.hash();
  if (budget_.take(hash)) {
    if (TrafficSlot* slot = new_slot(slots_max_)) {
      slot->is_overflow = false;
      publish(*slot, std::move(set));
      sets_.emplace(&slot->labels, slot);
      remember(key, *slot);
      return *slot;
    }
    budget_.give(hash);
  }
  give_texts(set);
  folded_.add();
  return overflow(key);
}

// These few have room of their own, no part in the budget, and stay.
TrafficSlot& TrafficTable::overflow(const TrafficKey& key) {
  TrafficSlot*& slot = overflow_[overflow_place(key)];
  if (slot != nullptr) return *slot;
  slot = new_slot(slots_max_ + kOverflowSets);
  CV_ASSERT(slot != nullptr);
  slot->is_overflow = true;
  return publish(*slot, make_set(key, overflow_labels(key.kind)));
}

TrafficSlot& TrafficTable::publish(TrafficSlot& slot, LabelSet set) {
  slot.labels = std::move(set);
  slot.state.store(TrafficSlot::State::Live, std::memory_order_release);
  return slot;
}

TrafficSlot* TrafficTable::new_slot(std::uint32_t slots_max) {
  if (!retired_.empty()) {
    TrafficSlot& oldest = at(retired_.front());
    if (oldest.state.load(std::memory_order_acquire) == TrafficSlot::State::Free) {
      retired_.pop_front();
      return &oldest;
    }
  }
  const std::uint32_t index = made_.load(std::memory_order_relaxed);
  if (index >= slots_max) return nullptr;
  std::unique_ptr<Chunk>& chunk = chunks_[index / kSlotsPerChunk];
  if (chunk == nullptr) chunk = std::make_unique<Chunk>();
  TrafficSlot& slot = at(index);
  slot.index = index;
  made_.store(index + 1, std::memory_order_release);
  return &slot;
}

std::shared_ptr<const LabelText> TrafficTable::take_text(LabelText text) {
  auto known = texts_.find(text.text);
  if (known == texts_.end()) {
    auto made = std::make_shared<const LabelText>(std::move(text));
    const std::string_view key = made->text;
    known = texts_.emplace(key, Text{std::move(made), 0}).first;
  }
  ++known->second.holders;
  return known->second.text;
}

void TrafficTable::give_text(const std::shared_ptr<const LabelText>& text) {
  const auto known = texts_.find(text->text);
  CV_ASSERT(known != texts_.end());
  if (--known->second.holders == 0) texts_.erase(known);
}

void TrafficTable::give_texts(const LabelSet& set) {
  give_text(set.source);
  give_text(set.service);
  if (set.destination != nullptr) give_text(set.destination);
}

void TrafficTable::begin_sweep(std::uint64_t expiry_ms) noexcept {
  expiry_ms_ = expiry_ms;
  sweep_place_ = 0;
  sweep_end_ = made_.load(std::memory_order_relaxed);
}

void TrafficTable::sweep(std::uint64_t now_ms) {
  const std::uint32_t end = std::min(sweep_end_, sweep_place_ + kSlotsPerSweep);
  for (; sweep_place_ < end; ++sweep_place_) {
    TrafficSlot& slot = at(sweep_place_);
    const bool is_live = slot.state.load(std::memory_order_relaxed) == TrafficSlot::State::Live;
    if (!is_live || slot.live > 0 || slot.is_overflow) continue;
    if (now_ms >= slot.last_used_ms + expiry_ms_) retire(slot);
  }
}

// Its labels stay until the control thread has taken them: it may be reading them.
void TrafficTable::retire(TrafficSlot& slot) {
  sets_.erase(&slot.labels);
  budget_.give(slot.labels.hash());
  give_texts(slot.labels);
  ++slot.generation;
  retired_.push_back(slot.index);
  slot.state.store(TrafficSlot::State::Retired, std::memory_order_release);
}

void TrafficTable::give_back(TrafficSlot& slot) {
  slot.labels = {};
  slot.opened.set(0);
  slot.received_bytes.set(0);
  slot.sent_bytes.set(0);
  for (Counter& one : slot.closed) one.set(0);
  slot.state.store(TrafficSlot::State::Free, std::memory_order_release);
}

}  // namespace culvert::telemetry
