// SPDX-License-Identifier: Apache-2.0
#include "proxy/deadline.hpp"

#include <vector>

#include <catch2/catch.hpp>

namespace culvert::proxy {
namespace {

constexpr std::uint64_t kToken = 7;

// A wheel and one deadline in it; time goes on as the worker's loop makes it.
struct Clock {
  TimerWheel wheel{0};
  Deadline deadline;
  std::uint64_t now_ms = 0;

  void move(std::uint64_t when_ms) { deadline.move(wheel, kToken, when_ms); }
  // How often it was due on the way to `until_ms`.
  unsigned advance(std::uint64_t until_ms) {
    unsigned due = 0;
    while (now_ms < until_ms) {
      now_ms += TimerWheel::kTickMs;
      std::vector<std::uint64_t> tokens;
      wheel.advance(now_ms, tokens);
      for (const std::uint64_t token : tokens) due += deadline.fired(wheel, token, now_ms) ? 1U : 0U;
    }
    return due;
  }
};

}  // namespace

TEST_CASE("a deadline is due once, when it says") {
  struct Case {
    const char* description;
    std::vector<std::uint64_t> moves_ms;
    std::uint64_t due_ms;  // 0: never
  };
  const Case cases[] = {
      {"set once", {320}, 320},
      {"moved on before it came", {320, 640}, 640},
      {"moved closer", {640, 320}, 320},
      {"moved closer and on again", {640, 320, 480}, 480},
      {"moved closer and back", {640, 320, 640}, 640},
      {"closer twice, then on", {960, 640, 320, 800}, 800},
      {"taken back", {320, 0}, 0},
      {"taken back and set again", {320, 0, 640}, 640},
  };
  for (const Case& one : cases) {
    INFO(one.description);
    Clock clock;
    for (const std::uint64_t when_ms : one.moves_ms) clock.move(when_ms);
    if (one.due_ms != 0) {
      CHECK(clock.advance(one.due_ms - TimerWheel::kTickMs) == 0);
      CHECK(clock.advance(one.due_ms) == 1);
      clock.move(0);
    }
    CHECK(clock.advance(5'000) == 0);
    CHECK(clock.wheel.size() == 0);
  }
}

TEST_CASE("a deadline that moves to and fro for ever does not fill the wheel") {
  Clock clock;
  // An answer that is held back, then the keepalive's time again, as a busy server's tunnel has it; now and then it is idle.
  for (unsigned round = 0; round < 5'000; ++round) {
    if (round % 100 == 0) clock.move(clock.now_ms + 120'000);
    clock.move(clock.now_ms + 16);
    CHECK(clock.advance(clock.now_ms + 32) == 1);
    clock.move(clock.now_ms + 10'000);
    REQUIRE(clock.wheel.size() <= 60);
  }
}

}  // namespace culvert::proxy
