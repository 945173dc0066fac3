// SPDX-License-Identifier: Apache-2.0
// The fields of one match, each with its positives and negatives, with and without an identity.
#include "support.hpp"

#include <functional>

namespace culvert::policy {
namespace {

struct Row {
  const char* what;
  std::function<void(PolicyMatch&)> fill;
  Call call;
  bool is_match;
};

const Call kCart;
const Call kPlain{.peer = {}};
const Call kBank{.peer = "spiffe://other.example/ns/bank/sa/cart"};
const Call kV6{.source = "[fd00::1]:4000", .destination = "[fd00::2]:80"};

void check(const Row& row) {
  CAPTURE(row.what);
  PolicyMatch match;
  row.fill(match);
  CHECK(row.call.matches(policy("one", PolicyAction::Deny, {rule_of(match)})) == row.is_match);
}

TEST_CASE("string_match: namespaces are compared whole, by beginning, by end, or for being there") {
  check(GENERATE(values<Row>({
      {"exact", [](auto& m) { m.namespaces = {exact("shop")}; }, kCart, true},
      {"exact is case sensitive", [](auto& m) { m.namespaces = {exact("Shop")}; }, kCart, false},
      {"exact is not a prefix", [](auto& m) { m.namespaces = {exact("sho")}; }, kCart, false},
      {"prefix", [](auto& m) { m.namespaces = {prefix("sh")}; }, kCart, true},
      {"prefix is no suffix", [](auto& m) { m.namespaces = {prefix("op")}; }, kCart, false},
      {"suffix", [](auto& m) { m.namespaces = {suffix("op")}; }, kCart, true},
      {"suffix is no prefix", [](auto& m) { m.namespaces = {suffix("sh")}; }, kCart, false},
      {"presence", [](auto& m) { m.namespaces = {presence()}; }, kCart, true},
      {"presence, without an identity", [](auto& m) { m.namespaces = {presence()}; }, kPlain, false},
      {"the empty prefix, without an identity", [](auto& m) { m.namespaces = {prefix("")}; }, kPlain, true},
      {"one of two", [](auto& m) { m.namespaces = {exact("bank"), suffix("hop")}; }, kCart, true},
      {"none of two", [](auto& m) { m.namespaces = {exact("bank"), suffix("hops")}; }, kCart, false},
      {"not this one", [](auto& m) { m.not_namespaces = {exact("shop")}; }, kCart, false},
      {"not one of two", [](auto& m) { m.not_namespaces = {exact("bank"), exact("shop")}; }, kCart, false},
      {"not another", [](auto& m) { m.not_namespaces = {exact("bank")}; }, kCart, true},
      {"not another, without an identity", [](auto& m) { m.not_namespaces = {exact("bank")}; }, kPlain, true},
      {"not presence, without an identity", [](auto& m) { m.not_namespaces = {presence()}; }, kPlain, true},
      {"this and not this", [](auto& m) { m.namespaces = {presence()}, m.not_namespaces = {exact("shop")}; }, kCart,
       false},
  })));
}

TEST_CASE("principals are the identity behind spiffe://") {
  check(GENERATE(values<Row>({
      {"exact", [](auto& m) { m.principals = {exact("cluster.local/ns/shop/sa/cart")}; }, kCart, true},
      {"exact with the scheme", [](auto& m) { m.principals = {exact("spiffe://cluster.local/ns/shop/sa/cart")}; },
       kCart, false},
      {"another trust domain", [](auto& m) { m.principals = {exact("cluster.local/ns/bank/sa/cart")}; }, kBank, false},
      {"prefix", [](auto& m) { m.principals = {prefix("cluster.local/")}; }, kCart, true},
      {"suffix", [](auto& m) { m.principals = {suffix("/sa/cart")}; }, kBank, true},
      {"presence", [](auto& m) { m.principals = {presence()}; }, kCart, true},
      {"presence, without an identity", [](auto& m) { m.principals = {presence()}; }, kPlain, false},
      {"the empty prefix, without an identity", [](auto& m) { m.principals = {prefix("")}; }, kPlain, false},
      {"not presence: STRICT as a control plane says it", [](auto& m) { m.not_principals = {presence()}; }, kPlain,
       true},
      {"not presence, with an identity", [](auto& m) { m.not_principals = {presence()}; }, kCart, false},
      {"not this one", [](auto& m) { m.not_principals = {exact("cluster.local/ns/shop/sa/cart")}; }, kCart, false},
      {"not another", [](auto& m) { m.not_principals = {exact("cluster.local/ns/shop/sa/pay")}; }, kCart, true},
  })));
}

TEST_CASE("service accounts are namespace and account, whatever the trust domain") {
  check(GENERATE(values<Row>({
      {"both", [](auto& m) { m.service_accounts = {{"shop", "cart"}}; }, kCart, true},
      {"in another trust domain", [](auto& m) { m.service_accounts = {{"bank", "cart"}}; }, kBank, true},
      {"another namespace", [](auto& m) { m.service_accounts = {{"bank", "cart"}}; }, kCart, false},
      {"another account", [](auto& m) { m.service_accounts = {{"shop", "pay"}}; }, kCart, false},
      {"without an identity", [](auto& m) { m.service_accounts = {{"shop", "cart"}}; }, kPlain, false},
      {"without an identity, two empty names", [](auto& m) { m.service_accounts = {{"", ""}}; }, kPlain, false},
      {"not this one", [](auto& m) { m.not_service_accounts = {{"shop", "cart"}}; }, kCart, false},
      {"not another", [](auto& m) { m.not_service_accounts = {{"shop", "pay"}}; }, kCart, true},
      {"not this one, without an identity", [](auto& m) { m.not_service_accounts = {{"shop", "cart"}}; }, kPlain, true},
  })));
}

TEST_CASE("ranges hold addresses of their own family") {
  check(GENERATE(values<Row>({
      {"source in range", [](auto& m) { m.source_ips = {cidr("10.0.0.0/24")}; }, kCart, true},
      {"source is the one address", [](auto& m) { m.source_ips = {cidr("10.0.0.1/32")}; }, kCart, true},
      {"source outside", [](auto& m) { m.source_ips = {cidr("10.0.1.0/24")}; }, kCart, false},
      {"source in one of two", [](auto& m) { m.source_ips = {cidr("10.9.0.0/16"), cidr("10.0.0.0/8")}; }, kCart, true},
      {"every IPv4, and the source is IPv6", [](auto& m) { m.source_ips = {cidr("0.0.0.0/0")}; }, kV6, false},
      {"every IPv6, and the source is IPv4", [](auto& m) { m.source_ips = {cidr("::/0")}; }, kCart, false},
      {"every IPv6", [](auto& m) { m.source_ips = {cidr("::/0")}; }, kV6, true},
      {"not in range", [](auto& m) { m.not_source_ips = {cidr("10.0.0.0/24")}; }, kCart, false},
      {"not in a range of the other family", [](auto& m) { m.not_source_ips = {cidr("::/0")}; }, kCart, true},
      {"in a range but for a smaller one",
       [](auto& m) { m.source_ips = {cidr("10.0.0.0/8")}, m.not_source_ips = {cidr("10.0.0.1/32")}; }, kCart, false},
      {"destination in range", [](auto& m) { m.destination_ips = {cidr("10.0.0.2/31")}; }, kCart, true},
      {"destination outside", [](auto& m) { m.destination_ips = {cidr("10.0.0.0/31")}; }, kCart, false},
      {"destination is not the source", [](auto& m) { m.destination_ips = {cidr("10.0.0.1/32")}; }, kCart, false},
      {"destination not in range", [](auto& m) { m.not_destination_ips = {cidr("fd00::/64")}; }, kV6, false},
  })));
}

TEST_CASE("ports are the application's") {
  check(GENERATE(values<Row>({
      {"this one", [](auto& m) { m.destination_ports = {80}; }, kCart, true},
      {"one of two", [](auto& m) { m.destination_ports = {443, 80}; }, kCart, true},
      {"another", [](auto& m) { m.destination_ports = {8080}; }, kCart, false},
      {"not the client's", [](auto& m) { m.destination_ports = {4000}; }, kCart, false},
      {"not this one", [](auto& m) { m.not_destination_ports = {80}; }, kCart, false},
      {"not another", [](auto& m) { m.not_destination_ports = {443}; }, kCart, true},
  })));
}

TEST_CASE("every field that is given must pass, and a match that gives none never does") {
  check(GENERATE(values<Row>({
      {"nothing", [](auto&) {}, kCart, false},
      {"two pass", [](auto& m) { m.namespaces = {exact("shop")}, m.destination_ports = {80}; }, kCart, true},
      {"the second fails", [](auto& m) { m.namespaces = {exact("shop")}, m.destination_ports = {81}; }, kCart, false},
      {"the first fails", [](auto& m) { m.namespaces = {exact("bank")}, m.destination_ports = {80}; }, kCart, false},
      {"a negative of one field does not excuse another",
       [](auto& m) { m.not_namespaces = {exact("bank")}, m.source_ips = {cidr("10.1.0.0/16")}; }, kCart, false},
  })));
}

TEST_CASE("long lists answer as short ones do") {
  PolicyMatch match;
  for (int i = 0; i < 2'000; ++i) {
    match.namespaces.push_back(exact(fmt::format("team-{}", i)));
    match.principals.push_back(prefix(fmt::format("cluster.local/ns/team-{}/", i)));
    match.service_accounts.push_back({fmt::format("team-{}", i), "cart"});
    match.source_ips.push_back(cidr(fmt::format("10.{}.{}.0/24", i / 250, i % 250)));
    match.destination_ports.push_back(static_cast<std::uint16_t>(1'000 + 2 * i));
  }
  match.namespaces.push_back(suffix("-guest"));
  const Authorization one = policy("one", PolicyAction::Deny, {rule_of(match)});
  const auto call = [](std::string_view name, std::string source, int port) {
    return Call{std::move(source), fmt::format("10.0.0.2:{}", port),
                fmt::format("spiffe://cluster.local/ns/{}/sa/cart", name)};
  };
  CHECK(call("team-1999", "10.7.249.255:1", 4'998).matches(one));
  CHECK(call("team-0", "10.0.0.0:1", 1'000).matches(one));
  CHECK_FALSE(call("team-2000", "10.7.249.255:1", 4'998).matches(one));
  CHECK_FALSE(call("team-1999", "10.8.0.0:1", 4'998).matches(one));
  CHECK_FALSE(call("team-1999", "10.7.249.255:1", 4'999).matches(one));
  CHECK_FALSE(call("team-guest", "10.7.249.255:1", 4'998).matches(one));
}

}  // namespace
}  // namespace culvert::policy
