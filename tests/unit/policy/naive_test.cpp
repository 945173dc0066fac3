// SPDX-License-Identifier: Apache-2.0
// Random policies against an evaluator that is written down straight from the rules, without tables and without order.
#include <algorithm>
#include <random>

#include "support.hpp"

namespace culvert::policy {
namespace {

// ---- the naive evaluator: texts only
bool naive_text(const StringMatch& match, const std::string& text) {
  switch (match.kind) {
    case StringMatch::Kind::Exact: return match.text == text;
    case StringMatch::Kind::Prefix: return text.substr(0, match.text.size()) == match.text;
    case StringMatch::Kind::Suffix:
      return text.size() >= match.text.size() && text.substr(text.size() - match.text.size()) == match.text;
    case StringMatch::Kind::Presence: return text != "";
  }
  return false;
}

// In the wire bytes of the family, bit by bit.
bool naive_range(const Cidr& range, const IpAddress& address) {
  if (range.network.family() != address.family()) return false;
  for (unsigned bit = 0; bit < range.bits; ++bit) {
    const unsigned mask = 0x80U >> (bit % 8);
    if ((range.network.wire()[bit / 8] & mask) != (address.wire()[bit / 8] & mask)) return false;
  }
  return true;
}

template <typename T, typename Is>
bool naive_field(const std::vector<T>& positives, const std::vector<T>& negatives, Is is) {
  bool found = positives.empty();
  for (const T& one : positives) found = found || is(one);
  for (const T& one : negatives) found = found && !is(one);
  return found;
}

bool naive_match(const PolicyMatch& m, const InboundRequest& request) {
  if (m == PolicyMatch{}) return false;
  const SpiffeId* peer = request.peer;
  const std::string space = peer == nullptr ? "" : peer->namespace_name;
  const std::string uri = peer == nullptr ? "" : peer->to_string();
  return naive_field(m.namespaces, m.not_namespaces, [&](auto& one) { return naive_text(one, space); }) &&
         naive_field(
             m.service_accounts, m.not_service_accounts,
             [&](auto& one) { return peer != nullptr && one == ServiceAccountMatch{space, peer->service_account}; }) &&
         naive_field(m.principals, m.not_principals,
                     [&](auto& one) {
                       return peer != nullptr && naive_text(one, uri.substr(std::string("spiffe://").size()));
                     }) &&
         naive_field(m.source_ips, m.not_source_ips,
                     [&](auto& one) { return naive_range(one, request.source.address); }) &&
         naive_field(m.destination_ips, m.not_destination_ips,
                     [&](auto& one) { return naive_range(one, request.destination.address); }) &&
         naive_field(m.destination_ports, m.not_destination_ports,
                     [&](auto one) { return one == request.destination.port; });
}

bool naive_policy(const Authorization& policy, const InboundRequest& request) {
  return std::ranges::any_of(policy.rules, [&](const PolicyRule& rule) {
    return std::ranges::all_of(rule.clauses, [&](const PolicyClause& clause) {
      return clause.matches.empty() ||
             std::ranges::any_of(clause.matches, [&](const PolicyMatch& match) { return naive_match(match, request); });
    });
  });
}

bool naive_verdict(const std::vector<Authorization>& policies, const InboundRequest& request) {
  bool has_allow = false;
  bool is_allowed = false;
  for (const Authorization& one : policies) {
    if (one.is_dry_run) continue;
    if (one.action == PolicyAction::Deny && naive_policy(one, request)) return false;
    if (one.action == PolicyAction::Allow) {
      has_allow = true;
      is_allowed = is_allowed || naive_policy(one, request);
    }
  }
  return !has_allow || is_allowed;
}

// ---- random policies over few words, so that they match now and then
class Dice {
 public:
  explicit Dice(std::uint32_t seed) : random_(seed) {}
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  template <typename T, typename Make>
  std::vector<T> list(Make make) {
    // Mostly nothing, now and then long enough for the tables.
    const unsigned size = below(4) != 0 ? 0 : below(3) != 0 ? 1 + below(3) : 9 + below(12);
    std::vector<T> made;
    for (unsigned i = 0; i < size; ++i) made.push_back(make());
    return made;
  }
  std::string word() {
    std::string text;
    for (unsigned i = below(3); i > 0; --i) text += static_cast<char>('a' + below(2));
    return text;
  }
  std::string name() { return std::string(1, static_cast<char>('a' + below(2))) + word(); }
  StringMatch text(bool is_principal) {
    std::string base = word();
    if (is_principal && below(2) == 0) base = "td/ns/" + name();
    if (is_principal && below(4) == 0) base = "/sa/" + name();
    return {static_cast<StringMatch::Kind>(below(4)), base};
  }
  IpAddress address() {
    return IpAddress::parse(below(3) == 0 ? fmt::format("fd00::{:x}", below(32))
                                          : fmt::format("10.0.{}.{}", below(4), below(8)))
        .value();
  }
  Cidr range() {
    const IpAddress network = address();
    return {network, static_cast<std::uint8_t>(below(3) == 0 ? below(network.is_v4() ? 33 : 129)
                                                             : (network.is_v4() ? 20 + below(13) : 116 + below(13)))};
  }
  PolicyMatch match() {
    PolicyMatch made;
    made.namespaces = list<StringMatch>([&] { return text(false); });
    made.not_namespaces = list<StringMatch>([&] { return text(false); });
    made.service_accounts = list<ServiceAccountMatch>([&] { return ServiceAccountMatch{name(), name()}; });
    made.not_service_accounts = list<ServiceAccountMatch>([&] { return ServiceAccountMatch{name(), name()}; });
    made.principals = list<StringMatch>([&] { return text(true); });
    made.not_principals = list<StringMatch>([&] { return text(true); });
    made.source_ips = list<Cidr>([&] { return range(); });
    made.not_source_ips = list<Cidr>([&] { return range(); });
    made.destination_ips = list<Cidr>([&] { return range(); });
    made.not_destination_ips = list<Cidr>([&] { return range(); });
    const auto port = [&] { return static_cast<std::uint16_t>(80 + below(30)); };
    made.destination_ports = list<std::uint16_t>(port);
    made.not_destination_ports = list<std::uint16_t>(port);
    return made;
  }
  Authorization policy(std::string name) {
    Authorization made;
    made.name = std::move(name);
    made.namespace_name = "shop";
    made.scope = PolicyScope::Namespace;
    made.action = below(2) == 0 ? PolicyAction::Allow : PolicyAction::Deny;
    made.is_dry_run = below(8) == 0;
    made.rules.resize(below(4));
    for (PolicyRule& rule : made.rules) {
      rule.clauses.resize(below(4));
      for (PolicyClause& clause : rule.clauses) {
        for (unsigned i = below(4); i > 0; --i) clause.matches.push_back(match());
      }
    }
    return made;
  }

 private:
  std::mt19937 random_;
};

TEST_CASE("random policies are judged as the rules say") {
  unsigned denied = 0;
  unsigned matched = 0;
  for (std::uint32_t seed = 1; seed <= 400; ++seed) {
    CAPTURE(seed);
    Dice dice(seed);
    std::vector<Authorization> policies;
    for (unsigned i = dice.below(5); i > 0; --i) policies.push_back(dice.policy(fmt::format("p{}", i)));
    const Mesh mesh(policies);
    const RuleSet rules = mesh.rules();
    for (unsigned i = 0; i < 50; ++i) {
      InboundRequest request{{dice.address(), 1}, {dice.address(), static_cast<std::uint16_t>(80 + dice.below(30))}};
      const SpiffeId id{"td", dice.name(), dice.name()};
      if (dice.below(4) != 0) request.peer = &id;
      for (const Authorization& one : policies) {
        const state::PreparedPolicy prepared(one);
        Subject subject(request);
        const bool is_match = naive_policy(one, request);
        REQUIRE(matching_rule(prepared, subject).has_value() == is_match);
        matched += is_match ? 1 : 0;
      }
      const bool is_allowed = naive_verdict(policies, request);
      REQUIRE(evaluate(rules, request).is_allowed() == is_allowed);
      denied += is_allowed ? 0 : 1;
    }
  }
  // The dice are not loaded.
  CHECK(denied > 2'000);
  CHECK(denied < 18'000);
  CHECK(matched > 2'000);
}

}  // namespace
}  // namespace culvert::policy
