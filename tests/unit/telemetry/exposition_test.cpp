// SPDX-License-Identifier: Apache-2.0
// A scrape as text, in both formats, whole and in parts.
#include <chrono>
#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "telemetry/exposition.hpp"
#include "telemetry/metrics.hpp"

namespace culvert::telemetry {
namespace {

std::string written(const Scrape& scrape, ExpositionFormat format, std::size_t part_bytes = 1U << 20U) {
  Exposition exposition(scrape, format);
  std::string all;
  bool has_more = true;
  while (has_more) {
    std::string part;
    has_more = exposition.next(part, part_bytes);
    all += part;
  }
  return all;
}

std::string one(const prometheus::MetricFamily& family, ExpositionFormat format) {
  std::string out;
  append_family(out, family, format);
  return out;
}

Scrape scrape(unsigned sets) {
  LabelBudget budget(sets);
  TrafficTable table(budget);
  for (unsigned i = 0; i < sets; ++i) {
    TrafficKey key;
    key.source = i + 1;
    TrafficSlot& slot = table.intern(
        key, {source_text({.is_known = true, .workload = "w" + std::to_string(i)}),
              service_text({.hostname = "web.shop"}), destination_text({.is_known = true, .workload = "server"})});
    slot.opened.add(3);
    slot.closed[kNoFlag].add(1);
    slot.closed[1].add(i % 2);
    slot.received_bytes.add(18'446'744'073'709'551'615U);
  }
  const TrafficTable* tables[] = {&table};
  return {build_families("1.2.3"), traffic_rows(tables)};
}

constexpr auto kText = ExpositionFormat::Text;
constexpr auto kOpenMetrics = ExpositionFormat::OpenMetrics;

}  // namespace

TEST_CASE("a counter's family has no _total in OpenMetrics, its samples have") {
  auto family = counter_family("culvert_things_total", "things, \"all\" of\nthem\\");
  add(family, {{"kind", "a\"b"}}, 4);
  CHECK(one(family, kText) ==
        "# HELP culvert_things_total things, \"all\" of\\nthem\\\\\n"
        "# TYPE culvert_things_total counter\n"
        "culvert_things_total{kind=\"a\\\"b\"} 4\n");
  CHECK(one(family, kOpenMetrics) ==
        "# HELP culvert_things things, \\\"all\\\" of\\nthem\\\\\n"
        "# TYPE culvert_things counter\n"
        "culvert_things_total{kind=\"a\\\"b\"} 4\n");
}

TEST_CASE("values are written in full and as both formats read them") {
  auto family = gauge_family("culvert_level", "level");
  for (const double value : {0.0, 9'007'199'254'740'991.0, 0.25, -3.0}) add(family, {}, value);
  add(family, {}, std::numeric_limits<double>::infinity());
  add(family, {}, std::numeric_limits<double>::quiet_NaN());
  CHECK(one(family, kText) ==
        "# HELP culvert_level level\n# TYPE culvert_level gauge\n"
        "culvert_level 0\nculvert_level 9007199254740991\nculvert_level 0.25\n"
        "culvert_level -3\nculvert_level +Inf\nculvert_level NaN\n");
}

TEST_CASE("a histogram has its buckets, with the last one at infinity, its sum and its count") {
  prometheus::MetricFamily family{
      .name = "culvert_wait_seconds", .help = "wait", .type = prometheus::MetricType::Histogram, .metric = {}};
  prometheus::ClientMetric sample;
  sample.label.push_back({"kind", "x"});
  sample.histogram.bucket = {{2, 0.5}, {3, 1}};
  sample.histogram.sample_count = 4;
  sample.histogram.sample_sum = 7.5;
  family.metric.push_back(sample);
  CHECK(one(family, kOpenMetrics) ==
        "# HELP culvert_wait_seconds wait\n# TYPE culvert_wait_seconds histogram\n"
        "culvert_wait_seconds_bucket{kind=\"x\",le=\"0.5\"} 2\n"
        "culvert_wait_seconds_bucket{kind=\"x\",le=\"1.0\"} 3\n"
        "culvert_wait_seconds_bucket{kind=\"x\",le=\"+Inf\"} 4\n"
        "culvert_wait_seconds_sum{kind=\"x\"} 7.5\n"
        "culvert_wait_seconds_count{kind=\"x\"} 4\n");
  CHECK(one(family, kText).find("le=\"1\"} 3\n") != std::string::npos);
}

TEST_CASE("traffic is one family after the other, and failed are those with a flag") {
  const std::string text = written(scrape(2), kText);
  INFO(text);
  const auto count = [&](std::string_view what) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++found;
    return found;
  };
  CHECK(count("\nistio_tcp_connections_opened_total{") == 2);
  CHECK(count("\nistio_tcp_connections_closed_total{") == 3);
  CHECK(count("\nistio_tcp_connections_failed_total{") == 1);
  CHECK(count("response_flags=\"DENY\"") == 2);
  CHECK(count("# TYPE istio_tcp_connections_failed_total counter\n") == 1);
  CHECK(count("\nistio_tcp_received_bytes_total{") == 2);
  CHECK(count("} 18446744073709551615\n") == 2);
  CHECK(count("\nistio_build{component=\"ztunnel\",tag=\"1.2.3\"} 1\n") == 1);
  CHECK(count("# EOF") == 0);
  CHECK(written(scrape(2), kOpenMetrics).ends_with("\n# EOF\n"));
}

TEST_CASE("in parts it is the same text, and no part is much larger than it was asked to be") {
  const Scrape all = scrape(50);
  const std::string whole = written(all, kOpenMetrics);
  CHECK(written(all, kOpenMetrics, 1) == whole);
  CHECK(written(all, kOpenMetrics, 1'000) == whole);
  Exposition exposition(all, kOpenMetrics);
  bool has_more = true;
  while (has_more) {
    std::string part;
    has_more = exposition.next(part, 4'096);
    CHECK(part.size() < 4'096 + 3'000);
  }
}

// Not a check of time: what a scrape of 10,000 label sets costs the control thread, for docs/performance.md. `unit_telemetry [.bench]`.
TEST_CASE("what a large scrape costs", "[.bench]") {
  using Clock = std::chrono::steady_clock;
  const auto us = [](Clock::duration time) {
    return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
  };
  constexpr unsigned kSets = 10'000;
  LabelBudget budget(kSets);
  TrafficTable first(budget);
  TrafficTable second(budget);
  for (unsigned i = 0; i < kSets; ++i) {
    TrafficKey key;
    key.source = i % 100 + 1;
    key.destination = i / 100 + 1;
    const std::string source = "client-" + std::to_string(i % 100) + "-deployment";
    const std::string destination = "server-" + std::to_string(i / 100) + "-deployment";
    const auto party = [](std::string_view name) {
      return TrafficParty{true, name, name,         "v1",      "shop",     "spiffe://cluster.local/ns/shop/sa/default",
                          name, "v1", "Kubernetes", "eu-west", "eu-west-1"};
    };
    for (TrafficTable* table : {&first, &second}) {
      TrafficSlot& slot =
          table->intern(key, {source_text(party(source)), service_text({destination, "shop", destination}),
                              destination_text(party(destination))});
      slot.opened.add(i);
      slot.closed[kNoFlag].add(i);
    }
  }
  const TrafficTable* tables[] = {&first, &second};
  const auto start = Clock::now();
  Scrape all{{}, traffic_rows(tables)};
  const auto merged = Clock::now();
  Exposition exposition(std::move(all), kText);
  std::size_t bytes = 0;
  std::size_t parts = 0;
  Clock::duration longest{};
  bool has_more = true;
  while (has_more) {
    std::string part;
    const auto before = Clock::now();
    has_more = exposition.next(part, 64 * 1'024);
    longest = std::max(longest, Clock::now() - before);
    bytes += part.size();
    ++parts;
  }
  WARN("rows " << us(merged - start) << " us, " << bytes << " bytes in " << parts
               << " parts: " << us(Clock::now() - merged) << " us, the longest " << us(longest) << " us");
}

}  // namespace culvert::telemetry
