// SPDX-License-Identifier: Apache-2.0
// Where a connection goes: workloads, services, their waypoints, and what must not leave.
#include "mesh.hpp"

namespace culvert::state {
namespace {

constexpr ServicePort kHttp{80, 8080};

Workload with_waypoint(Workload made, GatewayRef waypoint) {
  made.waypoint = std::move(waypoint);
  return made;
}
Service with_waypoint(Service made, GatewayRef waypoint) {
  made.waypoint = std::move(waypoint);
  return made;
}

TEST_CASE("a workload is tunnelled to, or left plain, by its protocol; who is not in the mesh is passed through") {
  Workload plain = workload("plain", {ip("10.0.0.3")});
  plain.protocol = Protocol::Tcp;
  Mesh mesh({workload("server", {ip("10.0.0.2"), ip("fd00::2")}), plain});
  CHECK(brief(mesh.route("10.0.0.2:80")) == "tunnel 10.0.0.2:15008 for 10.0.0.2:80 at server");
  CHECK(brief(mesh.route("[fd00::2]:80")) == "tunnel [fd00::2]:15008 for [fd00::2]:80 at server");
  CHECK(brief(mesh.route("10.0.0.3:80")) == "plain 10.0.0.3:80 at plain");
  CHECK(brief(mesh.route("192.0.2.1:80")) == "passthrough 192.0.2.1:80");
  const Route route = mesh.route("10.0.0.2:80");
  CHECK(route.destination == mesh.named("server"));
  CHECK(route.service == nullptr);
  CHECK(route.accepted.empty());
  CHECK_FALSE(route.is_waypoint);
}

TEST_CASE("a workload is shared out of its own snapshot only") {
  Mesh mesh({workload("server", {ip("10.0.0.2")})});
  Mesh other({});
  const WorkloadEntry& server = *mesh.named("server");
  CHECK(mesh.snapshot->share(server).get() == &server);
  CHECK(other.snapshot->share(server) == nullptr);
}

TEST_CASE("before everything has been said once nothing leaves; on demand each name is asked for") {
  Store store("");
  store.set_complete(false);
  ScriptedRandom random;
  const RouteSource source{ip("10.0.0.77"), {}, "shop", nullptr, nullptr};
  CHECK(brief(route(*store.publish(), source, at("192.0.2.1:80"), random)) ==
        "refused: the control plane has not yet said who is in the mesh");
  store.set_complete(true);
  CHECK(brief(route(*store.publish(), source, at("192.0.2.1:80"), random)) == "passthrough 192.0.2.1:80");
  Store asking("");
  asking.set_complete(false);
  asking.set_on_demand();
  CHECK(route(*asking.publish(), source, at("192.0.2.1:80"), random).kind == RouteKind::Ask);
}

TEST_CASE("a source that the snapshot does not know is routed all the same") {
  Mesh mesh({workload("server", {ip("10.0.0.2")})}, {service("web", "10.9.0.1", {kHttp}, {"server"})});
  const RouteSource stranger{ip("10.0.0.77"), {}, "elsewhere", nullptr, nullptr};
  CHECK(brief(route(*mesh.snapshot, stranger, at("10.9.0.1:80"), mesh.random)) ==
        "tunnel 10.0.0.2:15008 for 10.0.0.2:8080 at server");
}

TEST_CASE("a service's virtual address leads to its endpoint, at the port behind the one that was dialled") {
  Service web = service("web", "10.9.0.1", {kHttp, {443, 0}}, {"server"});
  web.subject_alt_names = {identity("alias")};
  Mesh mesh({workload("server", {ip("10.0.0.2")})}, {web});
  const Route route = mesh.route("10.9.0.1:80");
  CHECK(brief(route) == "tunnel 10.0.0.2:15008 for 10.0.0.2:8080 at server");
  CHECK(route.service == mesh.snapshot->find_service("shop", "web.shop.svc.cluster.local"));
  REQUIRE(route.accepted.size() == 1);
  CHECK(route.accepted[0] == identity("alias"));
  CHECK(brief(mesh.route("10.9.0.1:81")) == "refused: the service has no healthy endpoint for this port");
  CHECK(brief(mesh.route("10.9.0.1:443")) == "refused: the service has no healthy endpoint for this port");
}

TEST_CASE("the port comes from the endpoint's map, else from the service, else from the application tunnel") {
  struct Case {
    std::uint16_t service_target;
    std::uint16_t endpoint_target;  // 0: no map
    std::optional<ApplicationTunnel> tunnel;
    std::string_view expected;
  };
  const Case cases[] = {
      {8080, 0, {}, "tunnel 10.0.0.2:15008 for 10.0.0.2:8080 at server"},
      {8080, 9000, {}, "tunnel 10.0.0.2:15008 for 10.0.0.2:9000 at server"},
      {0, 9000, {}, "tunnel 10.0.0.2:15008 for 10.0.0.2:9000 at server"},
      {8080, 0, ApplicationTunnel{true, 15088}, "tunnel 10.0.0.2:15008 for 10.0.0.2:8080 at server"},
      {0, 0, {}, "refused: the service has no healthy endpoint for this port"},
      {0, 0, ApplicationTunnel{true, 15088}, "refused: the service has no healthy endpoint for this port"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.service_target, one.endpoint_target);
    Service web = service("web", "10.9.0.1", {{80, one.service_target}}, {"server"});
    if (one.endpoint_target != 0) web.endpoints[0].ports = {{80, one.endpoint_target}};
    Workload server = workload("server", {ip("10.0.0.2")});
    server.application_tunnel = one.tunnel;
    Mesh mesh({server}, {web});
    CHECK(brief(mesh.route("10.9.0.1:80")) == one.expected);
  }
}

TEST_CASE("a service in PASSTHROUGH mode lets everything pass as it was dialled, but not past its waypoint") {
  Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  web.lb_mode = LbMode::Passthrough;
  Mesh mesh({workload("server", {ip("10.0.0.2")})}, {web});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "passthrough 10.9.0.1:80");
  CHECK(brief(mesh.route("10.9.0.1:9999")) == "passthrough 10.9.0.1:9999");
  Mesh guarded({workload("server", {ip("10.0.0.2")}), workload("way", {ip("10.0.0.9")})},
               {with_waypoint(web, by_address("10.0.0.9"))});
  CHECK(brief(guarded.route("10.9.0.1:80")) == "tunnel 10.0.0.9:15008 for 10.9.0.1:80 at way");
}

TEST_CASE("a workload that claims a service's address takes neither the service nor its waypoint from it") {
  Mesh mesh(
      {workload("server", {ip("10.0.0.2")}), workload("holder", {ip("10.9.0.1")}), workload("way", {ip("10.0.0.9")})},
      {with_waypoint(service("web", "10.9.0.1", {kHttp}, {"server"}), by_address("10.0.0.9"))});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "tunnel 10.0.0.9:15008 for 10.9.0.1:80 at way");
}

TEST_CASE("no service that claims a workload's address makes what is for the workload leave in plain text") {
  Workload guarded = workload("server", {ip("10.0.0.2")});
  guarded.waypoint = by_address("10.0.0.9");
  const std::vector<Workload> both{guarded, workload("way", {ip("10.0.0.9")})};
  constexpr std::string_view kGuarded = "tunnel 10.0.0.9:15008 for 10.0.0.2:80 at way";
  Service range = service("egress", "", {kHttp}, {});
  range.vips = {NetworkAddress{{}, ip("10.0.0.0"), 8}};
  range.lb_mode = LbMode::Passthrough;
  Service exact = service("entry", "10.0.0.2", {kHttp}, {});
  exact.lb_mode = LbMode::Passthrough;
  for (const Service& claims : {range, exact, service("entry", "10.0.0.2", {kHttp}, {})}) {
    Mesh mesh(both, {claims});
    CHECK(brief(mesh.route("10.0.0.2:80")) == kGuarded);
  }
  Mesh mesh(both, {range});
  CHECK(brief(mesh.route("10.0.0.3:80")) == "passthrough 10.0.0.3:80");
  Mesh used({workload("server", {ip("10.0.0.2")}), workload("other", {ip("10.0.0.3")})},
            {service("entry", "10.0.0.2", {kHttp}, {"other"})});
  CHECK(brief(used.route("10.0.0.2:80")) == "tunnel 10.0.0.3:15008 for 10.0.0.3:8080 at other");
  CHECK(brief(used.route("10.0.0.2:9090")) == "tunnel 10.0.0.2:15008 for 10.0.0.2:9090 at server");
}

TEST_CASE("a service without an endpoint is refused, and so is one whose endpoints nobody knows yet") {
  Mesh mesh({}, {service("web", "10.9.0.1", {kHttp}, {}), service("api", "10.9.0.2", {kHttp}, {"later"})});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "refused: the service has no healthy endpoint for this port");
  CHECK(brief(mesh.route("10.9.0.2:80")) == "refused: the service has no healthy endpoint for this port");
  CHECK(mesh.route("10.9.0.2:80").service->name == "api");
}

TEST_CASE("a service of a namespace of its own is nobody else's") {
  Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
  web.visibility = Visibility::Namespace;
  Mesh mesh({workload("server", {ip("10.0.0.2")})}, {web});
  CHECK(mesh.route("10.9.0.1:80").kind == RouteKind::Tunnel);
  RouteSource other = mesh.source();
  other.namespace_name = "bank";
  CHECK(brief(route(*mesh.snapshot, other, at("10.9.0.1:80"), mesh.random)) == "passthrough 10.9.0.1:80");
}

TEST_CASE("a service's waypoint gets what was dialled, whoever the client is") {
  struct Case {
    std::string_view name;
    GatewayRef reference;
  };
  // The waypoint's service maps 15008 to another port, so that the reference by its address or name shows.
  const Case cases[] = {{"workload address", by_address("10.0.0.9")},
                        {"virtual address", by_address("10.9.0.9")},
                        {"hostname of a service", by_name("way")}};
  for (const Case& one : cases) {
    CAPTURE(one.name);
    Service way = service("way", "10.9.0.9", {{15008, 15009}}, {"way"});
    way.subject_alt_names = {identity("way-alias")};
    Mesh mesh({workload("server", {ip("10.0.0.2")}), workload("way", {ip("10.0.0.9")})},
              {with_waypoint(service("web", "10.9.0.1", {kHttp}, {"server"}), one.reference), way});
    for (const std::string_view from : {"client", "way"}) {
      const Route route = mesh.route("10.9.0.1:80", from);
      CHECK(route.kind == RouteKind::Tunnel);
      CHECK(route.target == at("10.9.0.1:80"));
      CHECK(route.workload == mesh.named("way"));
      CHECK(route.is_waypoint);
      CHECK(route.destination == nullptr);
      CHECK(route.service->name == "web");
      const bool is_service = one.name != "workload address";
      CHECK(route.next_hop == at(is_service ? "10.0.0.9:15009" : "10.0.0.9:15008"));
      CHECK(route.accepted.size() == (is_service ? 1U : 0U));
    }
  }
}

TEST_CASE("a port that the service does not have still reaches its waypoint") {
  Mesh mesh({workload("way", {ip("10.0.0.9")})},
            {with_waypoint(service("web", "10.9.0.1", {kHttp}, {}), by_address("10.0.0.9"))});
  CHECK(brief(mesh.route("10.9.0.1:7777")) == "tunnel 10.0.0.9:15008 for 10.9.0.1:7777 at way");
}

TEST_CASE("a waypoint's service needs no port 15008 where the endpoint has an application tunnel") {
  Workload way = workload("way", {ip("10.0.0.9")});
  way.application_tunnel = ApplicationTunnel{true, 15088};
  const Service web = with_waypoint(service("web", "10.9.0.1", {kHttp}, {}), by_name("way"));
  Mesh mesh({way}, {web, service("way", "10.9.0.9", {{80, 80}}, {"way"})});
  CHECK(brief(mesh.route("10.9.0.1:80")) == "tunnel 10.0.0.9:15008 for 10.9.0.1:80 at way");
  Mesh without({workload("way", {ip("10.0.0.9")})}, {web, service("way", "10.9.0.9", {{80, 80}}, {"way"})});
  CHECK(without.route("10.9.0.1:80").refusal == RouteRefusal::UnknownWaypoint);
}

TEST_CASE("a waypoint, and a workload with an application tunnel, take HBONE only") {
  Workload tunnelled = workload("tunnelled", {ip("10.0.0.3")});
  tunnelled.application_tunnel = ApplicationTunnel{false, 8080};
  Workload plain = tunnelled;
  plain.uid = plain.name = "plain";
  plain.addresses = {ip("10.0.0.4")};
  plain.protocol = Protocol::Tcp;
  const Workload guarded = with_waypoint(workload("guarded", {ip("10.0.0.5")}), by_address("10.0.0.2"));
  Mesh mesh({workload("server", {ip("10.0.0.2")}), tunnelled, plain, guarded},
            {with_waypoint(service("web", "10.9.0.1", {kHttp}, {"server"}), by_address("10.0.0.3"))});
  struct Case {
    std::string_view destination;
    HboneNeed expected;
  };
  const Case cases[] = {
      {"10.0.0.2:80", HboneNeed::None},     {"10.0.0.3:80", HboneNeed::ApplicationTunnel},
      {"10.0.0.4:80", HboneNeed::None},     {"10.0.0.5:80", HboneNeed::Waypoint},
      {"10.9.0.1:80", HboneNeed::Waypoint}, {"192.0.2.1:80", HboneNeed::None},
  };
  for (const Case& one : cases) {
    CAPTURE(one.destination);
    CHECK(hbone_need(mesh.route(one.destination)) == one.expected);
  }
}

TEST_CASE("a waypoint that cannot be had is never got round") {
  const auto server = workload("server", {ip("10.0.0.2")});
  for (const GatewayRef& reference :
       {by_address("10.0.0.99"), by_name("nobody"), by_name("empty"), by_address("10.9.0.8")}) {
    Service far = service("far", "10.9.0.8", {{15008, 15008}}, {"server"});
    far.lb_mode = LbMode::Passthrough;
    Mesh of_service({server}, {with_waypoint(service("web", "10.9.0.1", {kHttp}, {"server"}), reference),
                               service("empty", "10.9.0.9", {{15008, 15008}}, {}), far});
    CHECK(of_service.route("10.9.0.1:80").refusal == RouteRefusal::UnknownWaypoint);
    Mesh of_workload({with_waypoint(server, reference)}, {service("empty", "10.9.0.9", {{15008, 15008}}, {}), far});
    CHECK(brief(of_workload.route("10.0.0.2:80")) ==
          "refused: the waypoint that must be passed is unknown or has no endpoint");
  }
}

TEST_CASE("a waypoint is shared out by weight; all zero means the single one") {
  Service web = with_waypoint(service("web", "10.9.0.1", {kHttp}, {}), by_address("10.0.0.7"));
  web.weighted_waypoints = {{by_address("10.0.0.8"), 1}, {by_address("10.0.0.9"), 3}};
  const std::vector<Workload> ways = {workload("seven", {ip("10.0.0.7")}), workload("eight", {ip("10.0.0.8")}),
                                      workload("nine", {ip("10.0.0.9")})};
  Mesh mesh(ways, {web});
  mesh.random = ScriptedRandom({0, 1, 3});
  CHECK(mesh.route("10.9.0.1:80").workload->name() == "eight");
  CHECK(mesh.route("10.9.0.1:80").workload->name() == "nine");
  CHECK(mesh.route("10.9.0.1:80").workload->name() == "nine");
  CHECK(mesh.random.bounds == std::vector<std::uint32_t>{4, 4, 4});
  for (WeightedWaypoint& one : web.weighted_waypoints) one.weight = 0;
  Mesh zero(ways, {web});
  CHECK(zero.route("10.9.0.1:80").workload->name() == "seven");
}

TEST_CASE("a workload's waypoint is for who dials the workload, not for who dials a service") {
  Mesh mesh({with_waypoint(workload("server", {ip("10.0.0.2")}), by_name("way")), workload("way", {ip("10.0.0.9")})},
            {service("web", "10.9.0.1", {kHttp}, {"server"}), service("way", {}, {{15008, 15008}}, {"way"})});
  const Route route = mesh.route("10.0.0.2:80");
  CHECK(brief(route) == "tunnel 10.0.0.9:15008 for 10.0.0.2:80 at way");
  CHECK(route.is_waypoint);
  CHECK(route.destination == mesh.named("server"));
  CHECK(brief(mesh.route("10.9.0.1:80")) == "tunnel 10.0.0.2:15008 for 10.0.0.2:8080 at server");
}

TEST_CASE("a waypoint's own connections to what it guards are not sent back to it") {
  for (const GatewayRef& reference : {by_name("way"), by_address("10.0.0.9"), by_address("10.9.0.9")}) {
    Mesh mesh({with_waypoint(workload("server", {ip("10.0.0.2")}), reference), workload("way", {ip("10.0.0.9")})},
              {service("way", "10.9.0.9", {{15008, 15008}}, {"way"})});
    CHECK(brief(mesh.route("10.0.0.2:80", "way")) == "tunnel 10.0.0.2:15008 for 10.0.0.2:80 at server");
    CHECK(mesh.route("10.0.0.2:80").is_waypoint);
    // The identity without the address, and the address without the identity, are somebody else.
    RouteSource other = mesh.source("way");
    other.address = ip("10.0.0.99");
    CHECK(route(*mesh.snapshot, other, at("10.0.0.2:80"), mesh.random).is_waypoint);
    other = mesh.source("way");
    other.identity = &mesh.named("client")->identity();
    CHECK(route(*mesh.snapshot, other, at("10.0.0.2:80"), mesh.random).is_waypoint);
    other.identity = nullptr;
    CHECK(route(*mesh.snapshot, other, at("10.0.0.2:80"), mesh.random).is_waypoint);
  }
}

TEST_CASE("every route says why, and every refusal is a sentence") {
  Mesh mesh({workload("server", {ip("10.0.0.2")})}, {service("web", "10.9.0.1", {kHttp}, {"server"})});
  CHECK(mesh.route("10.0.0.2:80").why == "workload");
  CHECK(mesh.route("10.9.0.1:80").why == "endpoint of the service");
  CHECK(mesh.route("10.9.0.1:81").why == "service without a usable endpoint for this port");
  CHECK(mesh.route("192.0.2.1:81").why == "not in the mesh");
  for (int i = 0; i <= static_cast<int>(RouteRefusal::NotKnownYet); ++i) {
    CHECK_FALSE(to_string(static_cast<RouteRefusal>(i)).empty());
  }
}

}  // namespace
}  // namespace culvert::state
