// SPDX-License-Identifier: Apache-2.0
// How rules, clauses and matches combine.
#include "support.hpp"

namespace culvert::policy {
namespace {

PolicyMatch port(std::uint16_t number) {
  PolicyMatch match;
  match.destination_ports = {number};
  return match;
}
PolicyMatch in_namespace(std::string name) {
  PolicyMatch match;
  match.namespaces = {exact(std::move(name))};
  return match;
}
const PolicyMatch kYes = port(80);
const PolicyMatch kNo = port(81);

TEST_CASE("rbac_empty_policy, rbac_multi_rule, rbac_nesting: rules or, clauses and, matches or") {
  struct Row {
    const char* what;
    std::vector<PolicyRule> rules;
    bool is_match;
  };
  const Row row = GENERATE(values<Row>({
      {"no rule never matches", {}, false},
      {"a rule without clauses matches", {PolicyRule{}}, true},
      {"a clause without matches matches", {PolicyRule{{PolicyClause{}}}}, true},
      {"a match without fields does not", {rule_of({})}, false},
      {"one match", {rule_of(kYes)}, true},
      {"the other of two rules", {rule_of(kNo), rule_of(kYes)}, true},
      {"neither of two rules", {rule_of(kNo), rule_of(kNo)}, false},
      {"a rule that fails, and one without clauses", {rule_of(kNo), PolicyRule{}}, true},
      {"both of two clauses", {PolicyRule{{{{kYes}}, {{in_namespace("shop")}}}}}, true},
      {"one of two clauses is not enough", {PolicyRule{{{{kYes}}, {{in_namespace("bank")}}}}}, false},
      {"an empty clause beside one that fails", {PolicyRule{{PolicyClause{}, {{kNo}}}}}, false},
      {"an empty clause behind one that passes", {PolicyRule{{{{kYes}}, PolicyClause{}}}}, true},
      {"one of two matches of a clause", {PolicyRule{{{{kNo, kYes}}}}}, true},
      {"an empty match beside one that passes", {PolicyRule{{{{PolicyMatch{}, kYes}}}}}, true},
      {"a clause fails, the next rule passes",
       {PolicyRule{{{{kNo}}, {{kYes}}}}, PolicyRule{{{{kNo, kYes}}, {{kYes}}}}},
       true},
      {"half of one rule and half of another",
       {PolicyRule{{{{kYes}}, {{kNo}}}}, PolicyRule{{{{kNo}}, {{kYes}}}}},
       false},
  }));
  CAPTURE(row.what);
  CHECK(Call{}.matches(policy("one", PolicyAction::Deny, row.rules)) == row.is_match);
}

TEST_CASE("the rule that matched is named by its number") {
  const state::PreparedPolicy prepared(policy(
      "one", PolicyAction::Deny, {rule_of(kNo), PolicyRule{{{{kYes, kYes}}, {{kNo}}}}, rule_of(kYes), PolicyRule{}}));
  Call{}.ask([&](const InboundRequest& request) {
    Subject subject(request);
    CHECK(matching_rule(prepared, subject) == 2U);
  });
}

}  // namespace
}  // namespace culvert::policy
