// SPDX-License-Identifier: Apache-2.0
// Label sets of one worker: found by key, made once, let go, limited; and read meanwhile by another thread.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "telemetry/traffic_rows.hpp"

namespace culvert::telemetry {
namespace {

NewLabels labels(std::string_view source, std::string_view destination = "server") {
  return {source_text({.is_known = true, .workload = source}), service_text({.hostname = "web.shop"}),
          destination_text({.is_known = true, .workload = destination})};
}

TrafficKey key(std::uint64_t source, Reporter reporter = Reporter::Source) {
  TrafficKey made;
  made.source = source;
  made.reporter = reporter;
  return made;
}

TrafficSlot& open(TrafficTable& table, std::uint64_t number, std::uint64_t now_ms) {
  TrafficSlot* slot = table.find(key(number));
  if (slot == nullptr) slot = &table.intern(key(number), labels("pod-" + std::to_string(number)));
  TrafficTable::hold(*slot, now_ms);
  slot->opened.add();
  return *slot;
}

void sweep(TrafficTable& table, std::uint64_t now_ms, std::uint64_t expiry_ms) {
  table.begin_sweep(expiry_ms);
  while (table.has_more_to_sweep()) table.sweep(now_ms);
  table.reclaim();
}

std::vector<TrafficRow> rows(const TrafficTable& table) {
  const TrafficTable* tables[] = {&table};
  return traffic_rows(tables);
}

}  // namespace

TEST_CASE("a key is found after its labels were made, and keys with the same labels share a slot") {
  LabelBudget budget(10);
  TrafficTable table(budget);
  CHECK(table.is_untouched());
  CHECK(table.find(key(1)) == nullptr);
  TrafficSlot& one = table.intern(key(1), labels("a"));
  CHECK(table.find(key(1)) == &one);
  CHECK(&table.intern(key(2), labels("a")) == &one);
  CHECK(table.find(key(2)) == &one);
  TrafficSlot& other = table.intern(key(3), labels("b"));
  CHECK(&other != &one);
  // The two ends of one connection are two sets.
  CHECK(&table.intern(key(1, Reporter::Destination), labels("a")) != &one);
  CHECK(budget.used() == 3);
  CHECK(one.labels.service == other.labels.service);  // text is kept once
  CHECK_FALSE(table.is_untouched());
}

TEST_CASE("many keys are found again whatever the room they are remembered in") {
  LabelBudget budget(5'000);
  TrafficTable table(budget);
  std::vector<TrafficSlot*> slots;
  for (std::uint64_t i = 0; i < 5'000; ++i) slots.push_back(&open(table, i, 0));
  for (std::uint64_t i = 0; i < 5'000; ++i) CHECK(&open(table, i, 0) == slots[i]);
  CHECK(rows(table).size() == 5'000);
}

TEST_CASE("a set without a connection goes after its time, and comes back from 0") {
  LabelBudget budget(10);
  TrafficTable table(budget);
  TrafficSlot& held = open(table, 1, 1'000);
  TrafficSlot& ended = open(table, 2, 1'000);
  ended.received_bytes.add(7);
  ended.closed[kNoFlag].add();
  TrafficTable::let_go(ended, 2'000);

  sweep(table, 2'999, 1'000);
  CHECK(rows(table).size() == 2);
  sweep(table, 3'000, 1'000);
  REQUIRE(rows(table).size() == 1);
  CHECK(rows(table)[0].labels.source->text.find("pod-1") != std::string::npos);
  CHECK(budget.used() == 1);
  CHECK(table.find(key(2)) == nullptr);
  CHECK(table.find(key(1)) == &held);

  TrafficSlot& again = open(table, 2, 4'000);
  CHECK(&again == &ended);  // the room is used again
  CHECK(again.opened.value() == 1);
  CHECK(again.received_bytes.value() == 0);
  CHECK(again.closed[kNoFlag].value() == 0);
}

TEST_CASE("what a scrape has taken outlives the set") {
  LabelBudget budget(10);
  TrafficTable table(budget);
  TrafficTable::let_go(open(table, 1, 0), 0);
  const std::vector<TrafficRow> taken = rows(table);
  sweep(table, 10'000, 1'000);
  CHECK(rows(table).empty());
  REQUIRE(taken.size() == 1);
  CHECK(taken[0].labels.source->text.find("pod-1") != std::string::npos);
}

TEST_CASE("beyond the limit connections are counted under one overflow set for each reporter and policy") {
  LabelBudget budget(2);
  TrafficTable table(budget);
  TrafficSlot& first = open(table, 1, 0);
  static_cast<void>(open(table, 2, 0));
  TrafficSlot& third = open(table, 3, 0);
  TrafficSlot& fourth = open(table, 4, 0);
  CHECK(&third == &fourth);
  CHECK(table.folded() == 2);
  CHECK(table.find(key(3)) == nullptr);  // it may get its own when there is room
  CHECK(&open(table, 1, 0) == &first);   // those that have one keep it
  CHECK(table.intern(key(5, Reporter::Destination), labels("e")).labels.reporter == Reporter::Destination);
  std::string text;
  append_labels(text, third.labels, "-");
  CHECK(text ==
        R"({reporter="source",source_workload="overflow",source_canonical_service="overflow",)"
        R"(source_canonical_revision="overflow",source_workload_namespace="overflow",source_principal="overflow",)"
        R"(source_app="overflow",source_version="overflow",source_cluster="overflow",destination_service="overflow",)"
        R"(destination_service_namespace="overflow",destination_service_name="overflow",)"
        R"(destination_workload="overflow",destination_canonical_service="overflow",)"
        R"(destination_canonical_revision="overflow",destination_workload_namespace="overflow",)"
        R"(destination_principal="overflow",destination_app="overflow",destination_version="overflow",)"
        R"(destination_cluster="overflow",request_protocol="tcp",response_flags="-",)"
        R"(connection_security_policy="unknown",source_region="overflow",source_zone="overflow",)"
        R"(destination_region="overflow",destination_zone="overflow"})");

  TrafficTable::let_go(first, 0);
  TrafficTable::let_go(first, 0);
  sweep(table, 10'000, 1'000);
  TrafficSlot& now = open(table, 3, 10'000);
  CHECK(&now != &third);
  CHECK(table.folded() == 3);  // the one of the other reporter, and no more
}

TEST_CASE("a limit holds when nobody empties what was let go") {
  LabelBudget budget(16);
  TrafficTable table(budget);
  std::uint64_t now_ms = 0;
  for (std::uint64_t i = 0; i < 1'000; ++i) {
    TrafficTable::let_go(open(table, i, now_ms), now_ms);
    now_ms += 10'000;
    table.begin_sweep(1'000);
    while (table.has_more_to_sweep()) table.sweep(now_ms);  // and no reclaim
  }
  CHECK(table.folded() > 900);
  table.reclaim();
  TrafficTable::let_go(open(table, 5'000, now_ms), now_ms);
  CHECK(table.find(key(5'000)) != nullptr);
}

TEST_CASE("the control thread reads and empties while the worker makes sets and lets them go") {
  LabelBudget budget(200);
  TrafficTable table(budget);
  std::atomic<bool> is_done{false};
  std::thread control([&] {
    while (!is_done.load()) {
      for (const TrafficRow& row : rows(table)) {
        // Whatever is shown is whole; while this thread lags behind with emptying, the worker may run out of slots.
        const std::string& text = row.labels.source->text;
        const bool is_whole =
            text.starts_with(R"(source_workload="pod-)") || text.starts_with(R"(source_workload="overflow")");
        if (!is_whole || !text.ends_with("\"")) std::abort();
        if (row.closed[kNoFlag] > row.opened) std::abort();
      }
      table.reclaim();
    }
  });
  std::uint64_t now_ms = 0;
  for (std::uint64_t round = 0; round < 300; ++round) {
    for (std::uint64_t i = 0; i < 50; ++i) {
      TrafficSlot& slot = open(table, round * 25 + i, now_ms);
      slot.closed[kNoFlag].add();
      TrafficTable::let_go(slot, now_ms);
    }
    now_ms += 600;
    table.begin_sweep(1'000);
    while (table.has_more_to_sweep()) table.sweep(now_ms);
  }
  is_done = true;
  control.join();
  sweep(table, now_ms + 10'000, 1'000);
  CHECK(budget.used() == 0);
  for (const TrafficRow& row : rows(table)) CHECK(row.labels.source->text.starts_with(R"(source_workload="overflow")"));
}

TEST_CASE("what a worker has counted stays for as long as another one counts under the same set") {
  LabelBudget budget(10);
  TrafficTable first(budget);
  TrafficTable second(budget);
  const TrafficTable* tables[] = {&first, &second};
  TrafficTable* workers[] = {&first, &second};
  TrafficHistory history;
  TrafficSlot& done = open(first, 1, 0);
  done.sent_bytes.add(100);
  done.closed[kNoFlag].add();
  TrafficTable::let_go(done, 0);
  TrafficSlot& live = open(second, 1, 0);
  const auto let_go = [](TrafficTable& table, std::uint64_t now_ms) {
    table.begin_sweep(1'000);
    while (table.has_more_to_sweep()) table.sweep(now_ms);
  };
  for (int i = 0; i < 3; ++i) {
    let_go(first, 2'000);
    const auto rows = history.rows(tables);  // once before it is given back, then after
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].opened == 2);
    CHECK(rows[0].sent_bytes == 100);
    CHECK(rows[0].closed[kNoFlag] == 1);
    history.reclaim(workers);
    CHECK(history.size() == 1);
  }
  TrafficTable::let_go(live, 3'000);
  let_go(second, 5'000);
  CHECK(history.rows(tables).empty());  // told of as gone: from 0 again, whether or not it was given back meanwhile
  SECTION("given back") { history.reclaim(workers); }
  SECTION("not given back") {}
  CHECK(history.size() == 0);
  open(first, 1, 6'000);
  CHECK(history.rows(tables)[0].opened == 1);
  history.reclaim(workers);
  CHECK(history.rows(tables)[0].opened == 1);
}

TEST_CASE("the workers' counts of one set are added up, and a set that nothing was opened under is not shown") {
  LabelBudget budget(10);
  TrafficTable first(budget);
  TrafficTable second(budget);
  TrafficSlot& a = open(first, 1, 0);
  TrafficSlot& b = open(second, 1, 0);
  a.sent_bytes.add(5);
  b.sent_bytes.add(6);
  b.closed[3].add();
  static_cast<void>(second.intern(key(2), labels("never opened")));
  const TrafficTable* tables[] = {&first, &second};
  const std::vector<TrafficRow> all = traffic_rows(tables);
  REQUIRE(all.size() == 1);
  CHECK(all[0].opened == 2);
  CHECK(all[0].sent_bytes == 11);
  CHECK(all[0].closed[3] == 1);
  CHECK(budget.used() == 2);
}

}  // namespace culvert::telemetry
