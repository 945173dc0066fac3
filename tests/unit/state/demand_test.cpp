// SPDX-License-Identifier: Apache-2.0
// Decisions where only a part of the mesh is there: what is asked for, when it is not, and that nothing unknown is passed.
#include "state/demand.hpp"

#include "mesh.hpp"

namespace culvert::state {
namespace {

// A mesh of which `known` is here, on demand.
struct Part {
  Store store{"net"};
  std::shared_ptr<const Snapshot> snapshot;
  ScriptedRandom random;

  Part() {
    store.set_on_demand();
    store.upsert(workload("client", {ip("10.0.0.1")}));
  }
  Route route(std::string_view destination) {
    snapshot = store.publish();
    const WorkloadEntry* client = snapshot->find_uid("shop/client");
    return state::route(*snapshot,
                        {ip("10.0.0.1"), client->network(), client->namespace_name(), &client->identity(), client},
                        at(destination), random);
  }
  // What is asked for, or the route.
  std::string outcome(std::string_view destination) {
    const Route made = route(destination);
    return made.kind == RouteKind::Ask ? "ask " + name_of(made.wanted) : brief(made);
  }
};

constexpr std::string_view kWay = "shop/way.shop.svc.cluster.local";

}  // namespace

TEST_CASE("names are as the control plane is asked for them, and can be read again") {
  for (const char* name : {"net/10.0.0.1", "/10.0.0.1", "net/fd00::1", "shop/web.shop.svc.cluster.local"}) {
    const auto wanted = parse_wanted(name);
    REQUIRE(wanted);
    CHECK(name_of(*wanted) == name);
    CHECK(wanted->hostname.empty() == (std::string_view(name).find("web") == std::string_view::npos));
  }
  CHECK_FALSE(parse_wanted("no-slash"));
}

TEST_CASE("an unknown address is asked for, once it is said to be nobody's it is passed, and then no more") {
  Part mesh;
  CHECK(mesh.outcome("10.0.0.7:80") == "ask net/10.0.0.7");
  mesh.store.set_absent("net/10.0.0.7", true);
  CHECK(mesh.outcome("10.0.0.7:80") == "passthrough 10.0.0.7:80");
  CHECK(mesh.outcome("10.0.0.8:80") == "ask net/10.0.0.8");
  mesh.store.set_absent("net/10.0.0.7", false);
  CHECK(mesh.outcome("10.0.0.7:80") == "ask net/10.0.0.7");
  mesh.store.upsert(workload("seven", {ip("10.0.0.7")}));
  CHECK(mesh.outcome("10.0.0.7:80") == "tunnel 10.0.0.7:15008 for 10.0.0.7:80 at seven");
  // Somebody has it, whatever was said before.
  mesh.store.set_absent("net/10.0.0.7", true);
  CHECK(mesh.outcome("10.0.0.7:80") == "tunnel 10.0.0.7:15008 for 10.0.0.7:80 at seven");
}

TEST_CASE("a range says nothing of who is in it") {
  Part mesh;
  Service range = service("egress", "", {{80, 80}}, {});
  range.vips = {NetworkAddress{{}, ip("10.0.0.0"), 8}};
  range.lb_mode = LbMode::Passthrough;
  mesh.store.upsert(range);
  CHECK(mesh.outcome("10.0.0.7:80") == "ask net/10.0.0.7");
  mesh.store.set_absent("net/10.0.0.7", true);
  CHECK(mesh.outcome("10.0.0.7:80") == "passthrough 10.0.0.7:80");
}

TEST_CASE("a service that the client does not see is known all the same: it is not asked for again and again") {
  Part mesh;
  Service hidden = service("hidden", "10.96.0.9", {{80, 80}}, {});
  hidden.namespace_name = "other";
  hidden.visibility = Visibility::Namespace;
  mesh.store.upsert(hidden);
  CHECK(mesh.outcome("10.96.0.9:80") == "passthrough 10.96.0.9:80");
}

TEST_CASE(
    "a waypoint that is named and not known is asked for, of a service and of a workload, by name and by address") {
  Part mesh;
  Service web = service("web", "10.96.0.1", {{80, 80}}, {});
  web.waypoint = by_name("way");
  mesh.store.upsert(web);
  Workload guarded = workload("guarded", {ip("10.0.0.5")});
  guarded.waypoint = by_address("10.0.0.6");
  mesh.store.upsert(guarded);
  CHECK(mesh.outcome("10.96.0.1:80") == fmt::format("ask {}", kWay));
  CHECK(mesh.outcome("10.0.0.5:80") == "ask net/10.0.0.6");
  // Nobody's: refused, not bypassed.
  mesh.store.set_absent(kWay, true);
  mesh.store.set_absent("net/10.0.0.6", true);
  CHECK(mesh.route("10.96.0.1:80").refusal == RouteRefusal::UnknownWaypoint);
  CHECK(mesh.route("10.0.0.5:80").refusal == RouteRefusal::UnknownWaypoint);
  mesh.store.upsert(workload("way", {ip("10.0.0.6")}));
  CHECK(mesh.outcome("10.0.0.5:80") == "tunnel 10.0.0.6:15008 for 10.0.0.5:80 at way");
}

TEST_CASE("the gateway of another network is asked for") {
  Part mesh;
  Service web = service("web", "10.96.0.1", {{80, 80}}, {});
  mesh.store.upsert(web);
  Workload far = workload("far");
  far.network = "far";
  far.network_gateway = by_address("192.0.2.1", "far");
  far.services = {{"shop", "web.shop.svc.cluster.local", {}}};
  mesh.store.upsert(far);
  CHECK(mesh.outcome("10.96.0.1:80") == "ask far/192.0.2.1");
  mesh.store.set_absent("far/192.0.2.1", true);
  CHECK(mesh.route("10.96.0.1:80").refusal == RouteRefusal::UnknownGateway);
}

TEST_CASE("what a peer asks a workload for is asked for where it may be the mesh's") {
  Part mesh;
  Workload local = workload("local", {ip("10.0.0.3")});
  local.services = {{"shop", "web.shop.svc.cluster.local", {}}};
  mesh.store.upsert(local);
  const auto target = [&mesh](const auto&... authority) {
    mesh.snapshot = mesh.store.publish();
    return inbound_target(*mesh.snapshot, mesh.snapshot->find_uid("shop/local"), ip("10.0.0.3"), authority...);
  };
  CHECK_FALSE(target(at("10.0.0.3:80")).wanted);
  const InboundTarget guarded = target(at("10.96.0.1:80"));
  CHECK(guarded.status == 400);
  REQUIRE(guarded.wanted);
  CHECK(name_of(*guarded.wanted) == "net/10.96.0.1");
  // Its waypoint is the next question.
  Service web = service("web", "10.96.0.1", {{80, 80}}, {});
  web.waypoint = by_name("way");
  const InboundTarget named = target(std::string_view("web.shop.svc.cluster.local"), std::uint16_t{80});
  CHECK(named.status == 503);
  REQUIRE(named.wanted);
  CHECK(name_of(*named.wanted) == "shop/web.shop.svc.cluster.local");
  CHECK_FALSE(target(std::string_view("other.example"), std::uint16_t{80}).wanted);
  mesh.store.upsert(web);
  const InboundTarget behind = target(at("10.96.0.1:80"));
  REQUIRE(behind.wanted);
  CHECK(name_of(*behind.wanted) == kWay);
  mesh.store.set_absent(kWay, true);
  CHECK_FALSE(target(at("10.96.0.1:80")).wanted);
  CHECK(target(at("10.96.0.1:80")).status == 400);
}

TEST_CASE("where everything comes unasked nothing is asked for") {
  Mesh mesh({workload("server", {ip("10.0.0.2")})});
  CHECK(brief(mesh.route("10.0.0.9:80")) == "passthrough 10.0.0.9:80");
  CHECK_FALSE(lacking(*mesh.snapshot, {}, ip("10.0.0.9")));
}

TEST_CASE("snapshots keep what was absent when they were made, whatever comes later") {
  Store store;
  store.set_on_demand();
  for (int i = 0; i < 500; ++i) store.set_absent(fmt::format("/10.0.{}.{}", i / 250, i % 250), true);
  const auto first = store.publish();
  for (int i = 0; i < 250; ++i) store.set_absent(fmt::format("/10.0.0.{}", i), false);
  store.set_absent("/10.9.9.9", true);
  const auto second = store.publish();
  CHECK(first->absent().size() == 500);
  CHECK(second->absent().size() == 251);
  CHECK(first->absent().find("/10.0.0.7") != AbsentNames::kNone);
  CHECK(second->absent().find("/10.0.0.7") == AbsentNames::kNone);
  CHECK(first->absent().find("/10.9.9.9") == AbsentNames::kNone);
  CHECK(second->absent().find("/10.0.1.7") != AbsentNames::kNone);
}

}  // namespace culvert::state
