// SPDX-License-Identifier: Apache-2.0
#include "core/until_done.hpp"

#include <catch2/catch.hpp>

#include "base/clock.hpp"

using culvert::Reactor;
using culvert::UntilDone;

namespace {

struct Bench {
  void pass(std::uint64_t ms) const {
    const std::uint64_t end_ms = culvert::monotonic_ms() + ms;
    while (culvert::monotonic_ms() < end_ms) reactor->turn(5);
  }
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  unsigned attempts = 0;
  unsigned fails = 0;  // so many of the next attempts
  UntilDone it{*reactor, 20, [this] {
                 ++attempts;
                 return fails == 0 || fails-- == 0;
               }};
};

}  // namespace

TEST_CASE("what can be done at once is done at once, and once") {
  Bench bench;
  bench.it.run();
  CHECK(bench.attempts == 1);
  bench.pass(60);
  CHECK(bench.attempts == 1);
}

TEST_CASE("what cannot be done is tried again after each pause until it is done") {
  Bench bench;
  bench.fails = 3;
  bench.it.run();
  CHECK(bench.attempts == 1);
  bench.pass(300);
  CHECK(bench.attempts == 4);
}

TEST_CASE("wanted again while it waits, it is tried at once and no more often after that") {
  Bench bench;
  bench.fails = 1'000;
  for (unsigned i = 0; i < 10; ++i) bench.it.run();
  CHECK(bench.attempts == 10);
  bench.pass(100);
  CHECK(bench.attempts > 11);
  CHECK(bench.attempts < 16);  // one timer, not ten
  bench.fails = 0;
  bench.it.run();
  const unsigned so_far = bench.attempts;
  bench.pass(60);
  CHECK(bench.attempts == so_far);
}

TEST_CASE("it ends with its owner") {
  const auto reactor = Reactor::create().value();
  unsigned attempts = 0;
  {
    UntilDone it(*reactor, 1, [&attempts] {
      ++attempts;
      return false;
    });
    it.run();
  }
  for (unsigned i = 0; i < 5; ++i) reactor->turn(5);
  CHECK(attempts == 1);
}
