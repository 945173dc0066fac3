// SPDX-License-Identifier: Apache-2.0
// TimerWheel under a made-up clock, also against a plain list of deadlines.
#include "core/timer_wheel.hpp"

#include <algorithm>
#include <map>
#include <random>

#include <catch2/catch.hpp>

using culvert::TimerWheel;

namespace {

constexpr std::uint64_t kRoundMs = TimerWheel::kTickMs * TimerWheel::kSlots;

std::vector<std::uint64_t> fired_at(TimerWheel& wheel, std::uint64_t now_ms) {
  std::vector<std::uint64_t> fired;
  wheel.advance(now_ms, fired);
  std::ranges::sort(fired);
  return fired;
}

}  // namespace

TEST_CASE("a deadline fires once, never early and at most one tick late") {
  TimerWheel wheel(1000);
  wheel.schedule(7, 1105);
  CHECK(wheel.size() == 1);
  for (std::uint64_t now_ms = 1000; now_ms < 1105; ++now_ms) REQUIRE(fired_at(wheel, now_ms).empty());
  std::uint64_t now_ms = 1105;
  while (fired_at(wheel, now_ms).empty()) REQUIRE(++now_ms < 1105 + TimerWheel::kTickMs);
  CHECK(wheel.size() == 0);
  CHECK(fired_at(wheel, 10'000'000).empty());
}

TEST_CASE("a deadline that has passed fires with the next tick") {
  TimerWheel wheel(5000);
  CHECK(fired_at(wheel, 5000).empty());
  wheel.schedule(1, 0);
  wheel.schedule(2, 5000);
  CHECK(fired_at(wheel, 5000 + TimerWheel::kTickMs) == std::vector<std::uint64_t>{1, 2});
}

TEST_CASE("a deadline on this very tick fires when the wheel is new") {
  TimerWheel wheel(4096);
  wheel.schedule(1, 4096);
  CHECK(wheel.next_timeout_ms(4096) == 0);
  CHECK(fired_at(wheel, 4096) == std::vector<std::uint64_t>{1});
}

TEST_CASE("deadlines rounds away wait for their round") {
  TimerWheel wheel(0);
  wheel.schedule(1, 100);
  wheel.schedule(2, 100 + kRoundMs);
  wheel.schedule(3, 100 + 5 * kRoundMs);
  CHECK(fired_at(wheel, 120) == std::vector<std::uint64_t>{1});
  CHECK(fired_at(wheel, 90 + kRoundMs).empty());
  CHECK(fired_at(wheel, 120 + kRoundMs) == std::vector<std::uint64_t>{2});
  CHECK(fired_at(wheel, 90 + 5 * kRoundMs).empty());
  CHECK(wheel.size() == 1);
  CHECK(fired_at(wheel, 112 + 5 * kRoundMs) == std::vector<std::uint64_t>{3});
}

TEST_CASE("a jump of many rounds fires everything that is due and nothing else") {
  TimerWheel wheel(0);
  for (std::uint64_t token = 0; token < 5000; ++token) wheel.schedule(token, token * 37);
  const std::uint64_t now_ms = 10 * kRoundMs;
  CHECK(fired_at(wheel, now_ms).size() == static_cast<std::size_t>(now_ms / 37 + 1));
  CHECK(wheel.size() == 5000 - (now_ms / 37 + 1));
}

TEST_CASE("time that goes back or stands still fires nothing") {
  TimerWheel wheel(100'000);
  wheel.schedule(1, 100'100);
  CHECK(fired_at(wheel, 99'000).empty());
  CHECK(fired_at(wheel, 100'000).empty());
  CHECK(fired_at(wheel, 100'112) == std::vector<std::uint64_t>{1});
  CHECK(fired_at(wheel, 100'112).empty());
}

TEST_CASE("the next time-out is that of the nearest entry") {
  TimerWheel wheel(0);
  CHECK(wheel.next_timeout_ms(0) == -1);
  wheel.schedule(1, 16 * 1000);
  CHECK(wheel.next_timeout_ms(0) == 16'000);
  wheel.schedule(2, 160);
  CHECK(wheel.next_timeout_ms(0) == 160);
  CHECK(wheel.next_timeout_ms(150) == 10);
  CHECK(wheel.next_timeout_ms(500) == 0);
  CHECK(fired_at(wheel, 160) == std::vector<std::uint64_t>{2});
  CHECK(wheel.next_timeout_ms(160) == 16'000 - 160);
  CHECK(fired_at(wheel, 16'000) == std::vector<std::uint64_t>{1});
  CHECK(wheel.next_timeout_ms(16'000) == -1);
}

TEST_CASE("a slot that has fired wakes nobody a round later") {
  TimerWheel wheel(0);
  wheel.schedule(1, 10 * TimerWheel::kTickMs);
  wheel.schedule(2, 1500 * TimerWheel::kTickMs);
  const std::uint64_t now_ms = (TimerWheel::kSlots + 5) * TimerWheel::kTickMs;
  CHECK(fired_at(wheel, now_ms) == std::vector<std::uint64_t>{1});
  CHECK(wheel.next_timeout_ms(now_ms) == static_cast<int>(1500 * TimerWheel::kTickMs - now_ms));
}

TEST_CASE("the next time-out is found behind the end of the wheel, in every position") {
  for (std::uint64_t start = 0; start < TimerWheel::kSlots; start += 7) {
    for (const std::uint64_t ahead : {std::uint64_t{1}, std::uint64_t{63}, std::uint64_t{64}, std::uint64_t{1022}}) {
      const std::uint64_t now_ms = start * TimerWheel::kTickMs;
      TimerWheel wheel(now_ms);
      (void)fired_at(wheel, now_ms);
      wheel.schedule(1, now_ms + ahead * TimerWheel::kTickMs);
      REQUIRE(wheel.next_timeout_ms(now_ms) == static_cast<int>(ahead * TimerWheel::kTickMs));
    }
  }
}

TEST_CASE("the wheel agrees with a plain list over a random history") {
  std::mt19937_64 random(20240607);
  std::uint64_t now_ms = 777;
  TimerWheel wheel(now_ms);
  std::multimap<std::uint64_t, std::uint64_t> expected;  // by deadline
  std::uint64_t next_token = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::uint64_t reach_ms = random() % 4 == 0 ? 3 * kRoundMs : 300;
    const std::uint64_t deadline_ms = now_ms + random() % reach_ms;
    wheel.schedule(next_token, deadline_ms);
    expected.emplace(deadline_ms, next_token++);
    now_ms += random() % (random() % 50 == 0 ? 2 * kRoundMs : 40);
    // Sleeping as long as the wheel says must not miss anything by more than a tick.
    const int timeout_ms = wheel.next_timeout_ms(now_ms);
    REQUIRE(timeout_ms >= 0);
    REQUIRE(now_ms + static_cast<std::uint64_t>(timeout_ms) <
            std::max(now_ms, expected.begin()->first) + TimerWheel::kTickMs + 1);
    for (const std::uint64_t token : fired_at(wheel, now_ms)) {
      const auto found = std::ranges::find_if(expected, [token](const auto& entry) { return entry.second == token; });
      REQUIRE(found != expected.end());
      REQUIRE(found->first <= now_ms);
      expected.erase(found);
    }
    REQUIRE((expected.empty() || expected.begin()->first + TimerWheel::kTickMs > now_ms));
    REQUIRE(wheel.size() == expected.size());
  }
}
