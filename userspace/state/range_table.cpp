// SPDX-License-Identifier: Apache-2.0
#include "state/range_table.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace culvert::state {
namespace {

Cidr normal(const Cidr& range) { return {range.network.masked(range.bits), range.bits}; }

}  // namespace

std::uint32_t RangeTable::hash_of_range(std::uint32_t network, const Cidr& range) noexcept {
  return hash_of(network * 256U + range.bits, range.network);
}

std::uint32_t RangeTable::find_row(std::uint32_t network, const Cidr& range) const noexcept {
  return index_.find(hash_of_range(network, range), [&](std::uint32_t number) {
    const Row& row = *rows_[number];
    return row.network == network && row.range == range;
  });
}

void RangeTable::add(std::uint32_t network, const Cidr& range, std::uint32_t service) {
  const Cidr key = normal(range);
  const std::uint32_t known = find_row(network, key);
  if (known == SharedIndex::kNone) {
    const std::uint32_t made = rows_.put(std::make_shared<const Row>(Row{network, key, {service}}));
    index_.insert(hash_of_range(network, key), made);
    count(key, true);
    return;
  }
  auto row = std::make_shared<Row>(*rows_[known]);
  if (std::ranges::find(row->services, service) != row->services.end()) return;
  row->services.push_back(service);
  rows_.edit(known) = std::move(row);
}

void RangeTable::remove(std::uint32_t network, const Cidr& range, std::uint32_t service) {
  const Cidr key = normal(range);
  const std::uint32_t known = find_row(network, key);
  if (known == SharedIndex::kNone) return;
  auto row = std::make_shared<Row>(*rows_[known]);
  std::erase(row->services, service);
  if (!row->services.empty()) {
    rows_.edit(known) = std::move(row);
    return;
  }
  index_.erase(hash_of_range(network, key), known);
  rows_.free(known);
  count(key, false);
}

void RangeTable::count(const Cidr& range, bool is_added) {
  std::vector<Length>& lengths = range.network.is_v4() ? lengths_v4_ : lengths_v6_;
  auto at = std::ranges::lower_bound(lengths, range.bits, std::greater<>(), &Length::bits);
  if (at == lengths.end() || at->bits != range.bits) at = lengths.insert(at, {range.bits, 0});
  at->count += is_added ? 1U : 0xffff'ffffU;
  if (at->count == 0) lengths.erase(at);
}

}  // namespace culvert::state
