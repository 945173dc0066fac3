// SPDX-License-Identifier: Apache-2.0
// Several policies: which count for a workload, in which order, and what is said.
#include "support.hpp"

namespace culvert::policy {
namespace {

using enum PolicyAction;

PolicyRule from(std::string account) {
  PolicyMatch match;
  match.service_accounts = {{"shop", std::move(account)}};
  return rule_of(std::move(match));
}

TEST_CASE("assert_rbac_logic_deny_allow: deny before allow, and allow policies exclude what they do not name") {
  struct Row {
    const char* what;
    std::vector<Authorization> policies;
    Decision decision;
    const char* reason;
  };
  const Row row = GENERATE(values<Row>({
      {"no policy", {}, Decision::Allowed, "no allow policies"},
      {"a DENY that matches",
       {policy("d", Deny, {from("cart")})},
       Decision::ExplicitlyDenied,
       "explicitly denied by: shop/d"},
      {"a DENY that does not", {policy("d", Deny, {from("pay")})}, Decision::Allowed, "no allow policies"},
      {"an ALLOW that matches", {policy("a", Allow, {from("cart")})}, Decision::Allowed, "allowed by: shop/a"},
      {"an ALLOW that does not",
       {policy("a", Allow, {from("pay")})},
       Decision::NotAllowed,
       "allow policies exist, but none allowed"},
      {"an ALLOW without rules allows nothing",
       {policy("a", Allow, {})},
       Decision::NotAllowed,
       "allow policies exist, but none allowed"},
      {"a DENY without rules denies nothing", {policy("d", Deny, {})}, Decision::Allowed, "no allow policies"},
      {"both match: DENY",
       {policy("a", Allow, {from("cart")}), policy("d", Deny, {from("cart")})},
       Decision::ExplicitlyDenied,
       "explicitly denied by: shop/d"},
      {"the second ALLOW",
       {policy("a", Allow, {from("pay")}), policy("b", Allow, {from("cart")})},
       Decision::Allowed,
       "allowed by: shop/b"},
      {"a dry DENY denies nothing", {dry(policy("d", Deny, {from("cart")}))}, Decision::Allowed, "no allow policies"},
      {"a dry ALLOW excludes nothing",
       {dry(policy("a", Allow, {from("pay")}))},
       Decision::Allowed,
       "no allow policies"},
      {"a dry ALLOW allows nothing",
       {policy("a", Allow, {from("pay")}), dry(policy("b", Allow, {from("cart")}))},
       Decision::NotAllowed,
       "allow policies exist, but none allowed"},
  }));
  CAPTURE(row.what);
  const RuleSet rules = Mesh(row.policies).rules();
  const Verdict verdict = Call{}.verdict(rules);
  CHECK(verdict.decision == row.decision);
  CHECK(reason(rules, verdict) == row.reason);
}

TEST_CASE("assert_rbac_dry_run_with_real_policies: a dry run says what would be") {
  struct Row {
    const char* what;
    std::vector<Authorization> policies;
    Decision decision;
  };
  const Row row = GENERATE(values<Row>({
      {"a dry DENY that matches", {dry(policy("d", Deny, {from("cart")}))}, Decision::ExplicitlyDenied},
      {"a dry DENY that does not", {dry(policy("d", Deny, {from("pay")}))}, Decision::Allowed},
      {"a dry ALLOW that does not match", {dry(policy("a", Allow, {from("pay")}))}, Decision::NotAllowed},
      {"a dry ALLOW that matches where a real one does not",
       {policy("a", Allow, {from("pay")}), dry(policy("b", Allow, {from("cart")}))},
       Decision::Allowed},
      {"a real DENY beside a dry ALLOW",
       {policy("d", Deny, {from("cart")}), dry(policy("b", Allow, {from("cart")}))},
       Decision::ExplicitlyDenied},
  }));
  CAPTURE(row.what);
  CHECK(Call{}.dry_verdict(Mesh(row.policies).rules()).decision == row.decision);
}

TEST_CASE("policies count by scope: everywhere, in their namespace, for those that name them") {
  struct Row {
    const char* what;
    PolicyScope scope;
    const char* namespace_name;
    std::vector<std::string> keys;
    bool counts;
  };
  const Row row = GENERATE(values<Row>({
      {"global, of another namespace", PolicyScope::Global, "istio-system", {}, true},
      {"of the namespace", PolicyScope::Namespace, "shop", {}, true},
      {"of another namespace", PolicyScope::Namespace, "bank", {}, false},
      {"selected, and not named", PolicyScope::WorkloadSelector, "shop", {}, false},
      {"selected and named", PolicyScope::WorkloadSelector, "shop", {"shop/d"}, true},
      {"of another namespace and named", PolicyScope::WorkloadSelector, "bank", {"bank/d"}, true},
  }));
  CAPTURE(row.what);
  const Mesh mesh({policy("d", Deny, {PolicyRule{}}, row.scope, row.namespace_name)}, row.keys);
  CHECK(Call{}.verdict(mesh.rules()).is_allowed() != row.counts);
}

TEST_CASE("a policy that is named and not known leaves it open, unless a known one denies or it is skipped") {
  const Mesh open({}, {"shop/late"});
  CHECK_FALSE(open.rules().is_complete());
  CHECK(Call{}.verdict(open.rules()).decision == Decision::Undecided);
  CHECK(reason(open.rules(), Call{}.verdict(open.rules())) == "policy not known yet: shop/late");
  CHECK(Call{}.verdict(open.rules(), UnknownPolicy::IsSkipped).is_allowed());
  const Mesh denied({policy("d", Deny, {PolicyRule{}})}, {"shop/late"});
  CHECK(Call{}.verdict(denied.rules()).decision == Decision::ExplicitlyDenied);
  const Mesh allowed({policy("a", Allow, {PolicyRule{}})}, {"shop/late"});
  CHECK(Call{}.verdict(allowed.rules()).decision == Decision::Undecided);
}

TEST_CASE("a workload that is not known leaves it open, with the policies of its namespace in force") {
  const Mesh mesh({policy("d", Deny, {from("cart")})});
  const RuleSet rules = RuleSet::find(*mesh.snapshot, nullptr, "shop", "new");
  CHECK(Call{}.verdict(rules).decision == Decision::ExplicitlyDenied);
  const Call other{.peer = "spiffe://cluster.local/ns/shop/sa/other"};
  CHECK(other.verdict(rules).decision == Decision::Undecided);
  CHECK(other.verdict(RuleSet()).decision == Decision::Undecided);
}

TEST_CASE("STRICT denies before any policy is asked") {
  const Mesh mesh({policy("a", Allow, {PolicyRule{}})}, {"shop/late"}, state::PeerAuthMode::Strict);
  CHECK(Call{.peer = {}}.verdict(mesh.rules()).decision == Decision::NoIdentity);
}

TEST_CASE("rule sets are equal while the same policies count") {
  const Mesh mesh({policy("d", Deny, {from("cart")}), policy("other", Deny, {}, PolicyScope::Namespace, "bank")});
  CHECK(mesh.rules() == mesh.rules());
  CHECK_FALSE(mesh.rules() == Mesh({policy("d", Deny, {from("pay")})}).rules());
  CHECK_FALSE(RuleSet() == mesh.rules());
}

}  // namespace
}  // namespace culvert::policy
