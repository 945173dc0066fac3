// SPDX-License-Identifier: Apache-2.0
#include "core/busy_wait.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <tuple>

#include <sys/eventfd.h>

#include <catch2/catch.hpp>

#include "base/clock.hpp"

using culvert::BusyWait;
using culvert::BusyWaitPolicy;
using culvert::Poller;
using culvert::UniqueFd;

namespace {

constexpr std::uint64_t kWindowNs = 50'000;

// A policy and a clock of its own; what a wait without a look, and one with it, tells the policy.
struct Subject {
  explicit Subject(std::uint64_t window) : window_ns(window), policy(window) {}

  void wait(std::uint64_t ns, unsigned times = 1) {
    for (unsigned i = 0; i < times; ++i) {
      const std::uint64_t looked = policy.is_looking() ? std::min(ns, window_ns) : 0;
      now_ns += ns;
      looked_ns += looked;
      if (looked < ns) vain_ns += looked;
      policy.waited(ns, looked, now_ns);
    }
  }
  void begin() { wait(window_ns, BusyWaitPolicy::kStreak); }

  std::uint64_t window_ns;
  BusyWaitPolicy policy;
  std::uint64_t now_ns = 1'000'000'000;
  std::uint64_t looked_ns = 0;
  std::uint64_t vain_ns = 0;
};

}  // namespace

TEST_CASE("looking begins after short waits in a row, and one long wait begins the count again") {
  Subject subject(kWindowNs);
  subject.wait(kWindowNs, BusyWaitPolicy::kStreak - 1);
  CHECK_FALSE(subject.policy.is_looking());
  subject.wait(2 * kWindowNs + 1);
  subject.wait(2 * kWindowNs, BusyWaitPolicy::kStreak - 1);
  CHECK_FALSE(subject.policy.is_looking());
  subject.wait(2 * kWindowNs);  // a sleep has waking up in it
  CHECK(subject.policy.is_looking());
}

TEST_CASE("a conversation with a late answer now and then is looked for all the time") {
  Subject subject(kWindowNs);
  subject.begin();
  for (int round = 0; round < 1000; ++round) {
    subject.wait(10 * kWindowNs);
    subject.wait(kWindowNs / 3, 12);
    REQUIRE(subject.policy.is_looking());
  }
}

TEST_CASE("what is looked in vain is bounded, whatever comes") {
  const std::uint64_t window_ns = GENERATE(std::uint64_t{1'000}, std::uint64_t{75'000}, std::uint64_t{1'000'000});
  // A pattern of waits: so many of the first length, then one of the second, in hundredths of a window.
  const auto [count, near, far] =
      GENERATE(std::tuple(0U, 0U, 101U), std::tuple(4U, 1U, 101U), std::tuple(4U, 2U, 190U), std::tuple(1U, 100U, 101U),
               std::tuple(3U, 50U, 150U), std::tuple(40U, 1U, 200U), std::tuple(100U, 10U, 5000U));
  Subject subject(window_ns);
  const std::uint64_t began_ns = subject.now_ns;
  while (subject.now_ns < began_ns + 10'000 * window_ns) {
    if (!subject.policy.is_looking())
      subject.wait(window_ns / 50);  // asleep everything is short, so that it begins again
    subject.wait(near * window_ns / 100, count);
    subject.wait(far * window_ns / 100);
  }
  const std::uint64_t useful_ns = subject.looked_ns - subject.vain_ns;
  CAPTURE(window_ns, count, near, far, subject.looked_ns);
  CHECK(subject.looked_ns > 0);
  CHECK(subject.vain_ns <= (subject.now_ns - began_ns) / 40 + useful_ns / 4 + 6 * window_ns);
}

TEST_CASE("a CPU that others want is left to them for a second, and for longer when it happens again") {
  Subject subject(kWindowNs);
  subject.begin();
  subject.policy.turned(BusyWaitPolicy::kAwayNs - 1, subject.now_ns);
  CHECK(subject.policy.is_looking());
  for (const std::uint64_t pause_s : {1U, 2U, 4U, 4U}) {
    REQUIRE(subject.policy.is_looking());
    subject.policy.turned(BusyWaitPolicy::kAwayNs, subject.now_ns);
    CHECK_FALSE(subject.policy.is_looking());
    const std::uint64_t until_ns = subject.now_ns + pause_s * 1'000'000'000;
    while (subject.now_ns + kWindowNs < until_ns) {
      subject.wait(kWindowNs);
      REQUIRE_FALSE(subject.policy.is_looking());
    }
    subject.wait(kWindowNs, 2);
  }
  CHECK(subject.policy.is_looking());
  subject.now_ns += 2 * BusyWaitPolicy::kAwayPauseMaxNs;  // undisturbed: it begins at one second again
  subject.policy.turned(BusyWaitPolicy::kAwayNs, subject.now_ns);
  subject.now_ns += BusyWaitPolicy::kAwayPauseMinNs;
  subject.begin();
  CHECK(subject.policy.is_looking());
}

TEST_CASE("without a window there is no looking, and a window that is taken away ends it") {
  Subject subject(kWindowNs);
  subject.begin();
  subject.policy.set_window_ns(0);
  CHECK_FALSE(subject.policy.is_looking());
  subject.wait(0, 1000);
  CHECK_FALSE(subject.policy.is_looking());
  subject.policy.set_window_ns(kWindowNs);
  subject.begin();
  CHECK(subject.policy.is_looking());
}

namespace {

std::span<epoll_event> wait_with(BusyWait& wait, Poller& poller, std::span<epoll_event> space, int timeout_ms) {
  const auto events = wait.look(poller, space, timeout_ms);
  return events.empty() ? wait.sleep(poller, space, timeout_ms) : events;
}

}  // namespace

TEST_CASE("waiting gives what the poller gives, looking or not, and no time-out is missed") {
  auto poller = Poller::create();
  REQUIRE(poller);
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE(poller->add(event.get(), EPOLLIN | EPOLLET, 7) == 0);
  constexpr std::uint64_t kLongNs = 30'000'000'000;
  BusyWait wait(kLongNs);
  std::array<epoll_event, 4> space;
  const auto raise = [&] { REQUIRE(::eventfd_write(event.get(), 1) == 0); };
  for (int i = 0; i < 100; ++i) {
    raise();
    const auto events = wait_with(wait, *poller, space, -1);
    REQUIRE(events.size() == 1);
    REQUIRE(events[0].data.u64 == 7);
  }
  CHECK(wait_with(wait, *poller, space, 0).empty());
  std::uint64_t began_ns = culvert::monotonic_ns();
  CHECK(wait_with(wait, *poller, space, 30).empty());
  const std::uint64_t took_ns = culvert::monotonic_ns() - began_ns;
  CHECK(took_ns >= 30'000'000);
  CHECK(took_ns < 10'000'000'000);
  CHECK(wait.looked_ns() > 0);
  // Whatever it did meanwhile, an event ends it.
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    raise();
  });
  CHECK(wait_with(wait, *poller, space, -1).size() == 1);
  other.join();
}

TEST_CASE("a time-out within the window is kept") {
  auto poller = Poller::create();
  REQUIRE(poller);
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  REQUIRE(poller->add(event.get(), EPOLLIN | EPOLLET, 7) == 0);
  BusyWait wait(30'000'000'000);
  std::array<epoll_event, 4> space;
  for (int i = 0; i < 100; ++i) {
    REQUIRE(::eventfd_write(event.get(), 1) == 0);
    REQUIRE(wait_with(wait, *poller, space, -1).size() == 1);
  }
  const std::uint64_t began_ns = culvert::monotonic_ns();
  CHECK(wait_with(wait, *poller, space, 1).empty());
  CHECK(culvert::monotonic_ns() - began_ns < 10'000'000'000);
}
