// SPDX-License-Identifier: Apache-2.0
// Services, waypoints and gateways in the configuration: what is read, what is refused and why, and what the snapshot gets.
#include <catch2/catch.hpp>

#include "control/config.hpp"
#include "control/config_mesh_values.hpp"
#include "control/snapshot_build.hpp"
#include "state/route.hpp"

namespace culvert::control {
namespace {

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Config parsed(std::string_view text) {
  Result<Config> config = parse_config(text, "node.yaml");
  INFO((config ? std::string() : config.error().message()));
  REQUIRE(config);
  return *std::move(config);
}

std::string mistakes(std::string_view text) {
  const Result<Config> config = parse_config(text, "f.yaml");
  REQUIRE_FALSE(config);
  return config.error().message();
}

constexpr std::string_view kShop = R"(
network: near
mesh:
  workloads:
    - {name: cart, namespace: shop, addresses: [10.0.0.1], waypoint: "shop/way.shop.svc.cluster.local",
       locality: {region: r1, zone: z1, subzone: s1}, capacity: 3, health: UNHEALTHY}
    - {name: way, namespace: shop, addresses: [10.0.0.9], application_tunnel: {protocol: PROXY, port: 15088}}
    - {name: db, namespace: shop, hostname: db.example.com, protocol: TCP}
    - {name: far, namespace: shop, network: far, network_gateway: "10.0.0.8:15010", application_tunnel: {protocol: NONE}}
    - {name: eastwest, addresses: [10.0.0.8]}
  services:
    - name: cart
      namespace: shop
      addresses: [10.9.0.1, "fd09::1", far/10.9.0.7]
      ports: [{port: 80, target_port: 8080}, {port: 443}, {port: 9000, target_port: 0}]
      endpoints:
        - {workload: cart}
        - {workload: shop/far, ports: [{port: 9000, target_port: 9001}, {port: 80}]}
      subject_alt_names: [spiffe://cluster.local/ns/shop/sa/a, spiffe://cluster.local/ns/shop/sa/b]
      waypoint: far/10.9.0.7
      load_balancing: {mode: FAILOVER, routing_preference: [NETWORK, REGION], health_policy: ALLOW_ALL}
      ip_families: IPV4_ONLY
      visibility: NAMESPACE
    - {name: way, namespace: shop, ports: [{port: 15008}], endpoints: [{workload: way}]}
    - {name: outer, hostname: outer.example.com, endpoints: [{workload: eastwest}]}
)";

TEST_CASE("services and the new keys of workloads are read and reach the snapshot") {
  const auto snapshot = build_snapshot(parsed(kShop), {}, 1).value();
  const state::WorkloadEntry* cart = snapshot->find_uid("shop/cart");
  REQUIRE(cart != nullptr);
  CHECK(fmt::format("{}{}{}", cart->region(), cart->zone(), cart->subzone()) == "r1z1s1");
  CHECK(cart->capacity() == 3);
  CHECK_FALSE(cart->is_healthy());
  REQUIRE(cart->waypoint());
  CHECK(cart->waypoint()->hostname == "way.shop.svc.cluster.local");
  CHECK(cart->waypoint()->namespace_name == "shop");
  CHECK_FALSE(cart->application_tunnel());
  const state::WorkloadEntry* way = snapshot->find_uid("shop/way");
  CHECK(way->application_tunnel() == state::ApplicationTunnel{true, 15088});
  CHECK(way->is_healthy());
  CHECK(way->capacity() == 1);
  CHECK(snapshot->find_uid("shop/db")->hostname() == "db.example.com");
  const state::WorkloadEntry* far = snapshot->find_uid("shop/far");
  CHECK(far->network() == "far");
  CHECK(far->application_tunnel() == state::ApplicationTunnel{false, 0});
  REQUIRE(far->network_gateway());
  CHECK(far->network_gateway()->hbone_port == 15010);

  REQUIRE(snapshot->service_count() == 3);
  const state::Service* service = snapshot->find_vip("near", ip("10.9.0.1"), "shop");
  REQUIRE(service != nullptr);
  CHECK(service == snapshot->find_service("shop", "cart.shop.svc.cluster.local"));
  CHECK(service == snapshot->find_vip("far", ip("10.9.0.7"), "shop"));
  CHECK(snapshot->find_vip("near", ip("10.9.0.1"), "default") == nullptr);
  CHECK(service->ports == std::vector<state::ServicePort>{{80, 8080}, {443, 443}, {9000, 0}});
  REQUIRE(service->endpoints.size() == 2);
  CHECK(service->endpoints[0] == state::ServiceEndpoint{"shop/cart", {}});
  CHECK(service->endpoints[1] == state::ServiceEndpoint{"shop/far", {{9000, 9001}, {80, 80}}});
  CHECK(service->subject_alt_names.size() == 2);
  REQUIRE(service->waypoint);
  CHECK(service->waypoint->address == state::NetworkAddress{"far", ip("10.9.0.7")});
  CHECK(service->lb_mode == state::LbMode::Failover);
  CHECK(service->routing_preference == std::vector{state::LbScope::Network, state::LbScope::Region});
  CHECK(service->health_policy == state::HealthPolicy::AllowAll);
  CHECK(service->ip_families == state::IpFamilies::V4Only);
  CHECK(snapshot->usable_endpoints(*service).size() == 2);
  CHECK(snapshot->find_service("default", "outer.example.com")->endpoints[0].workload_uid == "default/eastwest");
  CHECK(snapshot->find_service("default", "outer.example.com")->visibility == state::Visibility::Public);
}

TEST_CASE("an endpoint may be a pod of this node, which becomes known when it joins") {
  const Config config = parsed(R"(
mesh: {services: [{name: web, addresses: [10.9.0.1], ports: [{port: 80}], endpoints: [{workload: shop/web}]}]}
pods: [{id: web, namespace: shop, netns: /run/netns/web}]
)");
  const auto before = build_snapshot(config, {}, 1).value();
  CHECK(before->usable_endpoints(*before->find_vip({}, ip("10.9.0.1"), std::nullopt)).empty());
  state::Workload pod;
  pod.uid = "shop/web";
  pod.addresses = {ip("10.0.0.1")};
  const auto after = build_snapshot(config, {&pod, 1}, 2).value();
  CHECK(after->usable_endpoints(*after->find_vip({}, ip("10.9.0.1"), std::nullopt)).size() == 1);
}

TEST_CASE("a reference is read and written in one form") {
  struct Row {
    std::string_view text;
    std::string_view network;
    std::string_view address;
    std::string_view namespace_name;
    std::string_view hostname;
    int port;
  };
  const Row rows[] = {{"10.0.0.9", "", "10.0.0.9", "", "", 15008},
                      {"10.0.0.9:15009", "", "10.0.0.9", "", "", 15009},
                      {"fd00::9", "", "fd00::9", "", "", 15008},
                      {"[fd00::9]:15009", "", "fd00::9", "", "", 15009},
                      {"net-1/10.0.0.9", "net-1", "10.0.0.9", "", "", 15008},
                      {"net-1/[fd00::9]:1", "net-1", "fd00::9", "", "", 1},
                      {"shop/way.example.com", "", "", "shop", "way.example.com", 15008},
                      {"shop/way.example.com:65535", "", "", "shop", "way.example.com", 65'535}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const auto reference = parse_reference(row.text);
    REQUIRE(reference);
    CHECK(state::to_string(*reference) == row.text);
    CHECK(reference->hbone_port == row.port);
    CHECK(reference->namespace_name == row.namespace_name);
    CHECK(reference->hostname == row.hostname);
    REQUIRE(reference->address.has_value() == !row.address.empty());
    if (!reference->address) continue;
    CHECK(reference->address->network == row.network);
    CHECK(reference->address->address == ip(row.address));
  }
}

TEST_CASE("what is no reference is refused with the forms that are") {
  for (const std::string_view text :
       {"way", "10.0.0.9:0", "0.0.0.0", "127.0.0.1", "/10.0.0.9", "shop/", "a/b/c", "shop/way:x", "shop/way:0",
        "shop/way:65536", "a b/way", "::1", "shop/:80", ":80", "way:80"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_reference(text));
  }
  CHECK_THAT(
      mistakes("mesh: {workloads: [{name: a, addresses: [10.0.0.1], waypoint: way}]}"),
      Catch::Contains(
          "f.yaml:1:63: mesh.workloads[0].waypoint: \"way\" is not a reference; write ADDRESS, NETWORK/ADDRESS or "
          "NAMESPACE/HOSTNAME"));
}

TEST_CASE("a mistake in a service names the element, the value and the remedy") {
  struct Row {
    const char* text;
    const char* message;
  };
  const Row row = GENERATE(values<Row>({
      {"mesh: {services: [{namespace: shop}]}", "mesh.services[0].name: is missing"},
      {"mesh:\n  services:\n    - name: web\n    - name: web\n",
       "f.yaml:4:13: mesh.services[1].name: service \"default/web\" stands in mesh.services[0] already"},
      {"mesh: {services: [{name: a, hostname: x.com}, {name: b, hostname: x.com}]}",
       "f.yaml:1:67: mesh.services[1].hostname: \"x.com\" is the hostname of mesh.services[0] already; in a namespace "
       "it has one "
       "service"},
      {"mesh: {services: [{name: a, addresses: [10.9.0.1]}, {name: b, addresses: [10.9.0.2, 10.9.0.1]}]}",
       "f.yaml:1:85: mesh.services[1].addresses[1]: 10.9.0.1 belongs to mesh.services[0] already; in a namespace an "
       "address "
       "has one service"},
      {"network: n\nmesh: {services: [{name: a, addresses: [n/10.9.0.1]}, {name: b, addresses: [10.9.0.1]}]}",
       "mesh.services[1].addresses[0]: 10.9.0.1 belongs to mesh.services[0] already"},
      {"mesh: {services: [{name: a, addresses: [n/x]}]}",
       "mesh.services[0].addresses[0]: \"n/x\" is not a virtual address; write one IPv4 or IPv6 address, or "
       "NETWORK/ADDRESS"},
      {"mesh: {services: [{name: a, addresses: [127.0.0.1]}]}", "\"127.0.0.1\" is not a virtual address"},
      {"mesh: {services: [{name: a, ports: [{port: 80}, {port: 80, target_port: 1}]}]}",
       "mesh.services[0].ports[1].port: 80 stands in mesh.services[0].ports[0] already; a port has one target"},
      {"mesh: {services: [{name: a, ports: [{target_port: 80}]}]}", "mesh.services[0].ports[0].port: is missing"},
      {"mesh: {services: [{name: a, ports: [{port: 0}]}]}",
       "mesh.services[0].ports[0].port: \"0\" is out of range; write a port, 1 to 65535"},
      {"mesh: {services: [{name: a, ports: [{port: 1, target_port: 65536}]}]}",
       "mesh.services[0].ports[0].target_port: \"65536\" is out of range; write a port, 0 to 65535"},
      {"mesh: {services: [{name: a, endpoints: [{workload: web}]}]}",
       "f.yaml:1:52: mesh.services[0].endpoints[0].workload: \"default/web\" is no workload and no pod; add it to "
       "mesh.workloads"},
      {"mesh: {services: [{name: a, endpoints: [{workload: a/b/c}]}]}",
       "mesh.services[0].endpoints[0].workload: \"a/b/c\" is not a workload; write NAME or NAMESPACE/NAME"},
      {"mesh:\n  workloads: [{name: w, addresses: [10.0.0.1]}]\n  services:\n    - {name: a, endpoints: [{workload: "
       "w}, "
       "{workload: default/w}]}",
       "mesh.services[0].endpoints[1].workload: \"default/w\" stands in mesh.services[0].endpoints[0] already"},
      {"mesh:\n  workloads: [{name: w, addresses: [10.0.0.1]}]\n  services:\n    - {name: a, ports: [{port: 80}], "
       "endpoints: "
       "[{workload: w, ports: [{port: 81}]}]}",
       "mesh.services[0].endpoints[0].ports[0].port: 81 is not a port of the service; add it there"},
      {"mesh:\n  workloads: [{name: w, addresses: [10.0.0.1]}]\n  services:\n    - {name: a, ports: [{port: 80}], "
       "endpoints: "
       "[{workload: w, ports: [{port: 80, target_port: 0}]}]}",
       "mesh.services[0].endpoints[0].ports[0].target_port: \"0\" is out of range; write a port, 1 to 65535"},
      {"mesh: {services: [{name: a, waypoint: shop/way.example.com}]}",
       "f.yaml:1:39: mesh.services[0].waypoint: \"shop/way.example.com\" is the hostname of no service and no "
       "workload; add one "
       "with it"},
      {"mesh: {services: [{name: a, waypoint: default/b}, {name: b}]}",
       "mesh.services[0].waypoint: \"default/b\" is the name of a service; write default/b.default.svc.cluster.local, "
       "its "
       "hostname"},
      {"mesh: {services: [{name: a, waypoint: 10.0.0.9}]}",
       "mesh.services[0].waypoint: \"10.0.0.9\" is the address of no workload and no service; add one with it"},
      {"mesh: {workloads: [{name: a, addresses: [10.0.0.1]}], services: [{name: a, waypoint: far/10.0.0.1}]}",
       "mesh.services[0].waypoint: \"far/10.0.0.1\" is the address of no workload and no service"},
      {"mesh: {workloads: [{name: a, network: far, network_gateway: 10.0.0.9}]}",
       "mesh.workloads[0].network_gateway: \"10.0.0.9\" is the address of no workload and no service"},
      {"mesh: {services: [{name: a, subject_alt_names: [b]}]}",
       "mesh.services[0].subject_alt_names[0]: \"b\" is not an identity; write spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/"
       "SERVICE_ACCOUNT"},
      {"mesh: {services: [{name: a, load_balancing: {mode: RANDOM}}]}",
       "mesh.services[0].load_balancing.mode: \"RANDOM\" is not known; write UNSPECIFIED or STRICT or FAILOVER or "
       "PASSTHROUGH"},
      {"mesh: {services: [{name: a, load_balancing: {routing_preference: [ZONE, ZONE]}}]}",
       "mesh.services[0].load_balancing.routing_preference[1]: \"ZONE\" stands twice in this list; remove one"},
      {"mesh: {services: [{name: a, ip_families: V4}]}", "write AUTOMATIC or IPV4_ONLY or IPV6_ONLY or DUAL"},
      {"mesh: {workloads: [{name: a, addresses: [10.0.0.1], health: SICK}]}", "write HEALTHY or UNHEALTHY"},
      {"mesh: {workloads: [{name: a, addresses: [10.0.0.1], application_tunnel: {port: 80}}]}",
       "mesh.workloads[0].application_tunnel.port: 80 stands without a protocol; add protocol: PROXY or NONE"},
      {"mesh: {workloads: [{name: a}]}",
       "mesh.workloads[0].addresses: is empty; a workload has an address or a hostname, unless a network_gateway leads "
       "to it"},
  }));
  CAPTURE(row.text);
  CHECK_THAT(mistakes(row.text), Catch::Contains(row.message));
}

TEST_CASE(
    "services of different namespaces may share hostname and address, and so may workloads of different networks") {
  const Config config = parsed(R"(
mesh:
  workloads: [{name: a, addresses: [10.0.0.1]}, {name: b, network: far, addresses: [10.0.0.1]}]
  services:
    - {name: a, hostname: x.com, addresses: [10.9.0.1]}
    - {name: a, namespace: other, hostname: x.com, addresses: [10.9.0.1]}
    - {name: b, addresses: [far/10.9.0.1, 10.0.0.1]}
)");
  CHECK(build_snapshot(config, {}, 1));
}

TEST_CASE("a route over the file's mesh passes the waypoint that it names") {
  class First final : public state::RouteRandom {
    std::uint32_t below(std::uint32_t) override { return 0; }
  } first;
  const auto snapshot = build_snapshot(parsed(kShop), {}, 1).value();
  const state::RouteSource source{ip("10.0.0.77"), "near", "shop", nullptr, nullptr};
  const state::Route route = state::route(*snapshot, source, {ip("10.0.0.1"), 80}, first);
  CHECK(route.kind == state::RouteKind::Tunnel);
  CHECK(route.next_hop.to_string() == "10.0.0.9:15008");
  CHECK(route.is_waypoint);
}

}  // namespace
}  // namespace culvert::control
