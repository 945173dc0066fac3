// SPDX-License-Identifier: Apache-2.0
// When spans are sent, sent again and given up, with a collector and a clock that the test plays.
#include "control/otlp_exporter.hpp"

#include <deque>

#include <catch2/catch.hpp>

#include "fake_scheduler.hpp"
#include "proto/otlp_collector.pb.h"

namespace culvert::control {
namespace {

using Outcome = ExportAnswer::Outcome;

class FakeSender final : public SpanSender {
 public:
  void send(const ExportRequest& request, Answered answered) override {
    sizes.push_back(request.resource_spans(0).scope_spans(0).spans_size());
    waiting = std::move(answered);
  }
  void answer(ExportAnswer with) {
    REQUIRE(waiting);
    std::exchange(waiting, nullptr)(std::move(with));
  }

  std::vector<int> sizes;  // of each call
  Answered waiting;
};

struct Bench {
  FakeScheduler clock;
  FakeSender sender;
  std::unique_ptr<telemetry::SpanQueue> queue = telemetry::SpanQueue::create(2'000, OtlpExporter::kBatch).value();
  std::vector<std::string> told;
  OtlpExporter exporter{{.resource = {{"service.name", "x"}}, .interval_ms = 5'000},
                        {.failed = [this](const std::string& why) { told.push_back(why); },
                         .recovered = [this] { told.emplace_back("recovered"); }},
                        *queue,
                        sender,
                        clock};

  void push(int count) {
    for (int i = 0; i < count; ++i) queue->push({});
  }
};

ExportAnswer answered(Outcome outcome, std::string why, std::uint64_t rejected = 0) {
  return {.outcome = outcome, .rejected_spans = rejected, .retry_after_ms = std::nullopt, .why = std::move(why)};
}

ExportAnswer retry(std::string why, std::optional<std::uint64_t> after_ms = std::nullopt) {
  ExportAnswer answer = answered(Outcome::Retry, std::move(why));
  answer.retry_after_ms = after_ms;
  return answer;
}

}  // namespace

TEST_CASE("spans wait for the interval, and a whole batch does not") {
  Bench bench;
  bench.push(3);
  bench.clock.advance(4'999);
  CHECK(bench.sender.sizes.empty());
  bench.clock.advance(1);
  CHECK(bench.sender.sizes == std::vector{3});
  bench.sender.answer({});
  CHECK(bench.exporter.counters().sent == 3);
  bench.clock.advance(20'000);
  CHECK(bench.sender.sizes.size() == 1);  // nothing to say
  bench.push(600);
  bench.exporter.on_queue();
  CHECK(bench.sender.sizes.back() == 512);
  bench.sender.answer({});
  CHECK(bench.sender.sizes.size() == 2);  // 88 wait for company
  bench.clock.advance(5'000);
  CHECK(bench.sender.sizes.back() == 88);
}

TEST_CASE("a queue that is smaller than a batch and fills during a call is sent behind it, not an interval later") {
  FakeScheduler clock;
  FakeSender sender;
  const auto queue = telemetry::SpanQueue::create(10, 10).value();
  OtlpExporter exporter({.resource = {}, .interval_ms = 5'000, .call_at = 10},
                        {.failed = [](const std::string&) {}, .recovered = [] {}}, *queue, sender, clock);
  queue->push({});
  clock.advance(5'000);
  for (int i = 0; i < 10; ++i) queue->push({});
  exporter.on_queue();
  sender.answer({});
  CHECK(sender.sizes == std::vector{1, 10});
}

TEST_CASE("one call at a time") {
  Bench bench;
  bench.push(1);
  bench.clock.advance(5'000);
  bench.push(1'200);
  bench.exporter.on_queue();
  bench.clock.advance(60'000);
  CHECK(bench.sender.sizes == std::vector{1});
  bench.sender.answer({});
  CHECK(bench.sender.sizes == std::vector{1, 512});
  bench.sender.answer({});
  CHECK(bench.sender.sizes == std::vector{1, 512, 512});
}

TEST_CASE("what may work later is sent again, at growing intervals, and told once for each reason") {
  Bench bench;
  bench.clock.random_value = 1;
  bench.push(2);
  bench.clock.advance(5'000);
  for (const std::int64_t pause : {1'000, 2'000, 4'000, 8'000, 16'000, 30'000, 30'000}) {
    const std::size_t calls = bench.sender.sizes.size();
    bench.sender.answer(retry("away"));
    bench.clock.advance(pause - 1);
    CHECK(bench.sender.sizes.size() == calls);
    bench.clock.advance(1);
    CHECK(bench.sender.sizes.size() == calls + 1);
  }
  bench.sender.answer({});
  CHECK(bench.told == std::vector<std::string>{"away", "recovered"});
  CHECK(bench.exporter.counters().sent == 2);
  CHECK(bench.exporter.counters().failures == 7);
  CHECK(bench.exporter.counters().rejected == 0);
}

TEST_CASE("a collector that says when is not asked sooner") {
  Bench bench;
  bench.push(1);
  bench.clock.advance(5'000);
  bench.sender.answer(retry("busy", 60'000));
  bench.clock.advance(59'999);
  CHECK(bench.sender.sizes.size() == 1);
  bench.clock.advance(1);
  CHECK(bench.sender.sizes.size() == 2);
}

TEST_CASE("what is refused or rejected is counted and not sent again") {
  Bench bench;
  bench.push(5);
  bench.clock.advance(5'000);
  bench.sender.answer(answered(Outcome::Refused, "no"));
  CHECK(bench.exporter.counters().rejected == 5);
  bench.push(5);
  bench.clock.advance(5'000);
  bench.sender.answer(answered(Outcome::Accepted, "two are too long", 2));
  CHECK(bench.exporter.counters().rejected == 7);
  CHECK(bench.exporter.counters().sent == 3);
  CHECK(bench.exporter.counters().failures == 1);
  CHECK(bench.told == std::vector<std::string>{"no", "two are too long"});
}

TEST_CASE("a flush sends everything at once, or ends with the first call that fails") {
  Bench bench;
  int flushed = 0;
  const bool is_answered = GENERATE(true, false);
  bench.push(700);
  bench.exporter.flush([&flushed] { ++flushed; });
  CHECK(bench.sender.sizes == std::vector{512});
  bench.sender.answer(is_answered ? ExportAnswer{} : retry("away"));
  if (is_answered) {
    CHECK(bench.sender.sizes == std::vector{512, 188});
    CHECK(flushed == 0);
    bench.sender.answer({});
  }
  bench.clock.advance(0);
  CHECK(flushed == 1);
}

TEST_CASE("a flush takes what waits for its next attempt along, and one of nothing ends at once") {
  Bench bench;
  int flushed = 0;
  bench.push(1);
  bench.clock.advance(5'000);
  bench.sender.answer(retry("away"));
  bench.exporter.flush([&flushed] { ++flushed; });
  CHECK(bench.sender.sizes == std::vector{1, 1});
  bench.sender.answer({});
  bench.clock.advance(0);
  CHECK(flushed == 1);
  bench.exporter.flush([&flushed] { ++flushed; });
  bench.clock.advance(0);
  CHECK(flushed == 2);
}

}  // namespace culvert::control
