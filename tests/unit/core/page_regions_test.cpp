// SPDX-License-Identifier: Apache-2.0
#include "core/page_regions.hpp"

#include <cstring>
#include <random>
#include <set>
#include <vector>

#include <catch2/catch.hpp>

using culvert::PageRegions;

TEST_CASE("blocks are aligned to pages, lie apart and are zero when new") {
  PageRegions regions;
  std::set<std::uint8_t*> seen;
  std::vector<std::pair<PageRegions::Block, std::size_t>> blocks;
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) {
    const std::size_t bytes = PageRegions::kPageBytes << (random() % 4);
    const PageRegions::Block block = regions.allocate(bytes);
    REQUIRE(block.memory != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(block.memory) % PageRegions::kPageBytes == 0);
    auto* first = static_cast<std::uint8_t*>(block.memory);
    for (std::size_t at = 0; at < bytes; at += PageRegions::kPageBytes) {
      CHECK(first[at] == 0);
      CHECK(seen.insert(first + at).second);
    }
    std::memset(first, 0xa5, bytes);
    blocks.emplace_back(block, bytes);
  }
  for (const auto& [block, bytes] : blocks) regions.free(block.region, block.memory, bytes);
  CHECK(regions.regions() == 0);
}

TEST_CASE("what was given back is lent again before a new region is made, without its old content") {
  PageRegions regions;
  std::vector<PageRegions::Block> blocks;
  for (std::size_t i = 0; i < PageRegions::kRegionPages; ++i)
    blocks.push_back(regions.allocate(PageRegions::kPageBytes));
  CHECK(regions.regions() == 1);
  std::memset(blocks[9].memory, 1, PageRegions::kPageBytes);
  regions.free(blocks[9].region, blocks[9].memory, PageRegions::kPageBytes);
  const PageRegions::Block again = regions.allocate(PageRegions::kPageBytes);
  CHECK(again.memory == blocks[9].memory);
  CHECK(*static_cast<std::uint8_t*>(again.memory) == 0);
  const PageRegions::Block more = regions.allocate(2 * PageRegions::kPageBytes);
  CHECK(regions.regions() == 2);
  regions.free(more.region, more.memory, 2 * PageRegions::kPageBytes);
  CHECK(regions.regions() == 1);
  for (const PageRegions::Block& block : blocks) regions.free(block.region, block.memory, PageRegions::kPageBytes);
  CHECK(regions.regions() == 0);
}
