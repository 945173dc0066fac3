// SPDX-License-Identifier: Apache-2.0
// mesh.policies: what is read, what is refused and with which words, and what a snapshot makes of it.
#include <catch2/catch.hpp>

#include "control/config.hpp"
#include "control/snapshot_build.hpp"

namespace culvert::control {
namespace {

using state::StringMatch;

Result<Config> parse(std::string_view policies) {
  std::string text = "mesh:\n  workloads:\n    - {name: pay, namespace: shop, addresses: [10.0.0.2]}\n  policies:\n";
  return parse_config(text.append(policies), "f.yaml");
}

TEST_CASE("a policy is read with every field") {
  const Result<Config> config = parse(R"(
    - name: one
      namespace: shop
      scope: WORKLOAD
      workloads: [pay]
      action: DENY
      dry_run: true
      rules:
        - clauses:
            - matches:
                - namespaces: [bank, "team-*", "*-guest", "*"]
                  not_principals: ["*"]
                  service_accounts: [bank/clerk]
                  source_ips: [10.0.0.0/8, 2001:db8::/32]
                - not_destination_ports: [22]
            - {}
        - {}
)");
  REQUIRE(config);
  REQUIRE(config->mesh.policies.size() == 1);
  const state::Authorization policy = to_authorization(config->mesh.policies[0]);
  CHECK(policy.key() == "shop/one");
  CHECK(policy.scope == state::PolicyScope::WorkloadSelector);
  CHECK(policy.action == state::PolicyAction::Deny);
  CHECK(policy.is_dry_run);
  REQUIRE(policy.rules.size() == 2);
  CHECK(policy.rules[1].clauses.empty());
  REQUIRE(policy.rules[0].clauses.size() == 2);
  CHECK(policy.rules[0].clauses[1].matches.empty());
  const state::PolicyMatch& match = policy.rules[0].clauses[0].matches[0];
  CHECK(match.namespaces == std::vector<StringMatch>{{StringMatch::Kind::Exact, "bank"},
                                                     {StringMatch::Kind::Prefix, "team-"},
                                                     {StringMatch::Kind::Suffix, "-guest"},
                                                     {StringMatch::Kind::Presence, ""}});
  CHECK(match.not_principals == std::vector<StringMatch>{{StringMatch::Kind::Presence, ""}});
  CHECK(match.service_accounts == std::vector<state::ServiceAccountMatch>{{"bank", "clerk"}});
  CHECK(match.source_ips.size() == 2);
  CHECK(policy.rules[0].clauses[0].matches[1].not_destination_ports == std::vector<std::uint16_t>{22});
}

TEST_CASE("mistakes in policies are told with place, value and remedy") {
  struct Row {
    const char* what;
    const char* policies;
    const char* message;
  };
  const Row row = GENERATE(values<Row>({
      {"no action", "    - {name: one}\n", "mesh.policies[0].action: is missing"},
      {"a name twice", "    - {name: one, action: DENY}\n    - {name: one, action: ALLOW}\n",
       "mesh.policies[1].name: policy \"default/one\" stands in mesh.policies[0] already"},
      {"no workloads", "    - {name: one, action: DENY, scope: WORKLOAD}\n",
       "mesh.policies[0].workloads: is empty; name the workloads"},
      {"workloads without the scope", "    - {name: one, namespace: shop, action: DENY, workloads: [pay]}\n",
       "mesh.policies[0].scope: does not go with workloads; write scope: WORKLOAD"},
      {"an unknown workload", "    - {name: one, action: DENY, scope: WORKLOAD, workloads: [pay]}\n",
       "mesh.policies[0].workloads[0]: \"default/pay\" is no workload"},
      {"an empty match", "    - {name: one, action: DENY, rules: [{clauses: [{matches: [{}]}]}]}\n",
       "mesh.policies[0].rules[0].clauses[0].matches[0]: is empty and would never match"},
      {"a scheme", "    - {name: one, action: DENY, rules: [{clauses: [{matches: [{principals: ['spiffe://a']}]}]}]}\n",
       "\"spiffe://a\" has a scheme; write it without spiffe://"},
      {"two stars", "    - {name: one, action: DENY, rules: [{clauses: [{matches: [{namespaces: ['*a*']}]}]}]}\n",
       "\"*a*\" is nothing to compare with; write TEXT"},
      {"an account without a namespace",
       "    - {name: one, action: DENY, rules: [{clauses: [{matches: [{service_accounts: [a]}]}]}]}\n",
       "\"a\" is not a service account; write NAMESPACE/NAME"},
      {"an unknown field", "    - {name: one, action: DENY, rules: [{clauses: [{matches: [{ports: [80]}]}]}]}\n",
       "ports"},
  }));
  CAPTURE(row.what);
  const Result<Config> config = parse(row.policies);
  REQUIRE_FALSE(config);
  CHECK_THAT(config.error().message(), Catch::Contains(row.message));
}

TEST_CASE("a snapshot has the policies, and those that are selected name them, pods of this node included") {
  const Result<Config> config = parse(R"(
    - {name: all, namespace: root, scope: GLOBAL, action: DENY}
    - {name: some, namespace: shop, scope: WORKLOAD, workloads: [pay], action: ALLOW}
)");
  REQUIRE(config);
  state::Workload joined;
  joined.uid = "shop/other";
  joined.name = "other";
  joined.namespace_name = "shop";
  joined.addresses = {IpAddress::parse("10.0.0.3").value()};
  const auto snapshot = build_snapshot(*config, std::vector{joined}, 1).value();
  CHECK(snapshot->policies().size() == 2);
  CHECK(snapshot->find_uid("shop/pay")->authorization_policies().front() == "shop/some");
  CHECK(snapshot->find_uid("shop/pay")->authorization_policies().size() == 1);
  CHECK(snapshot->find_uid("shop/other")->authorization_policies().empty());
}

}  // namespace
}  // namespace culvert::control
