// SPDX-License-Identifier: Apache-2.0
#include "state/policy_index.hpp"

#include <algorithm>
#include <map>
#include <random>

#include <fmt/format.h>
#include <catch2/catch.hpp>

using culvert::state::Authorization;
using culvert::state::PolicyIndex;
using culvert::state::PolicyScope;

namespace {

Authorization policy(std::string name, PolicyScope scope, std::string namespace_name = "shop") {
  Authorization made;
  made.name = std::move(name);
  made.namespace_name = std::move(namespace_name);
  made.scope = scope;
  return made;
}

std::vector<std::string> global(const PolicyIndex& index) {
  std::vector<std::string> names;
  index.for_each_global([&](const PolicyIndex::Policy& one) { names.push_back(one->name); });
  return names;
}
std::vector<std::string> in(const PolicyIndex& index, std::string_view namespace_name) {
  std::vector<std::string> names;
  index.for_each_in(namespace_name, [&](const PolicyIndex::Policy& one) { names.push_back(one->name); });
  return names;
}
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("policies are found by key, and by the scope that they apply in") {
  PolicyIndex index;
  index.insert(policy("all", PolicyScope::Global, "istio-system"));
  index.insert(policy("here", PolicyScope::Namespace));
  index.insert(policy("selected", PolicyScope::WorkloadSelector));
  CHECK(index.size() == 3);
  CHECK(index.find("shop/selected") != nullptr);
  CHECK(index.find("shop/all") == nullptr);
  CHECK(global(index) == Names{"all"});
  CHECK(in(index, "shop") == Names{"here"});
  CHECK(in(index, "bank").empty());
}

TEST_CASE("a policy that is replaced or removed leaves no trace of the old one") {
  PolicyIndex index;
  index.insert(policy("one", PolicyScope::Namespace));
  index.insert(policy("one", PolicyScope::Global));
  CHECK(index.size() == 1);
  CHECK(in(index, "shop").empty());
  CHECK(global(index) == Names{"one"});
  CHECK(index.remove("shop", "one"));
  CHECK_FALSE(index.remove("shop", "one"));
  CHECK(global(index).empty());
  CHECK(index.find("shop/one") == nullptr);
}

TEST_CASE("an index that was copied answers as before when the other changes") {
  PolicyIndex index;
  index.insert(policy("one", PolicyScope::Namespace));
  const PolicyIndex before = index;
  CHECK(index.remove("shop", "one"));
  CHECK(before.find("shop/one") != nullptr);
  CHECK(in(before, "shop") == Names{"one"});
}

TEST_CASE("after any order of changes an index answers as a plain list does, and its copies as when they were made") {
  std::mt19937 random(GENERATE(1U, 2U));
  const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  PolicyIndex index;
  std::map<std::string, Authorization> plain;
  std::vector<std::pair<PolicyIndex, std::map<std::string, Authorization>>> kept;
  for (int step = 0; step < 3000; ++step) {
    const Authorization one =
        policy(fmt::format("p{}", below(40)), static_cast<PolicyScope>(below(3)), fmt::format("n{}", below(4)));
    if (below(3) == 0) {
      CHECK(index.remove(one.namespace_name, one.name) == (plain.erase(one.key()) == 1));
    } else {
      index.insert(one);
      plain.insert_or_assign(one.key(), one);
    }
    if (step % 100 == 0) kept.emplace_back(index, plain);
  }
  kept.emplace_back(index, plain);
  for (const auto& [copy, was] : kept) {
    CHECK(copy.size() == was.size());
    std::map<std::string, Names> expected;
    for (const auto& [key, one] : was) {
      REQUIRE(copy.find(key) != nullptr);
      CHECK(copy.find(key)->scope == one.scope);
      if (one.scope == PolicyScope::Global) expected[""].push_back(one.name);
      if (one.scope == PolicyScope::Namespace) expected[one.namespace_name].push_back(one.name);
    }
    for (const char* name : {"", "n0", "n1", "n2", "n3"}) {
      Names found = *name == 0 ? global(copy) : in(copy, name);
      std::ranges::sort(found);
      std::ranges::sort(expected[name]);
      CHECK(found == expected[name]);
    }
  }
}
