// SPDX-License-Identifier: Apache-2.0
// How many label sets the workers have together.
#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "telemetry/label_budget.hpp"

namespace culvert::telemetry {

TEST_CASE("a set that several workers have counts once, until the last of them lets it go") {
  LabelBudget budget(2);
  CHECK(budget.take(0x1111'0000'0000'0001));
  CHECK(budget.take(0x1111'0000'0000'0001));
  CHECK(budget.used() == 1);
  CHECK(budget.take(0x2222'0000'0000'0001));
  CHECK_FALSE(budget.take(0x3333'0000'0000'0001));
  CHECK(budget.take(0x1111'0000'0000'0001));  // known already
  budget.give(0x1111'0000'0000'0001);
  budget.give(0x1111'0000'0000'0001);
  CHECK_FALSE(budget.take(0x3333'0000'0000'0001));
  budget.give(0x1111'0000'0000'0001);
  CHECK(budget.used() == 1);
  CHECK(budget.take(0x3333'0000'0000'0001));
  CHECK(budget.used() == 2);
}

TEST_CASE("sets come and go for as long as one likes, and the places that they had are taken again") {
  LabelBudget budget(100);
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> held;
  for (unsigned i = 0; i < 100'000; ++i) {
    if (held.size() == 100) {
      const std::size_t which = random() % held.size();
      budget.give(held[which]);
      held[which] = held.back();
      held.pop_back();
    }
    held.push_back(random());
    REQUIRE(budget.take(held.back()));
  }
  CHECK(budget.used() == 100);
  for (const std::uint64_t one : held) budget.give(one);
  CHECK(budget.used() == 0);
}

TEST_CASE("workers that take and give the same sets at the same time leave none behind") {
  LabelBudget budget(64);
  std::atomic<bool> is_started{false};
  std::vector<std::thread> workers;
  for (unsigned w = 0; w < 4; ++w) {
    workers.emplace_back([&budget, &is_started, w] {
      while (!is_started.load()) std::this_thread::yield();
      std::mt19937_64 random(w);
      for (unsigned i = 0; i < 20'000; ++i) {
        const std::uint64_t set = (random() % 16 + 1) * 0x9e37'79b9'7f4a'7c15ULL;
        if (budget.take(set)) budget.give(set);
      }
    });
  }
  is_started = true;
  for (std::thread& worker : workers) worker.join();
  CHECK(budget.used() == 0);
}

}  // namespace culvert::telemetry
