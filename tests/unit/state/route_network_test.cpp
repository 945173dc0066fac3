// SPDX-License-Identifier: Apache-2.0
// Where a connection goes when its end is in another network, or has a hostname instead of an address.
#include "mesh.hpp"

namespace culvert::state {
namespace {

constexpr ServicePort kHttp{80, 8080};

Workload far(std::string_view name, std::vector<IpAddress> addresses, std::optional<GatewayRef> gateway) {
  Workload made = workload(name, std::move(addresses));
  made.network = "far";
  made.network_gateway = std::move(gateway);
  return made;
}
Workload east_west() { return workload("eastwest", {ip("10.0.0.50"), ip("fd00::50")}); }

TEST_CASE("an endpoint in another network is reached by two tunnels, one in the other") {
  Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  web.subject_alt_names = {identity("server"), identity("other")};
  Service gateway = service("gw", "10.9.0.50", {{15008, 15010}}, {"eastwest"});
  gateway.subject_alt_names = {identity("gw-alias")};
  for (const GatewayRef& reference : {by_name("gw"), by_address("10.9.0.50"), by_address("10.9.0.50", "near")}) {
    Mesh mesh({far("server", {}, reference), east_west()}, {web, gateway}, "near");
    const Route route = mesh.route("10.9.0.1:80");
    CHECK(brief(route) == "gateway 10.0.0.50:15010 for web.shop.svc.cluster.local:80 at eastwest");
    CHECK(route.service->name == "web");
    CHECK(route.destination == mesh.named("server"));
    REQUIRE(route.accepted.size() == 1);
    CHECK(route.accepted[0] == identity("gw-alias"));
    REQUIRE(route.inner_accepted.size() == 2);
    CHECK(route.inner_accepted[1] == identity("other"));
    CHECK_FALSE(route.is_waypoint);
  }
}

TEST_CASE("the address of an endpoint in another network is never dialled, even where it has one") {
  Mesh mesh({far("server", {ip("10.0.0.2")}, by_address("10.0.0.50")), east_west()},
            {service("web", "10.9.0.1", {kHttp}, {"server"})});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "gateway 10.0.0.50:15008 for web.shop.svc.cluster.local:80 at eastwest");
  CHECK(brief(mesh.route("10.0.0.2:80")) == "passthrough 10.0.0.2:80");  // this network has no such workload
}

TEST_CASE("one address in two networks is two workloads") {
  Mesh mesh({workload("near", {ip("10.0.0.2")}), far("away", {ip("10.0.0.2")}, by_address("10.0.0.50"))});
  CHECK(mesh.route("10.0.0.2:80").workload->name() == "near");
  RouteSource source = mesh.source();
  source.network = "far";
  CHECK(route(*mesh.snapshot, source, at("10.0.0.2:80"), mesh.random).workload->name() == "away");
}

TEST_CASE("another network without a gateway is refused") {
  const Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  Mesh without({far("server", {ip("10.0.0.2")}, {})}, {web});
  CHECK(brief(without.route("10.9.0.1:80")) == "refused: no gateway to the destination's network is known");
  Mesh unknown({far("server", {}, by_name("gw"))}, {web});
  CHECK(unknown.route("10.9.0.1:80").refusal == RouteRefusal::UnknownGateway);
  Mesh without_port({far("server", {}, by_name("gw")), east_west()}, {web, service("gw", {}, {kHttp}, {"eastwest"})});
  CHECK(without_port.route("10.9.0.1:80").refusal == RouteRefusal::UnknownGateway);
  Mesh without_address({far("server", {}, by_name("gw")), workload("eastwest")},
                       {web, service("gw", {}, {{15008, 15008}}, {"eastwest"})});
  CHECK(without_address.route("10.9.0.1:80").refusal == RouteRefusal::UnknownGateway);
}

TEST_CASE("a workload that claims the address of a service in another network does not take it from it") {
  Mesh mesh({workload("claims", {ip("10.9.0.1")}), far("server", {}, by_address("10.0.0.50")), east_west()},
            {service("web", "10.9.0.1", {kHttp}, {"server"})});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "gateway 10.0.0.50:15008 for web.shop.svc.cluster.local:80 at eastwest");
}

TEST_CASE("a service's waypoint in another network is the inner end of two tunnels; a workload's is refused") {
  Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  web.subject_alt_names = {identity("server")};
  web.waypoint = by_name("way");
  Service way = service("way", {}, {{15008, 15008}}, {"way"});
  way.subject_alt_names = {identity("way")};
  Workload guarded = workload("server", {ip("10.0.0.2")});
  guarded.waypoint = by_name("way");
  Mesh mesh({guarded, far("way", {}, by_address("10.0.0.50")), east_west()}, {web, way});
  const Route route = mesh.route("10.9.0.1:80");
  CHECK(brief(route) == "gateway 10.0.0.50:15008 for web.shop.svc.cluster.local:80 at eastwest");
  CHECK(route.is_waypoint);
  CHECK(route.destination == nullptr);
  REQUIRE(route.inner_accepted.size() == 1);
  CHECK(route.inner_accepted[0] == identity("way"));
  CHECK(mesh.route("10.0.0.2:80").refusal == RouteRefusal::NoServiceForNetwork);
}

TEST_CASE("by hostname a gateway is reached in the family that was dialled, by address in its own") {
  Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  web.vips.push_back({{}, ip("fd09::1")});
  const Service gateway = service("gw", "10.9.0.50", {{15008, 15008}}, {"eastwest"});
  Mesh by_host({far("server", {}, by_name("gw")), east_west()}, {web, gateway});
  CHECK(by_host.route("10.9.0.1:80").next_hop == at("10.0.0.50:15008"));
  CHECK(by_host.route("[fd09::1]:80").next_hop == at("[fd00::50]:15008"));
  Mesh by_ip({far("server", {}, by_address("10.9.0.50")), east_west()}, {web, gateway});
  CHECK(by_ip.route("[fd09::1]:80").next_hop == at("10.0.0.50:15008"));
}

TEST_CASE("an endpoint with a hostname only is asked of DNS, and then reached as any other") {
  Workload server = workload("server");
  server.hostname = "db.example.com";
  for (const Protocol protocol : {Protocol::Tunnel, Protocol::Tcp}) {
    server.protocol = protocol;
    Mesh mesh({server}, {service("web", "10.9.0.1", {kHttp}, {"server"})});
    const Route unresolved = mesh.route("10.9.0.1:80");
    CHECK(unresolved.kind == RouteKind::Resolve);
    CHECK(unresolved.dns_name == "db.example.com");
    CHECK(unresolved.workload == mesh.named("server"));
    const Route resolved = route_resolved(*mesh.snapshot, mesh.source(), unresolved, ip("192.0.2.7"));
    CHECK(brief(resolved) == (protocol == Protocol::Tcp ? "plain 192.0.2.7:8080 at server"
                                                        : "tunnel 192.0.2.7:15008 for 192.0.2.7:8080 at server"));
    CHECK(resolved.service == unresolved.service);
  }
}

TEST_CASE("a waypoint or a gateway with a hostname only keeps what it is asked for") {
  Workload way = workload("way");
  way.hostname = "way.example.com";
  Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  web.waypoint = by_name("way");
  const Service ways = service("way", {}, {{15008, 15009}}, {"way"});
  Mesh guarded({workload("server", {ip("10.0.0.2")}), way}, {web, ways});
  const Route unresolved = guarded.route("10.9.0.1:80");
  CHECK(unresolved.dns_name == "way.example.com");
  CHECK(brief(route_resolved(*guarded.snapshot, guarded.source(), unresolved, ip("192.0.2.7"))) ==
        "tunnel 192.0.2.7:15009 for 10.9.0.1:80 at way");
  web.waypoint = {};
  Mesh remote({far("server", {}, by_name("way")), way}, {web, ways});
  CHECK(brief(route_resolved(*remote.snapshot, remote.source(), remote.route("10.9.0.1:80"), ip("192.0.2.7"))) ==
        "gateway 192.0.2.7:15009 for web.shop.svc.cluster.local:80 at way");
}

TEST_CASE("a reference by the hostname of a workload reaches it at the reference's port") {
  Workload way = workload("way");
  way.hostname = "way.shop.svc.cluster.local";
  way.addresses = {ip("10.0.0.9")};
  Service web = service("web", "10.9.0.1", {kHttp}, {});
  web.waypoint = by_name("way", 15099);
  Mesh mesh({way}, {web});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "tunnel 10.0.0.9:15099 for 10.9.0.1:80 at way");
}

}  // namespace
}  // namespace culvert::state
