// SPDX-License-Identifier: Apache-2.0
// Ranges of virtual addresses: against a walk over all of them.
#include "state/range_table.hpp"

#include <algorithm>
#include <random>
#include <tuple>

#include "mesh.hpp"

namespace culvert::state {
namespace {

using Row = std::tuple<std::uint32_t, Cidr, std::uint32_t>;  // network, range, service
using Hits = std::vector<std::vector<std::uint32_t>>;

Hits hits(const RangeTable& table, std::uint32_t network, const IpAddress& address) {
  Hits found;
  table.find(network, address, [&](const std::vector<std::uint32_t>& services) {
    found.push_back(services);
    return false;
  });
  return found;
}

TEST_CASE("the narrowest range is shown first, and the last shown is the one that was enough") {
  RangeTable table;
  table.add(0, Cidr::parse("10.0.0.0/8").value(), 1);
  table.add(0, Cidr::parse("10.1.2.3/16").value(), 2);  // bits behind the prefix do not count
  table.add(0, Cidr::parse("10.1.0.0/16").value(), 3);
  table.add(7, Cidr::parse("10.1.2.0/24").value(), 4);
  table.add(0, Cidr::parse("0.0.0.0/0").value(), 5);
  table.add(0, Cidr::parse("::/0").value(), 6);
  CHECK(hits(table, 0, ip("10.1.2.9")) == Hits{{2, 3}, {1}, {5}});
  CHECK(hits(table, 7, ip("10.1.2.9")) == Hits{{4}});
  CHECK(hits(table, 0, ip("fd00::1")) == Hits{{6}});
  std::size_t shown = 0;
  table.find(0, ip("10.1.2.9"), [&](const auto&) { return ++shown == 2; });
  CHECK(shown == 2);
}

TEST_CASE("after any order of changes a table answers as a plain list does, and its copies as when they were made") {
  std::mt19937 random(GENERATE(1U, 2U));
  const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  const auto address = [&] {
    const std::string tail = fmt::format("{}.{}", below(4), below(4) * 64);
    return below(2) == 0 ? ip("10.0." + tail) : ip("fd00::10.0." + tail);
  };
  RangeTable table;
  std::vector<Row> plain;
  std::vector<std::pair<RangeTable, std::vector<Row>>> kept;
  for (int step = 0; step < 3000; ++step) {
    Cidr range{address(), 0};
    const std::uint32_t rest = below(17);
    range.bits = static_cast<std::uint8_t>((range.network.is_v4() ? 32 : 128) - rest);
    range.network = range.network.masked(range.bits);
    const Row row{below(2), range, below(5)};
    const auto known = std::ranges::find(plain, row);
    if (below(2) == 0) {
      table.remove(std::get<0>(row), range, std::get<2>(row));
      if (known != plain.end()) plain.erase(known);
    } else {
      table.add(std::get<0>(row), range, std::get<2>(row));
      if (known == plain.end()) plain.push_back(row);
    }
    if (step % 300 == 0) kept.emplace_back(table, plain);
  }
  kept.emplace_back(table, plain);
  for (const auto& [copy, rows] : kept) {
    CHECK(copy.is_empty() == rows.empty());
    for (int i = 0; i < 200; ++i) {
      const IpAddress asked = address();
      Hits expected;
      for (int bits = 128; bits >= 0; --bits) {
        std::vector<std::uint32_t> services;
        for (const auto& [network, range, service] : rows) {
          if (network == 1 && range.bits == bits && range.contains(asked)) services.push_back(service);
        }
        if (!services.empty()) expected.push_back(std::move(services));
      }
      CHECK(hits(copy, 1, asked) == expected);
    }
  }
}

}  // namespace
}  // namespace culvert::state
