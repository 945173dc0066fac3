// SPDX-License-Identifier: Apache-2.0
// Policies and requests with only what matters written out.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "policy/policy.hpp"
#include "state/snapshot_builder.hpp"

namespace culvert::policy {

using state::Authorization;
using state::PolicyAction;
using state::PolicyClause;
using state::PolicyMatch;
using state::PolicyRule;
using state::PolicyScope;
using state::ServiceAccountMatch;
using state::StringMatch;

inline StringMatch exact(std::string text) { return {StringMatch::Kind::Exact, std::move(text)}; }
inline StringMatch prefix(std::string text) { return {StringMatch::Kind::Prefix, std::move(text)}; }
inline StringMatch suffix(std::string text) { return {StringMatch::Kind::Suffix, std::move(text)}; }
inline StringMatch presence() { return {StringMatch::Kind::Presence, {}}; }
inline Cidr cidr(std::string_view text) { return Cidr::parse(text).value(); }

// One connection; `peer` is held beside the request that points to it.
struct Call {
  std::string source = "10.0.0.1:4000";
  std::string destination = "10.0.0.2:80";
  std::string peer = "spiffe://cluster.local/ns/shop/sa/cart";  // empty: none

  template <typename Question>
  auto ask(Question&& question) const {
    InboundRequest request{Endpoint::parse(source).value(), Endpoint::parse(destination).value(), nullptr};
    std::optional<SpiffeId> identity;
    if (!peer.empty()) identity = SpiffeId::parse(peer).value();
    if (identity) request.peer = &*identity;
    return question(request);
  }
  [[nodiscard]] bool matches(const Authorization& policy) const {
    return ask([&](const InboundRequest& request) {
      const state::PreparedPolicy prepared(policy);
      Subject subject(request);
      return matching_rule(prepared, subject).has_value();
    });
  }
  [[nodiscard]] Verdict verdict(const RuleSet& rules, UnknownPolicy unknown = UnknownPolicy::Counts) const {
    return ask([&](const InboundRequest& request) { return evaluate(rules, request, unknown); });
  }
  [[nodiscard]] Verdict dry_verdict(const RuleSet& rules) const {
    return ask([&](const InboundRequest& request) { return evaluate_dry_run(rules, request); });
  }
};

inline PolicyRule rule_of(PolicyMatch match) { return {{{{std::move(match)}}}}; }

inline Authorization policy(std::string name, PolicyAction action, std::vector<PolicyRule> rules,
                            PolicyScope scope = PolicyScope::Namespace, std::string namespace_name = "shop") {
  Authorization made;
  made.name = std::move(name);
  made.namespace_name = std::move(namespace_name);
  made.scope = scope;
  made.action = action;
  made.rules = std::move(rules);
  return made;
}
inline Authorization dry(Authorization policy) {
  policy.is_dry_run = true;
  return policy;
}

// The rules of the workload shop/pay at 10.0.0.2, which names `keys`.
class Mesh {
 public:
  explicit Mesh(std::vector<Authorization> policies, std::vector<std::string> keys = {},
                state::PeerAuthMode mode = state::PeerAuthMode::Permissive) {
    state::SnapshotBuilder builder;
    state::Workload pay;
    pay.uid = "shop/pay";
    pay.name = "pay";
    pay.namespace_name = "shop";
    pay.addresses = {IpAddress::parse("10.0.0.2").value()};
    pay.authorization_policies = std::move(keys);
    REQUIRE(builder.add(std::move(pay)));
    for (Authorization& one : policies) REQUIRE(builder.add(std::move(one)));
    builder.set_mesh_mode(mode);
    snapshot = std::move(builder).build(1);
  }
  [[nodiscard]] RuleSet rules() const {
    return RuleSet::find(*snapshot, snapshot->find_uid("shop/pay"), "shop", "pay");
  }
  std::shared_ptr<const state::Snapshot> snapshot;
};

}  // namespace culvert::policy
