// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <random>

#include "hbone/stream_table.hpp"

using namespace culvert::hbone;

TEST_CASE("a stream table keeps what a map would, through any order of inserts and erases") {
  // Few distinct homes and many of them, so that entries are pushed over the end and moved back.
  const std::int32_t span = GENERATE(16, 40, 1'000, 2'000'000'000);
  CAPTURE(span);
  std::mt19937 random(7);
  StreamTable table;
  std::map<std::int32_t, std::uint64_t> model;
  for (int step = 0; step < 20'000; ++step) {
    const auto id = static_cast<std::int32_t>(random() % static_cast<unsigned>(span)) + 1;
    if (random() % 2 == 0 && model.size() < 300) {
      if (model.contains(id)) continue;
      table.insert(id).user_word = model[id] = random();
    } else {
      REQUIRE(table.erase(id) == (model.erase(id) == 1));
    }
    REQUIRE(table.size() == model.size());
    const auto other = static_cast<std::int32_t>(random() % static_cast<unsigned>(span)) + 1;
    const StreamEntry* found = table.find(other);
    REQUIRE((found != nullptr) == model.contains(other));
    if (found != nullptr) REQUIRE(found->user_word == model[other]);
  }
  for (const auto& [id, word] : model) {
    REQUIRE(table.find(id) != nullptr);
    CHECK(table.find(id)->user_word == word);
  }
  std::vector<std::int32_t> ids = table.ids();
  std::sort(ids.begin(), ids.end());
  std::vector<std::int32_t> expected;
  for (const auto& [id, word] : model) expected.push_back(id);
  CHECK(ids == expected);
}

TEST_CASE("numbers that are no stream are not found") {
  StreamTable table;
  CHECK(table.find(1) == nullptr);
  table.insert(1);
  CHECK(table.find(0) == nullptr);
  CHECK(table.find(-1) == nullptr);
  CHECK_FALSE(table.erase(0));
}
