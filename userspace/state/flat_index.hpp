// SPDX-License-Identifier: Apache-2.0
// FlatIndex: from a hash to the numbers of things that are kept elsewhere. Open addressing, 8 bytes a slot, nothing is ever removed: a
// snapshot is built once and then only asked. Asking is constant time, allocates nothing and changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <vector>

#include "base/address.hpp"

namespace culvert::state {

class FlatIndex {
 public:
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  // The number of the thing with this hash that `is` recognises by its number, or kNone.
  template <typename Is>
  [[nodiscard]] std::uint32_t find(std::uint32_t hash, Is&& is) const {
    if (slots_.empty()) return kNone;
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t at = hash & mask; slots_[at].number != kNone; at = (at + 1) & mask) {
      if (slots_[at].hash == hash && is(slots_[at].number)) return slots_[at].number;
    }
    return kNone;
  }
  // The caller has looked before: the thing is new. `number` is not kNone.
  void insert(std::uint32_t hash, std::uint32_t number) {
    if (size_ + size_ / 2 >= slots_.size()) grow();
    place({hash, number});
    ++size_;
  }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t number = kNone;
  };
  void place(Slot slot) {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = slot.hash & mask;
    while (slots_[at].number != kNone) at = (at + 1) & mask;
    slots_[at] = slot;
  }
  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : 2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.number != kNone) place(slot);
    }
  }

  std::vector<Slot> slots_;  // a power of two, at most two thirds full
  std::size_t size_ = 0;
};

// Hashes of keys. What they key is the mesh's configuration, not what a stranger sends, so they are fast rather than secret.
[[nodiscard]] inline std::uint32_t fold_hash(std::uint64_t value) noexcept {
  value *= 0x9e37'79b9'7f4a'7c15ULL;
  return static_cast<std::uint32_t>(value >> 32U);
}
[[nodiscard]] inline std::uint32_t hash_of(std::string_view name) noexcept {
  return fold_hash(std::hash<std::string_view>{}(name));
}
[[nodiscard]] inline std::uint32_t hash_of(std::string_view namespace_name, std::string_view name) noexcept {
  const std::hash<std::string_view> of;
  return fold_hash(of(namespace_name) * 31U + of(name));
}
[[nodiscard]] inline std::uint32_t hash_of(std::uint32_t network, const IpAddress& address) noexcept {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::memcpy(&high, address.mapped().data(), sizeof(high));
  std::memcpy(&low, address.mapped().data() + sizeof(high), sizeof(low));
  high = (high ^ network) * 0xff51'afd7'ed55'8ccdULL;
  high ^= high >> 29U;
  low = (low ^ high) * 0xc4ce'b9fe'1a85'ec53ULL;
  return fold_hash(low ^ (low >> 32U));
}

}  // namespace culvert::state
