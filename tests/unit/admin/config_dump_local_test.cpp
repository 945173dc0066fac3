// SPDX-License-Identifier: Apache-2.0
// staticConfig of /config_dump: what LOCAL_XDS says, in the form in which it is read. Keys stand in their order here, as the parser sorts them.
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "control/local_mesh.hpp"
#include "dump_support.hpp"

namespace culvert::admin {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kEverything = R"(
workloads:
- uid: cluster1//v1/Pod/shop/cart
  name: cart
  namespace: shop
  trustDomain: other.domain
  serviceAccount: cart-sa
  workloadIps: ["10.1.0.5", "fd00::1"]
  protocol: HBONE
  networkMode: HostNetwork
  nativeTunnel: true
  node: here
  hostname: cart.example.org
  network: far
  clusterId: one
  workloadName: cart-deployment
  workloadType: deployment
  canonicalName: cart
  canonicalRevision: v2
  waypoint: {destination: shop/waypoint.shop.svc, hboneMtlsPort: 15009}
  networkGateway: {destination: far/192.0.2.7, hboneMtlsPort: 15008}
  applicationTunnel: {protocol: PROXY, port: 8081}
  locality: {region: r, zone: z, subzone: s}
  status: Unhealthy
  capacity: 3
  authorizationPolicies: [shop/only]
  services: {shop/cart.example: {80: 8080, 81: 8081}, zoo/other: {}}
- {name: plain, namespace: shop, workloadName: plain, workloadIps: []}
services:
- name: cart
  namespace: shop
  hostname: cart.example
  vips: [/127.10.0.1, remote/127.10.0.2]
  cidrVips: [{network: "", cidr: 10.9.0.0/16}]
  ports: {80: 8080, 81: 0}
  endpoints: {shop/bare: {}, shop/plain: {port: {80: 8088}}}
  subjectAltNames: [spiffe://cluster.local/ns/shop/sa/cart-sa]
  waypoint: {destination: /10.0.0.8, hboneMtlsPort: 15008}
  weightedWaypoints: [{destination: {destination: /10.0.0.9, hboneMtlsPort: 15008}, weight: 5}]
  loadBalancer: {mode: Failover, routingPreferences: [Network, Region], healthPolicy: AllowAll}
  ipFamilies: IPv4
  visibility: Namespace
  canonical: true
policies:
- name: only
  namespace: shop
  scope: WorkloadSelector
  action: Deny
  dryRun: true
  rules: [[[{principals: [{Exact: a}, {Prefix: b}], notNamespaces: [{Presence: []}], sourceIps: [10.0.0.0/8], destinationPorts: [80]}], []], []]
)";

Json local_dump(const control::LocalMesh& mesh) {
  state::Store store("net");
  auto source = std::make_unique<StoreDump>(store);
  source->local_mesh = {.workloads = mesh.workloads, .services = mesh.services, .policies = mesh.policies};
  ConfigDump dump(std::move(source), {}, nullptr);
  const Json parsed = Json::parse(whole(dump), nullptr, false);
  REQUIRE_FALSE(parsed.is_discarded());
  CHECK(parsed.size() == 9);
  return parsed["staticConfig"];
}

}  // namespace

TEST_CASE("what a dump shows of a local mesh is that mesh when it is read again") {
  const auto mesh = control::local_mesh_from(kEverything, "cluster.local");
  INFO((mesh ? "" : mesh.error().message()));
  REQUIRE(mesh);
  const Json shown = local_dump(*mesh);
  INFO(shown.dump(2));
  const auto again = control::local_mesh_from(shown.dump(), "a.domain.that.nobody.names");
  INFO((again ? "" : again.error().message()));
  REQUIRE(again);
  CHECK(again->workloads == mesh->workloads);
  CHECK(again->services == mesh->services);
  CHECK(again->policies == mesh->policies);
}

TEST_CASE(
    "a local workload is shown in ztunnel's words, with its services as a map and no network that it did not name") {
  const auto mesh = control::local_mesh_from(
      "workloads: [{name: a, namespace: b, workloadIps: [10.0.0.1], services: {b/c: {80: 90}}}]", "cluster.local");
  REQUIRE(mesh);
  const Json shown = local_dump(*mesh);
  REQUIRE(shown["workloads"].size() == 1);
  CHECK(shown["workloads"][0] == Json({{"workloadIps", {"10.0.0.1"}},
                                       {"protocol", "TCP"},
                                       {"networkMode", "Standard"},
                                       {"uid", "b/a"},
                                       {"name", "a"},
                                       {"namespace", "b"},
                                       {"trustDomain", "cluster.local"},
                                       {"serviceAccount", "default"},
                                       {"workloadName", "a"},
                                       {"workloadType", "pod"},
                                       {"canonicalName", "a"},
                                       {"canonicalRevision", "latest"},
                                       {"services", {{"b/c", {{"80", 90}}}}},
                                       {"status", "Healthy"},
                                       {"clusterId", "Kubernetes"},
                                       {"capacity", 1}}));
  CHECK(shown["services"] == Json::array());
  CHECK(shown["policies"] == Json::array());
}

}  // namespace culvert::admin
