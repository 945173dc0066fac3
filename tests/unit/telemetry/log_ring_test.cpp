// SPDX-License-Identifier: Apache-2.0
// The queue between the threads that log and the writer.
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "telemetry/log_ring.hpp"

namespace culvert::telemetry {
namespace {

std::vector<std::string> take(LogRing& ring) {
  std::array<std::string_view, 8> space;
  std::vector<std::string> taken;
  for (const auto line : ring.peek(space)) taken.emplace_back(line);
  ring.release();
  return taken;
}

}  // namespace

TEST_CASE("lines come out of the ring in order, round and round, whatever their lengths") {
  auto ring = LogRing::create(4'096).value();
  std::size_t next = 0;
  std::size_t expected = 0;
  const auto make = [](std::size_t i) { return std::to_string(i) + std::string(i * 37 % 900, 'x'); };
  for (int round = 0; round < 2'000; ++round) {
    while (ring->push(make(next), ring->capacity()) != 0) ++next;
    for (const auto& line : take(*ring)) REQUIRE(line == make(expected++));
  }
  CHECK(expected > 4'000);
}

TEST_CASE("a full ring refuses and is whole again after it was read") {
  auto ring = LogRing::create(4'096).value();
  const std::string line(1'016, 'a');  // four fill it exactly
  for (int i = 0; i < 4; ++i) REQUIRE(ring->push(line, ring->capacity()) != 0);
  CHECK(ring->push("", ring->capacity()) == 0);
  CHECK(take(*ring).size() == 4);
  CHECK_FALSE(ring->has_line());
  CHECK(ring->push(line, ring->capacity()) != 0);
  CHECK(take(*ring) == std::vector<std::string>{line});
}

TEST_CASE("a lower limit keeps room for others") {
  auto ring = LogRing::create(4'096).value();
  const std::string line(504, 'a');
  while (ring->push(line, 2'048) != 0) {}
  CHECK(ring->push(line, 4'096) == 2'048 + 512);
}

TEST_CASE("a line longer than the ring is refused") {
  auto ring = LogRing::create(4'096).value();
  CHECK(ring->push(std::string(4'096, 'a'), ring->capacity()) == 0);
  CHECK(ring->push("b", ring->capacity()) != 0);
}

TEST_CASE("sizes that are no power of two are refused") {
  CHECK_FALSE(LogRing::create(5'000));
  CHECK_FALSE(LogRing::create(0));
  CHECK_FALSE(LogRing::create(std::size_t{1} << 40U));
}

TEST_CASE("lines of several threads arrive whole, each thread's in order, and none is lost") {
  auto ring = LogRing::create(16'384).value();
  constexpr int kThreads = 4;
  constexpr int kLines = 10'000;
  const auto make = [](std::size_t thread, int number) {
    return std::to_string(thread) + " " + std::to_string(number) +
           std::string(static_cast<std::size_t>(number % 300), '.');
  };
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kLines; ++i) {
        const std::string line = make(t, i);
        while (ring->push(line, ring->capacity()) == 0) std::this_thread::yield();
      }
      --running;
    });
  }
  std::array<int, kThreads> next{};
  bool is_sound = true;
  while (running > 0 || ring->has_line()) {
    for (const auto& line : take(*ring)) {
      const auto thread = static_cast<std::size_t>(line[0] - '0');
      is_sound = is_sound && thread < kThreads && line == make(thread, next[thread]++);
    }
  }
  for (auto& thread : threads) thread.join();
  CHECK(is_sound);
  for (const int count : next) CHECK(count == kLines);
}

}  // namespace culvert::telemetry
