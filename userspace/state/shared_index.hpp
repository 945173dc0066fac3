// SPDX-License-Identifier: Apache-2.0
// SharedIndex: from a hash to the numbers of things that are kept elsewhere, in a SharedArray: copies share what did not change. Open
// addressing, 8 bytes a slot, at most four fifths used. Asking is constant time, allocates nothing and changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "state/flat_index.hpp"
#include "state/shared_array.hpp"

namespace culvert::state {

class SharedIndex {
 public:
  static constexpr std::uint32_t kNone = FlatIndex::kNone;

  // The number of the thing with this hash that `is` recognises by its number, or kNone.
  template <typename Is>
  [[nodiscard]] std::uint32_t find(std::uint32_t hash, Is&& is) const {
    if (slots_.size() == 0) return kNone;
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
      const Slot& slot = slots_[at];
      if (slot.number == kNone) return kNone;
      if (slot.hash == hash && slot.number != kGone && is(slot.number)) return slot.number;
    }
  }
  // The caller has looked before: the thing is new. `number` is below kGone.
  void insert(std::uint32_t hash, std::uint32_t number) {
    if (5 * (taken_ + 1) > 4 * slots_.size()) rebuild();
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].number < kGone) at = (at + 1) & mask;
    if (slots_[at].number == kNone) ++taken_;
    slots_.edit(at) = {hash, number};
    ++live_;
  }
  // It is there.
  void erase(std::uint32_t hash, std::uint32_t number) {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].hash != hash || slots_[at].number != number) at = (at + 1) & mask;
    --live_;
    // Behind the last of a run nothing is looked for.
    if (slots_[(at + 1) & mask].number == kNone) {
      slots_.edit(at) = {};
      --taken_;
    } else {
      slots_.edit(at) = {0, kGone};
    }
  }
  [[nodiscard]] std::size_t size() const noexcept { return live_; }

 private:
  static constexpr std::uint32_t kGone = kNone - 1;
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t number = kNone;
  };
  void rebuild() {
    // A tenth of the places is free afterwards, beyond those that stay free: a rebuild is paid by as many insertions.
    std::size_t wanted = 64;
    while (10 * (live_ + 1) > 7 * wanted) wanted *= 2;
    SharedArray<Slot> old = std::exchange(slots_, {});
    slots_.grow_to(wanted);
    taken_ = live_;
    const std::size_t mask = wanted - 1;
    for (std::size_t i = 0; i < old.size(); ++i) {
      const Slot slot = old[i];
      if (slot.number >= kGone) continue;
      std::size_t at = slot.hash & mask;
      while (slots_[at].number != kNone) at = (at + 1) & mask;
      slots_.edit(at) = slot;
    }
  }

  SharedArray<Slot> slots_;  // a power of two
  std::size_t live_ = 0;
  std::size_t taken_ = 0;  // live ones, and places of removed ones
};

}  // namespace culvert::state
