// SPDX-License-Identifier: Apache-2.0
#include "state/policy_index.hpp"

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

}  // namespace

TEST_CASE("policies are found by key, and by the scope that they apply in") {
  PolicyIndex index;
  index.insert(policy("all", PolicyScope::Global, "istio-system"));
  index.insert(policy("here", PolicyScope::Namespace));
  index.insert(policy("selected", PolicyScope::WorkloadSelector));
  CHECK(index.size() == 3);
  CHECK(index.find("shop/selected") != nullptr);
  CHECK(index.find("shop/all") == nullptr);
  REQUIRE(index.global().size() == 1);
  CHECK(index.global()[0]->name == "all");
  REQUIRE(index.of_namespace("shop").size() == 1);
  CHECK(index.of_namespace("shop")[0]->name == "here");
  CHECK(index.of_namespace("bank").empty());
}

TEST_CASE("a policy that is replaced or removed leaves no trace of the old one") {
  PolicyIndex index;
  index.insert(policy("one", PolicyScope::Namespace));
  index.insert(policy("one", PolicyScope::Global));
  CHECK(index.size() == 1);
  CHECK(index.of_namespace("shop").empty());
  CHECK(index.global().size() == 1);
  CHECK(index.remove("shop", "one"));
  CHECK_FALSE(index.remove("shop", "one"));
  CHECK(index.global().empty());
  CHECK(index.find("shop/one") == nullptr);
}

TEST_CASE("an index that was copied answers as before when the other changes") {
  PolicyIndex index;
  index.insert(policy("one", PolicyScope::Namespace));
  const PolicyIndex before = index;
  CHECK(index.remove("shop", "one"));
  CHECK(before.find("shop/one") != nullptr);
  CHECK(before.of_namespace("shop").size() == 1);
}
