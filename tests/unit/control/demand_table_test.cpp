// SPDX-License-Identifier: Apache-2.0
// Names that a control plane is asked for: what is said of them and when, and when they are given up.
#include "control/demand_table.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <catch2/catch.hpp>

namespace culvert::control {
namespace {

using Names = std::vector<std::string>;

struct Table {
  DemandTable table;
  Names dropped;
  void want(const std::string& name, std::uint64_t now_ms = 0) { table.want(name, now_ms, dropped); }
  // Everything in one list: "+NAME" and "-NAME", with "|" between requests.
  Names said() {
    Names all;
    for (const DemandTable::Changes& one : table.take_changes()) {
      if (!all.empty()) all.emplace_back("|");
      for (const std::string& name : one.unsubscribe) all.push_back("-" + name);
      Names wanted = one.subscribe;
      std::ranges::sort(wanted);
      for (const std::string& name : wanted) all.push_back("+" + name);
    }
    return all;
  }
};

}  // namespace

TEST_CASE("names are asked for together, and each once") {
  Table world;
  world.want("/10.0.0.1");
  world.want("/10.0.0.2");
  world.want("/10.0.0.1");
  CHECK(world.table.has_questions());
  CHECK(world.said() == Names{"+/10.0.0.1", "+/10.0.0.2"});
  CHECK_FALSE(world.table.has_questions());
  world.want("/10.0.0.1");
  CHECK(world.said().empty());
  CHECK(world.table.asked_count() == 2);
}

TEST_CASE("what is somebody's leaves; its alias need not stay subscribed, its name does") {
  Table world;
  world.want("/10.0.0.1");
  world.want("shop/web.shop.svc.cluster.local");
  static_cast<void>(world.said());
  world.table.set_found("/10.0.0.1", true);
  world.table.set_found("shop/web.shop.svc.cluster.local", false);
  world.table.set_found("nobody/asked", true);
  CHECK(world.said() == Names{"-/10.0.0.1"});
  CHECK(world.table.is_empty());
}

TEST_CASE("an absent name is given up in time, and asked for again: not in the request that gives it up") {
  Table world;
  world.want("/10.0.0.1");
  static_cast<void>(world.said());
  world.table.set_absent("/10.0.0.1", 1'000);
  CHECK(world.table.absent_count() == 1);
  world.want("/10.0.0.1", 2'000);
  CHECK(world.said().empty());
  CHECK(world.table.expire(1'000 + DemandTable::kAbsentMs - 1, true).empty());
  // While nobody listens what was said stays in force.
  CHECK(world.table.expire(1'000'000, false).empty());
  CHECK(world.table.expire(1'000 + DemandTable::kAbsentMs, true) == Names{"/10.0.0.1"});
  world.want("/10.0.0.1", 20'000);
  world.want("/10.0.0.2", 20'000);
  CHECK(world.said() == Names{"-/10.0.0.1", "|", "+/10.0.0.1", "+/10.0.0.2"});
}

TEST_CASE("a name without an answer is given up, whether or not somebody listens") {
  Table world;
  world.want("/10.0.0.1", 500);
  CHECK(world.table.expire(500 + DemandTable::kUnansweredMs - 1, false).empty());
  CHECK(world.table.expire(500 + DemandTable::kUnansweredMs, false) == Names{"/10.0.0.1"});
}

TEST_CASE("a new stream is asked for all that is open or absent, and told nothing of what is not") {
  Table world;
  for (const char* name : {"/10.0.0.1", "/10.0.0.2", "/10.0.0.3"}) world.want(name);
  static_cast<void>(world.said());
  world.table.set_found("/10.0.0.1", true);
  world.table.set_absent("/10.0.0.2", 0);
  world.table.restart();
  Names said = world.said();
  std::ranges::sort(said);
  CHECK(said == Names{"+/10.0.0.2", "+/10.0.0.3"});
}

TEST_CASE("there is a limit to the names: the oldest absent one goes first, and then the oldest of all") {
  Table world;
  for (std::size_t i = 0; i < DemandTable::kNamesMax; ++i) world.want(fmt::format("/{}", i));
  world.table.set_absent("/7", 0);
  world.table.set_absent("/3", 1);
  CHECK(world.dropped.empty());
  CHECK(world.said().size() == DemandTable::kNamesMax);
  for (const char* name : {"/a", "/b", "/c"}) world.want(name);
  CHECK(world.dropped == Names{"/7", "/3", "/0"});
  CHECK(world.table.asked_count() + world.table.absent_count() == DemandTable::kNamesMax);
  const Names said = world.said();
  CHECK(std::ranges::count(said, "-/7") == 1);
}

TEST_CASE("what was given up before it was said is not said at all, however long nobody listens") {
  Table world;
  for (std::size_t i = 0; i < 3 * DemandTable::kNamesMax; ++i) world.want(fmt::format("/{}", i), i);
  CHECK(world.table.expire(2 * DemandTable::kNamesMax + DemandTable::kUnansweredMs + 10, false).size() == 11);
  const Names said = world.said();
  CHECK(said.size() == DemandTable::kNamesMax - 11);
  CHECK(std::ranges::none_of(said, [](const std::string& one) { return one.starts_with('-') || one == "|"; }));
}

TEST_CASE("an answer that comes before the question was put needs none") {
  Table world;
  world.want("/10.0.0.1");
  world.table.set_found("/10.0.0.1", true);
  CHECK_FALSE(world.table.has_questions());
  CHECK(world.said().empty());
}

TEST_CASE("an answer that comes before the question was put does not hide other questions") {
  Table world;
  world.want("/10.0.0.1");
  world.want("/10.0.0.2");
  CHECK(world.said().size() == 2);
  world.want("/10.0.0.3");
  world.table.set_absent("/10.0.0.3", 1);
  world.table.set_absent("/10.0.0.1", 2);
  CHECK(world.said() == Names{"+/10.0.0.3"});
  CHECK_FALSE(world.table.has_questions());
}

}  // namespace culvert::control
