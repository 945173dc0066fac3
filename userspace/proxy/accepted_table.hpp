// SPDX-License-Identifier: Apache-2.0
// AcceptedTable: one small number for each list of identities that the far end of a tunnel may have, so that a pool key is a few bytes.
// Grows only by lists that the mesh's workloads and services give. One worker, one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/spiffe_id.hpp"

namespace culvert::proxy {

class AcceptedTable {
 public:
  // `first` and then `rest`, in this order. 0 is never given. Allocates for a new list only.
  [[nodiscard]] std::uint32_t intern(const SpiffeId& first, std::span<const SpiffeId> rest) {
    const std::hash<SpiffeId> of;
    std::size_t hash = of(first);
    for (const SpiffeId& one : rest) hash = hash * 31U + of(one);
    const auto [begin, end] = numbers_.equal_range(hash);
    for (auto place = begin; place != end; ++place) {
      const std::vector<SpiffeId>& list = lists_[place->second - 1];
      if (list.front() == first && std::equal(list.begin() + 1, list.end(), rest.begin(), rest.end()))
        return place->second;
    }
    std::vector<SpiffeId>& list = lists_.emplace_back();
    list.reserve(rest.size() + 1);
    list.push_back(first);
    list.insert(list.end(), rest.begin(), rest.end());
    const auto number = static_cast<std::uint32_t>(lists_.size());
    numbers_.emplace(hash, number);
    return number;
  }
  // Empty for 0.
  [[nodiscard]] std::span<const SpiffeId> find(std::uint32_t number) const noexcept {
    if (number == 0 || number > lists_.size()) return {};
    return lists_[number - 1];
  }

 private:
  std::unordered_multimap<std::size_t, std::uint32_t> numbers_;
  std::vector<std::vector<SpiffeId>> lists_;
};

}  // namespace culvert::proxy
