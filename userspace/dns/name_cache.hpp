// SPDX-License-Identifier: Apache-2.0
// NameCache: what DNS said lately, for as long as it said it holds (within bounds). Pure: told the time. At kNamesMax names those whose time is
// over go first, then any.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/address.hpp"

namespace culvert::dns {

class NameCache {
 public:
  static constexpr std::size_t kNamesMax = 4096;
  static constexpr std::uint64_t kTtlMinMs = 1'000;
  static constexpr std::uint64_t kTtlMaxMs = 300'000;
  static constexpr std::uint64_t kNegativeTtlMs = 5'000;  // of a name that has no address

  // Null: not known, or no longer. An empty list: the name has no address. Valid until the next `keep`.
  [[nodiscard]] const std::vector<IpAddress>* find(const std::string& name, std::uint64_t now_ms) const;
  // `ttl_ms` is brought within the bounds; for an empty list it does not count.
  void keep(const std::string& name, std::vector<IpAddress> addresses, std::uint64_t ttl_ms, std::uint64_t now_ms);
  [[nodiscard]] std::size_t size() const noexcept { return names_.size(); }

 private:
  struct Entry {
    std::vector<IpAddress> addresses;
    std::uint64_t until_ms = 0;
  };
  std::unordered_map<std::string, Entry> names_;
};

// One of `addresses` for a connection that was dialled with `family` (AF_INET, AF_INET6): of this family if there is one. `random` chooses among
// equals. `addresses` is not empty.
[[nodiscard]] IpAddress choose(const std::vector<IpAddress>& addresses, int family, std::uint64_t random) noexcept;

}  // namespace culvert::dns
