// SPDX-License-Identifier: Apache-2.0
// RangeTable: services by ranges of virtual addresses. Part of a snapshot: copies share what did not change. An address is looked for once for each
// length of prefix that some range has (33 and 129 at most), the longest first, however many ranges there are; nothing is allocated.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/address.hpp"
#include "state/shared_index.hpp"
#include "state/shared_slots.hpp"

namespace culvert::state {

class RangeTable {
 public:
  [[nodiscard]] bool is_empty() const noexcept { return index_.size() == 0; }
  // A service has this range once, however often it is added.
  void add(std::uint32_t network, const Cidr& range, std::uint32_t service);
  // Nothing where it does not have it.
  void remove(std::uint32_t network, const Cidr& range, std::uint32_t service);
  // Those of the ranges that the address lies in, the narrowest range first: visit(services in the order of arrival), until that gives true.
  template <typename Visit>
  void find(std::uint32_t network, const IpAddress& address, Visit&& visit) const {
    for (const Length& one : address.is_v4() ? lengths_v4_ : lengths_v6_) {
      const std::uint32_t found = find_row(network, {address.masked(one.bits), one.bits});
      if (found != SharedIndex::kNone && visit(rows_[found]->services)) return;
    }
  }

 private:
  struct Row {
    std::uint32_t network = 0;
    Cidr range;  // its address has no bit behind the prefix
    std::vector<std::uint32_t> services;
  };
  // How many ranges have this length.
  struct Length {
    std::uint8_t bits;
    std::uint32_t count;
  };
  [[nodiscard]] std::uint32_t find_row(std::uint32_t network, const Cidr& range) const noexcept;
  [[nodiscard]] static std::uint32_t hash_of_range(std::uint32_t network, const Cidr& range) noexcept;
  void count(const Cidr& range, bool is_added);

  SharedSlots<std::shared_ptr<const Row>> rows_;
  SharedIndex index_;
  std::vector<Length> lengths_v4_;  // the longest first; none is 0
  std::vector<Length> lengths_v6_;
};

}  // namespace culvert::state
