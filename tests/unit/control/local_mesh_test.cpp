// SPDX-License-Identifier: Apache-2.0
// What ztunnel's LOCAL_XDS says, in its own words.
#include "control/local_mesh.hpp"

#include <catch2/catch.hpp>

namespace culvert::control {
namespace {

LocalMesh read(std::string_view text) {
  auto mesh = local_mesh_from(text, "cluster.local");
  INFO((mesh ? "" : mesh.error().message()));
  REQUIRE(mesh);
  return *std::move(mesh);
}

std::string error_of(std::string_view text) {
  const auto mesh = local_mesh_from(text, "cluster.local");
  return mesh ? "accepted" : mesh.error().message();
}

TEST_CASE("workloads, services and policies are read") {
  const LocalMesh mesh = read(R"(
workloads:
- uid: cluster1//v1/Pod/shop/cart
  name: cart
  namespace: shop
  serviceAccount: cart-sa
  workloadIps: ["127.0.0.1", "fd00::1"]
  protocol: HBONE
  node: here
  network: ""
  waypoint: {destination: shop/waypoint.shop.svc, hboneMtlsPort: 15009}
  applicationTunnel: {protocol: PROXY, port: 8081}
  locality: {region: r, zone: z}
  status: Unhealthy
  capacity: 3
  authorizationPolicies: [shop/only]
  services:
    "shop/cart.example": {80: 8080}
- {name: plain, namespace: shop, workloadIps: [], services: {}}
services:
- name: cart
  namespace: shop
  hostname: cart.example
  vips: [/127.10.0.1, remote/127.10.0.2]
  cidrVips: [{network: "", cidr: 10.9.0.0/16}]
  ports: {80: 8080, 81: 0}
  subjectAltNames: [spiffe://cluster.local/ns/shop/sa/cart-sa, not-spiffe]
  loadBalancer: {mode: Failover, routingPreferences: [Network, Region], healthPolicy: AllowAll}
  ipFamilies: IPv4
  visibility: Namespace
  canonical: true
  weightedWaypoints: [{destination: {destination: /10.0.0.9, hboneMtlsPort: 15008}, weight: 5}]
)");
  REQUIRE(mesh.workloads.size() == 2);
  const state::Workload& cart = mesh.workloads[0];
  CHECK(cart.identity.to_string() == "spiffe://cluster.local/ns/shop/sa/cart-sa");
  CHECK(cart.addresses.size() == 2);
  CHECK(cart.protocol == state::Protocol::Tunnel);
  CHECK(cart.waypoint->hostname == "waypoint.shop.svc");
  CHECK(cart.waypoint->hbone_port == 15'009);
  CHECK(cart.application_tunnel == state::ApplicationTunnel{true, 8081});
  CHECK(cart.zone == "z");
  CHECK_FALSE(cart.is_healthy);
  CHECK(cart.capacity == 3);
  CHECK(cart.authorization_policies == std::vector<std::string>{"shop/only"});
  REQUIRE(cart.services.size() == 1);
  CHECK(cart.services[0] == state::ServiceMembership{"shop", "cart.example", {{80, 8080}}});
  CHECK(mesh.workloads[1].uid == "shop/plain");
  CHECK(mesh.workloads[1].protocol == state::Protocol::Tcp);
  CHECK(mesh.workloads[1].identity.service_account == "default");

  REQUIRE(mesh.services.size() == 1);
  const state::Service& service = mesh.services[0];
  REQUIRE(service.vips.size() == 3);
  CHECK(service.vips[0] == state::NetworkAddress{.network = {}, .address = IpAddress::parse("127.10.0.1").value()});
  CHECK(service.vips[1].network == "remote");
  CHECK(service.vips[2].prefix_bits == 16);
  CHECK(service.ports == std::vector<state::ServicePort>{{80, 8080}, {81, 0}});
  CHECK(service.subject_alt_names.size() == 1);
  CHECK(service.lb_mode == state::LbMode::Failover);
  CHECK(service.routing_preference == std::vector<state::LbScope>{state::LbScope::Network, state::LbScope::Region});
  CHECK(service.health_policy == state::HealthPolicy::AllowAll);
  CHECK(service.ip_families == state::IpFamilies::V4Only);
  CHECK(service.visibility == state::Visibility::Namespace);
  CHECK(service.is_canonical);
  REQUIRE(service.weighted_waypoints.size() == 1);
  CHECK(service.weighted_waypoints[0].destination.address->address.to_string() == "10.0.0.9");
}

TEST_CASE("policies are lists in lists, their texts maps or tagged") {
  const LocalMesh mesh = read(R"(
policies:
- name: only
  namespace: shop
  scope: WorkloadSelector
  action: Deny
  dryRun: true
  rules:
  - - - principals: [{Exact: cluster.local/ns/shop/sa/cart}, !Prefix "old"]
        notNamespaces: [{Presence: []}]
        sourceIps: [10.0.0.0/8]
        notDestinationPorts: [9999]
        serviceAccounts: [{namespace: shop, serviceAccount: cart}]
    - []
  - []
)");
  REQUIRE(mesh.policies.size() == 1);
  const state::Authorization& policy = mesh.policies[0];
  CHECK(policy.scope == state::PolicyScope::WorkloadSelector);
  CHECK(policy.action == state::PolicyAction::Deny);
  CHECK(policy.is_dry_run);
  REQUIRE(policy.rules.size() == 2);
  CHECK(policy.rules[1].clauses.empty());
  REQUIRE(policy.rules[0].clauses.size() == 2);
  const state::PolicyMatch& match = policy.rules[0].clauses[0].matches.at(0);
  CHECK(match.principals ==
        std::vector<state::StringMatch>{{state::StringMatch::Kind::Exact, "cluster.local/ns/shop/sa/cart"},
                                        {state::StringMatch::Kind::Prefix, "old"}});
  CHECK(match.not_namespaces == std::vector<state::StringMatch>{{state::StringMatch::Kind::Presence, ""}});
  CHECK(match.source_ips.size() == 1);
  CHECK(match.not_destination_ports == std::vector<std::uint16_t>{9999});
  CHECK(match.service_accounts == std::vector<state::ServiceAccountMatch>{{"shop", "cart"}});
}

TEST_CASE("JSON is YAML, and nothing is nothing") {
  CHECK(read(R"({"workloads": [{"name": "a", "namespace": "b"}]})").workloads.size() == 1);
  CHECK(read("").is_empty());
  CHECK(read("policies: []").is_empty());
}

TEST_CASE("the first mistake is named") {
  struct Row {
    const char* text;
    const char* error;
  };
  const Row row = GENERATE(values<Row>({
      {"workloads: 1", "workloads must be a list"},
      {"workloads: [1]", "workloads[0] must be a map"},
      {"workload: []", "workload is not a key that is known there"},
      {"workloads: [{name: a, namespace: b, protocol: X}]",
       "workloads[0].protocol is \"X\"; one of HBONE, TCP is wanted"},
      {"workloads: [{name: a, namespace: b, workloadIps: [x]}]",
       "workloads[0].workloadIps has \"x\", which means nothing there"},
      {"workloads: [{name: a, namespace: b, colour: red}]", "workloads[0].colour is not a key that is known there"},
      {"workloads: [{name: a, namespace: b, capacity: -1}]",
       "workloads[0].capacity is \"-1\"; a number from 0 to 4294967295 is wanted"},
      {"workloads: [{name: a, namespace: b, services: {x: {}}}]",
       "workloads[0].services has the key \"x\"; NAMESPACE/HOSTNAME is wanted"},
      {"services: [{name: a, namespace: b}]", "services[0].hostname is missing"},
      {"services: [{hostname: a, vips: [1.2.3.4]}]", "services[0].vips has \"1.2.3.4\"; NETWORK/ADDRESS is wanted"},
      {"services: [{hostname: a, ports: {0: 1}}]", "services[0].ports has the entry \"0\"; PORT: PORT is wanted"},
      {"services: [{hostname: a, waypoint: {destination: x}}]",
       "services[0].waypoint.destination is \"x\"; NETWORK/ADDRESS or NAMESPACE/HOSTNAME is wanted"},
      {"policies: [{name: a, scope: Global}]", "policies[0].action is missing"},
      {"policies: [{name: a, scope: Global, action: Allow, rules: [{}]}]",
       "policies[0].rules must be a list of lists of lists"},
      {"policies: [{name: a, scope: Global, action: Allow, rules: [[[{sourceIp: []}]]]}]",
       "policies[0].rules[0][0][0].sourceIp is not a key that is known there"},
      {"policies: [{name: a, scope: Global, action: Allow, rules: [[[{principals: [{}]}]]]}]",
       "policies[0].rules[0][0][0].principals[0] must have one of Exact, Prefix, Suffix and Presence"},
      {"a: [b", "line 1: not YAML: end of sequence flow not found"},
  }));
  CAPTURE(row.text);
  CHECK(error_of(row.text) == row.error);
}

}  // namespace
}  // namespace culvert::control
