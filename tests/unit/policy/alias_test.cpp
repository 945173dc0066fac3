// SPDX-License-Identifier: Apache-2.0
// Aliases of the local trust domain: an identity counts by every name that it has.
#include "support.hpp"

namespace culvert::policy {
namespace {

const TrustDomains kAliases({"old.example", "older.example"});

bool matches(std::string_view peer, PolicyMatch match, const TrustDomains* domains = &kAliases,
             std::string_view local = "new.example") {
  const SpiffeId identity = SpiffeId::parse(peer).value();
  const InboundRequest request{Endpoint::parse("10.0.0.1:4000").value(), Endpoint::parse("10.0.0.2:80").value(),
                               &identity, domains, local};
  const Authorization one = policy("one", PolicyAction::Deny, {rule_of(std::move(match))});
  const state::PreparedPolicy prepared(one);
  Subject subject(request);
  return matching_rule(prepared, subject).has_value();
}

PolicyMatch principals(StringMatch match) {
  PolicyMatch made;
  made.principals.push_back(std::move(match));
  return made;
}
PolicyMatch not_principals(StringMatch match) {
  PolicyMatch made;
  made.not_principals.push_back(std::move(match));
  return made;
}

constexpr std::string_view kNew = "spiffe://new.example/ns/shop/sa/cart";
constexpr std::string_view kOld = "spiffe://old.example/ns/shop/sa/cart";
constexpr std::string_view kForeign = "spiffe://foreign.example/ns/shop/sa/cart";

TEST_CASE("a principal matches under the local name and under every alias, both ways") {
  for (const char* domain : {"new.example", "old.example", "older.example", "cluster.local"}) {
    CAPTURE(domain);
    const std::string whole = std::string(domain) + "/ns/shop/sa/cart";
    for (const std::string_view peer : {kNew, kOld}) {
      CAPTURE(peer);
      CHECK(matches(peer, principals(exact(whole))));
      CHECK(matches(peer, principals(prefix(std::string(domain) + "/"))));
      CHECK_FALSE(matches(peer, not_principals(exact(whole))));
    }
    CHECK_FALSE(matches(kForeign, principals(exact(whole))));
    CHECK(matches(kForeign, not_principals(exact(whole))));
  }
}

TEST_CASE("aliases change the trust domain and nothing else") {
  CHECK_FALSE(matches(kOld, principals(exact("new.example/ns/shop/sa/pay"))));
  CHECK_FALSE(matches(kOld, principals(exact("new.example/ns/bank/sa/cart"))));
  CHECK_FALSE(matches(kOld, principals(exact("foreign.example/ns/shop/sa/cart"))));
  CHECK(matches(kForeign, principals(exact("foreign.example/ns/shop/sa/cart"))));
  CHECK(matches(kOld, principals(suffix("/ns/shop/sa/cart"))));
  CHECK(matches(kOld, principals(presence())));
  CHECK_FALSE(matches(kOld, not_principals(presence())));
}

TEST_CASE("without aliases a principal has one name") {
  const TrustDomains empty;
  for (const TrustDomains* none : {static_cast<const TrustDomains*>(nullptr), &empty}) {
    CHECK(matches(kNew, principals(exact("new.example/ns/shop/sa/cart")), none));
    CHECK_FALSE(matches(kNew, principals(exact("cluster.local/ns/shop/sa/cart")), none));
    CHECK_FALSE(matches(kOld, principals(exact("new.example/ns/shop/sa/cart")), none));
  }
}

TEST_CASE("the longest names fit") {
  const std::string domain(255, 'd');
  const std::string name(253, 'n');
  const TrustDomains aliases({domain});
  const std::string rest = "/ns/" + name + "/sa/" + name;
  CHECK(matches("spiffe://new.example" + rest, principals(exact(domain + rest)), &aliases));
  CHECK(matches("spiffe://" + domain + rest, principals(exact("new.example" + rest)), &aliases));
}

}  // namespace
}  // namespace culvert::policy
