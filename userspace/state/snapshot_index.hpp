// SPDX-License-Identifier: Apache-2.0
// The tables inside a snapshot: names as small numbers, and owners by (network, address). Asking is constant time, without allocation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "state/flat_index.hpp"

namespace culvert::state {

// Names that are compared often (networks, regions, nodes, ...), each once. Equal names have equal numbers.
class NameTable {
 public:
  static constexpr std::uint32_t kNone = FlatIndex::kNone;

  [[nodiscard]] std::uint32_t find(std::string_view name) const noexcept {
    return index_.find(hash_of(name), [&](std::uint32_t number) { return names_[number] == name; });
  }
  [[nodiscard]] std::uint32_t intern(std::string_view name) {
    if (const std::uint32_t known = find(name); known != kNone) return known;
    const auto number = static_cast<std::uint32_t>(names_.size());
    names_.emplace_back(name);
    index_.insert(hash_of(name), number);
    return number;
  }
  [[nodiscard]] std::string_view text(std::uint32_t number) const noexcept { return names_[number]; }

 private:
  std::vector<std::string> names_;
  FlatIndex index_;
};

// Who owns an address in a network. Several may (services of different namespaces): they are linked in the order of arrival.
class AddressTable {
 public:
  static constexpr std::uint32_t kNone = FlatIndex::kNone;
  struct Entry {
    IpAddress address;
    std::uint32_t network;
    std::uint32_t owner;
    std::uint32_t next;  // the next owner of the same address, or kNone
  };

  // The number of the first entry, or kNone.
  [[nodiscard]] std::uint32_t find(std::uint32_t network, const IpAddress& address) const noexcept {
    return index_.find(hash_of(network, address), [&](std::uint32_t number) {
      return entries_[number].address == address && entries_[number].network == network;
    });
  }
  [[nodiscard]] const Entry& entry(std::uint32_t number) const noexcept { return entries_[number]; }
  void add(std::uint32_t network, const IpAddress& address, std::uint32_t owner) {
    const auto number = static_cast<std::uint32_t>(entries_.size());
    std::uint32_t last = find(network, address);
    entries_.push_back({address, network, owner, kNone});
    if (last == kNone) {
      index_.insert(hash_of(network, address), number);
      return;
    }
    while (entries_[last].next != kNone) last = entries_[last].next;
    entries_[last].next = number;
  }

 private:
  std::vector<Entry> entries_;
  FlatIndex index_;
};

}  // namespace culvert::state
