// SPDX-License-Identifier: Apache-2.0
// Explanations: the outcome, the steps, and who decided them.
#include "policy/explain.hpp"

#include <algorithm>

#include "state/store.hpp"
#include "support.hpp"

namespace culvert::policy {
namespace {

state::Workload workload(std::string name, std::string_view address,
                         state::Protocol protocol = state::Protocol::Tunnel) {
  state::Workload made;
  made.uid = "shop/" + name;
  made.name = name;
  made.namespace_name = "shop";
  made.identity = SpiffeId::make("cluster.local", "shop", name).value();
  made.addresses = {IpAddress::parse(address).value()};
  made.protocol = protocol;
  return made;
}

state::Service service(std::string name, std::string_view vip, std::vector<std::string> endpoints) {
  state::Service made;
  made.name = name;
  made.namespace_name = "shop";
  made.hostname = name + ".shop.svc.cluster.local";
  made.vips = {{{}, IpAddress::parse(vip).value()}};
  made.ports = {{80, 8080}};
  for (std::string& one : endpoints) made.endpoints.push_back({"shop/" + one, {}});
  return made;
}

// pay and stock behind services, guarded by a waypoint; "bare" takes no tunnel.
std::shared_ptr<const state::Snapshot> mesh(std::vector<Authorization> policies) {
  state::SnapshotBuilder builder;
  for (state::Workload one : {workload("cart", "10.0.0.1"), workload("pay", "10.0.0.2"), workload("way", "10.0.0.3"),
                              workload("bare", "10.0.0.4", state::Protocol::Tcp), workload("late", "10.0.0.5")}) {
    if (one.name == "late") one.authorization_policies = {"shop/unknown"};
    REQUIRE(builder.add(std::move(one)));
  }
  REQUIRE(builder.add(service("pay", "10.96.0.1", {"pay"})));
  state::Service guarded = service("guarded", "10.96.0.2", {"pay"});
  state::GatewayRef way;
  way.address = state::NetworkAddress{{}, IpAddress::parse("10.0.0.3").value()};
  guarded.waypoint = way;
  REQUIRE(builder.add(std::move(guarded)));
  REQUIRE(builder.add(service("empty", "10.96.0.3", {})));
  for (Authorization& one : policies) REQUIRE(builder.add(std::move(one)));
  return std::move(builder).build(1);
}

Authorization only(std::string account, std::uint16_t port) {
  PolicyMatch match;
  match.service_accounts = {{"shop", std::move(account)}};
  match.destination_ports = {port};
  return policy("only", PolicyAction::Allow, {rule_of({}), rule_of(match)});
}

bool has_step(const Explanation& told, std::string_view what, std::string_view text, std::string_view by) {
  return std::ranges::any_of(told.steps, [&](const ExplainStep& step) {
    return step.what == what && step.text.find(text) != std::string::npos && step.decided_by == by;
  });
}

TEST_CASE("an explanation ends with what the connection would get, and names who decided") {
  struct Row {
    const char* what;
    std::vector<Authorization> policies;
    const char* source;
    const char* destination;
    const char* outcome;
    const char* step;
    const char* text;
    const char* by;
  };
  const std::vector<Authorization> none;
  const Row row = GENERATE_COPY(values<Row>({
      {"a workload", none, "shop/cart", "10.0.0.2:80", "allowed", "route", "tunnel to 10.0.0.2:15008",
       "workload shop/pay"},
      {"the identity that is expected", none, "cart", "10.0.0.2:80", "allowed", "identity",
       "spiffe://cluster.local/ns/shop/sa/pay", "workload shop/pay"},
      {"a service by its address", none, "10.0.0.1", "10.96.0.1:80", "allowed", "endpoints", "1 of 1 usable",
       "service shop/pay.shop.svc.cluster.local"},
      {"a service by its short name",
       {only("cart", 8080)},
       "cart",
       "pay:80",
       "allowed",
       "policy",
       "rule 2 of 2 matches",
       "policy shop/only"},
      {"the port is the application's",
       {only("cart", 80)},
       "cart",
       "pay:80",
       "denied",
       "policy",
       "none of its rules matches",
       "policy shop/only"},
      {"a DENY policy",
       {policy("no", PolicyAction::Deny, {PolicyRule{}})},
       "cart",
       "10.0.0.2:80",
       "denied",
       "verdict",
       "explicitly denied by: shop/no",
       "policy shop/no"},
      {"a dry run",
       {dry(policy("no", PolicyAction::Deny, {PolicyRule{}}))},
       "cart",
       "10.0.0.2:80",
       "allowed",
       "policy",
       "DENY, dry run: rule 1 of 1 matches",
       "policy shop/no"},
      {"a waypoint speaks for the client",
       {only("way", 8080)},
       "cart",
       "guarded:80",
       "allowed",
       "waypoint",
       "tunnel to 10.0.0.3:15008, asked for 10.96.0.2:80; h2: a waypoint is asked for what is behind it",
       "workload shop/way"},
      {"a policy that is not known", none, "cart", "10.0.0.5:80", "undecided", "policy", "nobody knows it",
       "policy shop/unknown"},
      {"a client outside the mesh",
       {only("cart", 80)},
       "10.9.0.1",
       "10.0.0.2:80",
       "denied",
       "source",
       "10.9.0.1 is not in the mesh",
       ""},
      {"a destination outside the mesh", none, "cart", "10.9.0.1:80", "not in the mesh", "route", "as it was dialled",
       ""},
      {"an endpoint without an agent", none, "cart", "10.0.0.4:80", "not in the mesh", "route",
       "plain TCP to 10.0.0.4:80", "workload shop/bare"},
      {"a service without endpoints", none, "cart", "empty:80", "refused", "endpoints", "0 of 0 usable",
       "service shop/empty.shop.svc.cluster.local"},
  }));
  CAPTURE(row.what);
  const auto told = explain(*mesh(row.policies), row.source, row.destination);
  REQUIRE(told);
  for (const ExplainStep& step : told->steps)
    UNSCOPED_INFO(step.what << ": " << step.text << " [" << step.decided_by << "]");
  CHECK(told->outcome == row.outcome);
  CHECK(has_step(*told, row.step, row.text, row.by));
}

TEST_CASE("a pod that its node knew before the control plane named it is one workload") {
  state::Store store;
  store.upsert(workload("pay", "10.0.0.2"));
  state::Workload early = workload("cart", "10.0.0.1");
  early.uid = "culvert-local/" + early.uid;
  early.is_provisional = true;
  store.upsert(early);
  CHECK(explain(*store.publish(), "shop/cart", "10.0.0.2:80").has_value());
  state::Workload named = workload("cart", "10.0.0.1");
  named.uid = "Kubernetes//Pod/shop/cart";
  store.upsert(named);
  CHECK(explain(*store.publish(), "shop/cart", "10.0.0.2:80").has_value());
  // Another pod of that name is another one.
  named.uid = "Kubernetes2//Pod/shop/cart";
  named.addresses = {IpAddress::parse("10.0.0.7").value()};
  store.upsert(named);
  CHECK(explain(*store.publish(), "shop/cart", "10.0.0.2:80").error().code() == ErrorCode::InvalidArgument);
}

TEST_CASE("a short hostname is completed with the cluster's own domain, and dialled in the source's network") {
  state::Store store("near");
  store.upsert(workload("cart", "10.0.0.1"));
  state::Workload away = workload("away", "10.0.0.2");
  away.network = "far";
  store.upsert(away);
  state::Service pay = service("pay", "10.96.0.1", {});
  pay.hostname = "pay.shop.svc.example.org";
  pay.vips = {{"other", IpAddress::parse("10.7.0.1").value()},
              {{}, IpAddress::parse("10.7.0.0").value(), 16},
              {{}, IpAddress::parse("10.96.0.1").value()}};
  store.upsert(pay);
  const auto snapshot = store.publish();
  const ExplainOptions options{.cluster_domain = "example.org"};
  for (const char* name : {"pay", "pay.shop", "pay.shop.svc", "pay.shop.svc.example.org"}) {
    CAPTURE(name);
    const auto told = explain(*snapshot, "shop/cart", fmt::format("{}:80", name), options);
    REQUIRE(told);
    CHECK(has_step(*told, "destination", "10.96.0.1 is an address of a service",
                   "service shop/pay.shop.svc.example.org"));
  }
  CHECK(explain(*snapshot, "shop/cart", "pay:80").error().code() == ErrorCode::NotFound);
  CHECK_THAT(explain(*snapshot, "shop/away", "pay:80", options).error().message(),
             Catch::Contains("no address in the source's network far"));
}

TEST_CASE("what is not known is told as policy.unknown has it") {
  struct Row {
    UnknownAnswer unknown;
    const char* outcome;
    const char* verdict;
  };
  const Row row = GENERATE(values<Row>({{UnknownAnswer::Hold, "undecided", "it waits"},
                                        {UnknownAnswer::Deny, "denied", "policy.unknown is deny"},
                                        {UnknownAnswer::Allow, "allowed", "no allow policies"}}));
  const auto told = explain(*mesh({}), "cart", "10.0.0.5:80", {.unknown = row.unknown});
  REQUIRE(told);
  CHECK(told->outcome == row.outcome);
  CHECK(has_step(*told, "verdict", row.verdict, ""));
}

TEST_CASE("what cannot be explained says why") {
  const auto snapshot = mesh({});
  CHECK(explain(*snapshot, "nobody", "10.0.0.2:80").error().code() == ErrorCode::NotFound);
  CHECK(explain(*snapshot, "cart", "nowhere:80").error().code() == ErrorCode::NotFound);
  for (const char* destination : {"", "10.0.0.2", "10.0.0.2:0", "pay:", "pay:99999", "pay:80x", ":80", "fd00::1"}) {
    CAPTURE(destination);
    CHECK(explain(*snapshot, "cart", destination).error().code() == ErrorCode::InvalidArgument);
  }
}

TEST_CASE("where the mesh comes when it is needed, what is not known is open, and nobody's is nobody's") {
  state::Store store;
  store.set_on_demand();
  store.upsert(workload("cart", "10.0.0.1"));
  const auto open = store.publish();
  const Explanation told = explain(*open, "cart", "10.0.0.9:80").value();
  CHECK(told.outcome == "undecided");
  CHECK(has_step(told, "destination", "10.0.0.9 is not known here", ""));
  CHECK(has_step(told, "route",
                 "/10.0.0.9 is not known here yet: a connection would wait until istiod has said who it is", ""));
  CHECK_THAT(explain(*open, "cart", "pay:80").error().message(), Catch::Contains("ask for an address"));
  store.set_absent("/10.0.0.9", true);
  CHECK(explain(*store.publish(), "cart", "10.0.0.9:80").value().outcome == "not in the mesh");
}

}  // namespace
}  // namespace culvert::policy
