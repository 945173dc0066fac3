// SPDX-License-Identifier: Apache-2.0
// Measurements, hidden: unit_policy "[.bench]" in a release build. 1,000 policies of which 20 apply to the workload and none matches until the
// last, so that all are looked at; with the rules looked up once for a snapshot, as the agent does, and with the look-up each time.
#include <cstdio>

#include "base/clock.hpp"
#include "support.hpp"

namespace culvert::policy {
namespace {

Authorization one_of(int i, PolicyScope scope, std::string namespace_name, PolicyAction action) {
  PolicyMatch from;
  from.principals = {exact(fmt::format("cluster.local/ns/team-{}/sa/client", i)),
                     prefix(fmt::format("cluster.local/ns/group-{}/", i))};
  PolicyMatch when;
  when.source_ips = {cidr("10.0.0.0/8")};
  PolicyMatch to;
  to.destination_ports = {80, 8080};
  if (action == PolicyAction::Allow && i == 19) from.principals.push_back(exact("cluster.local/ns/shop/sa/cart"));
  return policy(fmt::format("policy-{}", i), action, {PolicyRule{{{{from}}, {{to}}, {{when}}}}}, scope,
                std::move(namespace_name));
}

TEST_CASE("cost of a verdict", "[.bench]") {
  std::vector<Authorization> policies;
  std::vector<std::string> keys;
  for (int i = 0; i < 1'000; ++i) {
    const PolicyAction action = i % 2 == 0 ? PolicyAction::Deny : PolicyAction::Allow;
    if (i < 4) {
      policies.push_back(one_of(i, PolicyScope::Global, "istio-system", action));
    } else if (i < 12) {
      policies.push_back(one_of(i, PolicyScope::Namespace, "shop", action));
    } else {
      policies.push_back(one_of(i, PolicyScope::WorkloadSelector, "shop", action));
      if (i < 20) keys.push_back(fmt::format("shop/policy-{}", i));
    }
  }
  const Mesh mesh(policies, keys);
  const RuleSet rules = mesh.rules();
  REQUIRE(rules.deny().size() + rules.allow().size() == 20);
  const SpiffeId peer = SpiffeId::make("cluster.local", "shop", "cart").value();
  InboundRequest request{Endpoint::parse("10.0.0.1:4000").value(), Endpoint::parse("10.0.0.2:80").value(), &peer};
  REQUIRE(evaluate(rules, request).is_allowed());
  constexpr int kRounds = 300'000;
  for (int repeat = 0; repeat < 5; ++repeat) {
    unsigned allowed = 0;
    const std::uint64_t start = monotonic_ns();
    for (int i = 0; i < kRounds; ++i) {
      request.source.port = static_cast<std::uint16_t>(i);
      allowed += evaluate(rules, request).is_allowed() ? 1U : 0U;
    }
    const std::uint64_t middle = monotonic_ns();
    for (int i = 0; i < kRounds; ++i) allowed += evaluate(mesh.rules(), request).is_allowed() ? 1U : 0U;
    const std::uint64_t end = monotonic_ns();
    CHECK(allowed == 2U * kRounds);
    std::printf("rules at hand: %.0f ns; looked up each time: %.0f ns\n", static_cast<double>(middle - start) / kRounds,
                static_cast<double>(end - middle) / kRounds);
  }
}

}  // namespace
}  // namespace culvert::policy
