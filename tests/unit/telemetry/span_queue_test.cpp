// SPDX-License-Identifier: Apache-2.0
#include "telemetry/span_queue.hpp"

#include <thread>

#include <poll.h>
#include <catch2/catch.hpp>

namespace culvert::telemetry {
namespace {

Span numbered(std::uint64_t number) {
  Span span;
  span.context.span = number;
  return span;
}

bool is_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&one, 1, 0) == 1;
}

}  // namespace

TEST_CASE("spans come out in the order of their coming, in batches") {
  const auto queue = SpanQueue::create(10, 3).value();
  CHECK(queue->take(5).empty());
  for (std::uint64_t i = 1; i <= 7; ++i) queue->push(numbered(i));
  std::vector<std::uint64_t> order;
  for (const std::size_t batch : {3U, 3U, 2U}) {
    const std::vector<Span> spans = queue->take(3);
    CHECK(spans.size() == batch);
    for (const Span& span : spans) order.push_back(span.context.span);
    if (order.size() == 3) queue->push(numbered(8));  // behind what waits already
  }
  CHECK(order == std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_CASE("what finds the queue full is lost and counted, and there is room again for what was taken") {
  const auto queue = SpanQueue::create(2, 1).value();
  for (std::uint64_t i = 1; i <= 5; ++i) queue->push(numbered(i));
  CHECK(queue->dropped() == 3);
  CHECK(queue->size() == 2);
  CHECK(queue->take(1).size() == 1);
  queue->push(numbered(6));
  const std::vector<Span> rest = queue->take(9);
  REQUIRE(rest.size() == 2);
  CHECK(rest[0].context.span == 2);
  CHECK(rest[1].context.span == 6);
  CHECK(queue->dropped() == 3);
}

TEST_CASE("the descriptor says when a batch is there") {
  const auto queue = SpanQueue::create(10, 2).value();
  queue->push(numbered(1));
  CHECK_FALSE(is_readable(queue->fd()));
  queue->push(numbered(2));
  CHECK(is_readable(queue->fd()));
  queue->acknowledge();
  CHECK_FALSE(is_readable(queue->fd()));
}

TEST_CASE("threads push at once, and every span comes out once") {
  constexpr std::uint64_t kThreads = 4;
  constexpr std::uint64_t kEach = 5'000;
  const auto queue = SpanQueue::create(1'000, 100).value();
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&queue, t] {
      for (std::uint64_t i = 1; i <= kEach; ++i) queue->push(numbered(t << 32U | i));
    });
  }
  std::vector<std::uint64_t> last(kThreads);
  std::uint64_t taken = 0;
  const auto take = [&] {
    for (const Span& span : queue->take(64)) {
      const std::uint64_t thread = span.context.span >> 32U;
      CHECK((span.context.span & 0xffff'ffffU) > last[thread]);
      last[thread] = span.context.span & 0xffff'ffffU;
      ++taken;
    }
  };
  while (taken + queue->dropped() < kThreads * kEach) take();
  for (std::thread& thread : threads) thread.join();
  CHECK(queue->size() == 0);
}

TEST_CASE("a share of traces is that share of their numbers") {
  CHECK_FALSE(is_sampled(0, 0));
  CHECK(is_sampled(~std::uint64_t{0}, kSamplingAll));
  CHECK(is_sampled(0, 1));
  constexpr std::uint64_t kHalf = std::uint64_t{1} << 63U;
  CHECK(is_sampled(kHalf - 1, 500'000));
  CHECK_FALSE(is_sampled(kHalf, 500'000));
}

}  // namespace culvert::telemetry
