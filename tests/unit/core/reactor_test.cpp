// SPDX-License-Identifier: Apache-2.0
// What a callback may do to the reactor while it is being served.
#include "core/reactor.hpp"

#include <memory>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.hpp"

#include <catch2/catch.hpp>

using culvert::Reactor;
using culvert::UniqueFd;

namespace {

UniqueFd ready_fd() { return UniqueFd(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)); }

std::unique_ptr<Reactor> make_reactor() {
  auto reactor = Reactor::create();
  REQUIRE(reactor);
  return std::move(*reactor);
}

}  // namespace

TEST_CASE("a callback gets the events of its descriptor") {
  const auto reactor = make_reactor();
  const UniqueFd fd = ready_fd();
  std::uint32_t seen = 0;
  REQUIRE(reactor->watch(fd.get(), EPOLLIN, [&](std::uint32_t events) { seen = events; }));
  reactor->turn(0);
  CHECK(seen == EPOLLIN);
  REQUIRE(reactor->modify(fd.get(), EPOLLOUT));
  reactor->turn(0);
  CHECK(seen == EPOLLOUT);
  reactor->unwatch(fd.get());
  seen = 0;
  reactor->turn(0);
  CHECK(seen == 0);
  CHECK_FALSE(reactor->modify(fd.get(), EPOLLIN));
}

TEST_CASE("a descriptor is watched once, and a bad one is an error") {
  const auto reactor = make_reactor();
  const UniqueFd fd = ready_fd();
  int first = 0;
  REQUIRE(reactor->watch(fd.get(), EPOLLIN, [&](std::uint32_t) { ++first; }));
  CHECK_FALSE(reactor->watch(fd.get(), EPOLLIN, [](std::uint32_t) {}));
  CHECK_FALSE(reactor->watch(-1, EPOLLIN, [](std::uint32_t) {}));
  reactor->turn(0);
  CHECK(first == 1);  // the first watch is untouched
}

TEST_CASE("a callback may remove itself and what it captured stays alive until it returns") {
  const auto reactor = make_reactor();
  const UniqueFd fd = ready_fd();
  auto value = std::make_shared<int>(42);
  const std::weak_ptr<int> witness = value;
  int read_after = 0;
  REQUIRE(reactor->watch(fd.get(), EPOLLIN, [&, value = std::move(value)](std::uint32_t) {
    reactor->unwatch(fd.get());
    read_after = *value;
  }));
  reactor->turn(0);
  CHECK(read_after == 42);
  CHECK(witness.expired());
}

TEST_CASE("a callback that removes the others keeps their fetched events from being served") {
  const auto reactor = make_reactor();
  std::vector<UniqueFd> fds;
  int calls = 0;
  for (int i = 0; i < 10; ++i) fds.push_back(ready_fd());
  for (const UniqueFd& fd : fds) {
    REQUIRE(reactor->watch(fd.get(), EPOLLIN, [&](std::uint32_t) {
      ++calls;
      for (const UniqueFd& each : fds) reactor->unwatch(each.get());
    }));
  }
  reactor->turn(0);
  CHECK(calls == 1);
}

TEST_CASE("an event that was fetched for a removed watch does not reach its successor on the same descriptor") {
  const auto reactor = make_reactor();
  const UniqueFd one = ready_fd();
  const UniqueFd two = ready_fd();
  int old_calls = 0;
  int new_calls = 0;
  const auto swap_other = [&](int self, int other) {
    return [&, self, other](std::uint32_t) {
      ++old_calls;
      reactor->unwatch(self);
      reactor->unwatch(other);
      REQUIRE(reactor->watch(other, EPOLLIN, [&](std::uint32_t) { ++new_calls; }));
    };
  };
  REQUIRE(reactor->watch(one.get(), EPOLLIN, swap_other(one.get(), two.get())));
  REQUIRE(reactor->watch(two.get(), EPOLLIN, swap_other(two.get(), one.get())));
  reactor->turn(0);
  CHECK(old_calls == 1);
  CHECK(new_calls == 0);
  reactor->turn(0);
  CHECK(new_calls == 1);
}

TEST_CASE("a descriptor that was closed while watched can be watched again under its number") {
  const auto reactor = make_reactor();
  UniqueFd fd = ready_fd();
  const int number = fd.get();
  int old_calls = 0;
  int new_calls = 0;
  auto captured = std::make_shared<int>(0);
  const std::weak_ptr<int> witness = captured;
  REQUIRE(reactor->watch(number, EPOLLIN, [&, captured = std::move(captured)](std::uint32_t) { ++old_calls; }));
  fd.reset();
  fd = ready_fd();
  REQUIRE(fd.get() == number);
  REQUIRE(reactor->watch(number, EPOLLIN, [&](std::uint32_t) { ++new_calls; }));
  CHECK(witness.expired());  // the old watch is gone, not merely silent
  reactor->turn(0);
  CHECK(old_calls == 0);
  CHECK(new_calls == 1);
  reactor->unwatch(number);
  reactor->turn(0);
  CHECK(new_calls == 1);
}

TEST_CASE("many watches added while one is served are all served later") {
  const auto reactor = make_reactor();
  const UniqueFd trigger = ready_fd();
  std::vector<UniqueFd> fds;
  int calls = 0;
  REQUIRE(reactor->watch(trigger.get(), EPOLLIN, [&](std::uint32_t) {
    reactor->unwatch(trigger.get());
    for (int i = 0; i < 100; ++i) {
      fds.push_back(ready_fd());
      const int fd = fds.back().get();
      REQUIRE(reactor->watch(fd, EPOLLIN, [&, fd](std::uint32_t) {
        ++calls;
        reactor->unwatch(fd);
      }));
    }
  }));
  for (int turns = 0; turns < 10; ++turns) reactor->turn(0);
  CHECK(calls == 100);
}

TEST_CASE("timers fire in order of their deadlines, once, not early") {
  const auto reactor = make_reactor();
  std::vector<int> order;
  const std::uint64_t start_ms = culvert::monotonic_ms();
  std::uint64_t late_at_ms = 0;
  reactor->after_ms(30, [&] {
    order.push_back(3);
    late_at_ms = culvert::monotonic_ms();
    reactor->stop();
  });
  reactor->after_ms(0, [&] { order.push_back(1); });
  reactor->after_ms(0, [&] { order.push_back(2); });
  reactor->run();
  CHECK(order == std::vector<int>{1, 2, 3});
  CHECK(late_at_ms >= start_ms + 30);
  reactor->turn(0);
  CHECK(order.size() == 3);
}

TEST_CASE("due timers may cancel each other and themselves") {
  const auto reactor = make_reactor();
  int calls = 0;
  std::vector<Reactor::TimerId> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(reactor->after_ms(0, [&] {
      ++calls;
      for (const Reactor::TimerId id : ids) reactor->cancel(id);
    }));
  }
  reactor->turn(10);
  reactor->turn(0);
  CHECK(calls == 1);
  reactor->cancel(12345);  // unknown
}

TEST_CASE("a timer that renews itself at once does not starve the loop") {
  const auto reactor = make_reactor();
  int calls = 0;
  std::function<void()> renew = [&] {
    ++calls;
    reactor->after_ms(0, renew);
  };
  reactor->after_ms(0, renew);
  for (int turns = 1; turns <= 5; ++turns) {
    reactor->turn(0);
    CHECK(calls == turns);
  }
}

TEST_CASE("a timer may remove a watch and a watch may cancel a timer") {
  const auto reactor = make_reactor();
  const UniqueFd fd = ready_fd();
  int timer_calls = 0;
  int fd_calls = 0;
  const Reactor::TimerId doomed = reactor->after_ms(0, [&] { ++timer_calls; });
  REQUIRE(reactor->watch(fd.get(), EPOLLIN, [&](std::uint32_t) {
    ++fd_calls;
    reactor->cancel(doomed);
    reactor->after_ms(0, [&] { reactor->unwatch(fd.get()); });
  }));
  reactor->turn(0);
  reactor->turn(0);
  CHECK(timer_calls == 0);
  CHECK(fd_calls == 1);
}

TEST_CASE("stop before run returns at once, and the reactor can run again") {
  const auto reactor = make_reactor();
  reactor->stop();
  reactor->run();
  int calls = 0;
  reactor->after_ms(1, [&] {
    ++calls;
    reactor->stop();
  });
  reactor->run();
  CHECK(calls == 1);
}
