// SPDX-License-Identifier: Apache-2.0
// Which endpoint of a service is chosen: health, preferences by place, weights, and the family of the address.
#include <map>

#include "mesh.hpp"

namespace culvert::state {
namespace {

constexpr ServicePort kHttp{80, 8080};

// An endpoint by the places that differ from the client's: any of "nrzsoc" (network, region, zone, subzone, node, cluster).
Workload placed(std::string_view name, int host, std::string_view differs = {}) {
  Workload made = workload(name, {ip(fmt::format("10.0.1.{}", host))});
  const auto place = [&](char which) { return differs.find(which) == std::string_view::npos ? "here" : "there"; };
  made.network = place('n');
  made.region = place('r');
  made.zone = place('z');
  made.subzone = place('s');
  made.node = place('o');
  made.cluster = place('c');
  made.network_gateway = by_address("10.0.1.1");
  return made;
}

// Every endpoint that can be chosen, in order of name.
std::string choices(Mesh& mesh, const RouteSource& source, std::string_view destination = "10.9.0.1:80") {
  std::map<std::string, int> chosen;
  std::uint32_t bound = 1;
  for (std::uint32_t i = 0; i < bound; ++i) {
    mesh.random = ScriptedRandom({i});
    const Route found = route(*mesh.snapshot, source, at(destination), mesh.random);
    if (!mesh.random.bounds.empty()) bound = mesh.random.bounds[0];
    const WorkloadEntry* workload = found.kind == RouteKind::Gateway ? found.destination : found.workload;
    ++chosen[std::string(workload == nullptr ? "none" : workload->name())];
  }
  std::string out;
  for (const auto& [name, count] : chosen) out += fmt::format("{}{}*{}", out.empty() ? "" : " ", name, count);
  return out;
}

Mesh mesh_of(std::vector<Workload> endpoints, LbMode mode, std::vector<LbScope> preference) {
  std::vector<std::string_view> names;
  for (const Workload& one : endpoints) names.push_back(one.name);
  Service web = service("web", "10.9.0.1", {kHttp}, names);
  web.lb_mode = mode;
  web.routing_preference = std::move(preference);
  endpoints.push_back(placed("me", 250));
  endpoints.push_back(workload("gateway", {ip("10.0.1.1")}));
  return Mesh(std::move(endpoints), {web}, "here");
}

TEST_CASE("an endpoint is drawn by its capacity among all, and one of capacity 0 never") {
  std::vector<Workload> endpoints = {placed("a", 2), placed("b", 3), placed("c", 4)};
  endpoints[0].capacity = 2;
  endpoints[1].capacity = 0;
  endpoints[2].capacity = 5;
  for (const LbMode mode : {LbMode::Unspecified, LbMode::Failover}) {
    Mesh mesh = mesh_of(endpoints, mode, {LbScope::Region});
    CHECK(choices(mesh, mesh.source("me")) == "a*2 c*5");
  }
  for (Workload& one : endpoints) one.capacity = 0;
  Mesh mesh = mesh_of(endpoints, LbMode::Unspecified, {});
  CHECK(mesh.route("10.9.0.1:80", "me").refusal == RouteRefusal::NoHealthyUpstream);
}

TEST_CASE("capacities that add up to more than 32 bits are drawn from as well") {
  std::vector<Workload> endpoints = {placed("a", 2), placed("b", 3), placed("c", 4)};
  for (Workload& one : endpoints) one.capacity = 0xffff'ffff;
  for (const LbMode mode : {LbMode::Unspecified, LbMode::Failover}) {
    Mesh mesh = mesh_of(endpoints, mode, {});
    mesh.random = ScriptedRandom({0, 0x7fff'ffff, 0xffff'fffe});
    CHECK(mesh.route("10.9.0.1:80", "me").workload->name() == "a");
    CHECK(mesh.route("10.9.0.1:80", "me").workload->name() == "b");
    CHECK(mesh.route("10.9.0.1:80", "me").workload->name() == "c");
  }
}

TEST_CASE("places that are preferred decide as the mode says") {
  using enum LbScope;
  struct Case {
    std::string_view name;
    LbMode mode;
    std::vector<LbScope> preference;
    std::vector<std::string_view> differs;  // of endpoints a, b, c, d
    std::string_view strict;
    std::string_view failover;
  };
  const Case cases[] = {
      {"nothing is preferred", LbMode::Failover, {}, {"", "rz", "z", "r"}, "a*1 b*1 c*1 d*1", "a*1 b*1 c*1 d*1"},
      {"all meet it", LbMode::Failover, {Region}, {"", "z", "s", "n"}, "a*1 b*1 c*1 d*1", "a*1 b*1 c*1 d*1"},
      {"one meets all", LbMode::Failover, {Region, Zone, Subzone}, {"s", "", "z", "r"}, "b*1", "b*1"},
      {"two meet the same", LbMode::Failover, {Region, Zone, Subzone}, {"s", "zs", "s", "r"}, "none*1", "a*1 c*1"},
      {"only those in a row count",
       LbMode::Failover,
       {Region, Zone, Subzone},
       {"rs", "rz", "z", "zs"},
       "none*1",
       "c*1 d*1"},
      {"none meets the first", LbMode::Failover, {Zone, Region}, {"z", "z", "zr", "z"}, "none*1", "a*1 b*1 c*1 d*1"},
      {"nodes", LbMode::Failover, {Node}, {"o", "o", "", "o"}, "c*1", "c*1"},
      {"clusters", LbMode::Failover, {Cluster}, {"", "c", "c", "c"}, "a*1", "a*1"},
      {"the network outweighs the rest",
       LbMode::Failover,
       {Network, Region, Zone},
       {"rz", "n", "nz", "nrz"},
       "none*1",
       "a*1"},
      {"other networks are told apart by the rest",
       LbMode::Failover,
       {Network, Region, Zone},
       {"nrz", "n", "nz", "nr"},
       "none*1",
       "b*1"},
      {"this network is told apart by the rest",
       LbMode::Failover,
       {Network, Region, Zone},
       {"z", "rz", "z", "n"},
       "none*1",
       "a*1 c*1"},
      {"a later network is as any other",
       LbMode::Failover,
       {Region, Network},
       {"n", "n", "rn", "n"},
       "none*1",
       "a*1 b*1 d*1"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.name);
    std::vector<Workload> endpoints;
    for (std::size_t i = 0; i < one.differs.size(); ++i) {
      endpoints.push_back(placed(std::string(1, static_cast<char>('a' + i)), static_cast<int>(i) + 2, one.differs[i]));
    }
    Mesh failover = mesh_of(endpoints, LbMode::Failover, one.preference);
    CHECK(choices(failover, failover.source("me")) == one.failover);
    Mesh strict = mesh_of(endpoints, LbMode::Strict, one.preference);
    CHECK(choices(strict, strict.source("me")) == one.strict);
    Mesh unspecified = mesh_of(endpoints, LbMode::Unspecified, one.preference);
    CHECK(choices(unspecified, unspecified.source("me")) == "a*1 b*1 c*1 d*1");
  }
}

TEST_CASE("a source that the snapshot does not know is nowhere, except in its network") {
  const std::vector<Workload> endpoints = {placed("a", 2), placed("b", 3, "r"), placed("c", 4, "n")};
  const RouteSource stranger{ip("10.0.0.77"), "here", "shop", nullptr, nullptr};
  Mesh by_region = mesh_of(endpoints, LbMode::Strict, {LbScope::Region});
  CHECK(choices(by_region, stranger) == "none*1");
  Mesh by_network = mesh_of(endpoints, LbMode::Strict, {LbScope::Network});
  CHECK(choices(by_network, stranger) == "a*1 b*1");
}

TEST_CASE("an endpoint that is not healthy is left out, unless the service allows all") {
  std::vector<Workload> endpoints = {placed("a", 2), placed("b", 3)};
  endpoints[0].is_healthy = false;
  Mesh mesh = mesh_of(endpoints, LbMode::Unspecified, {});
  CHECK(choices(mesh, mesh.source("me")) == "b*1");
  CHECK(mesh.route("10.0.1.2:80", "me").kind == RouteKind::Tunnel);  // who dials the workload itself gets it
  Service all = service("web", "10.9.0.1", {kHttp}, {"a", "b"});
  all.health_policy = HealthPolicy::AllowAll;
  Mesh allowing(endpoints, {all}, "here");
  CHECK(choices(allowing, allowing.source()) == "a*1 b*1");
}

TEST_CASE("where the service leaves the port to its endpoints, those without one are left out") {
  Service web = service("web", "10.9.0.1", {{80, 0}}, {"a", "b", "c"});
  web.endpoints[1].ports = {{80, 9001}};
  web.endpoints[2].ports = {{81, 9002}};
  Mesh mesh({workload("a", {ip("10.0.1.2")}), workload("b", {ip("10.0.1.3")}), workload("c", {ip("10.0.1.4")})}, {web});
  CHECK(choices(mesh, mesh.source()) == "b*1");
  CHECK(mesh.route("10.9.0.1:80").target == at("10.0.1.3:9001"));
}

TEST_CASE("an endpoint without an address is only for other networks, through a gateway") {
  Workload homeless = workload("homeless");
  homeless.network_gateway = by_address("10.0.1.1");
  Workload far = homeless;
  far.uid = "shop/far";
  far.name = "far";
  far.network = "far";
  Workload lost = far;
  lost.uid = "shop/lost";
  lost.name = "lost";
  lost.network_gateway = {};
  Mesh mesh({homeless, far, lost, workload("gateway", {ip("10.0.1.1")})},
            {service("web", "10.9.0.1", {kHttp}, {"homeless", "far", "lost"})});
  CHECK(choices(mesh, mesh.source()) == "far*1");
}

TEST_CASE("the address is the dialled one, else of the dialled family, else the first that the service allows") {
  struct Case {
    IpFamilies families;
    std::vector<IpAddress> addresses;
    std::string_view dialled;
    std::string_view expected;  // empty: refused
  };
  using enum IpFamilies;
  const IpAddress v4 = ip("10.0.1.2");
  const IpAddress v6 = ip("fd00::2");
  const Case cases[] = {
      {Automatic, {v4, v6}, "10.9.0.1:80", "10.0.1.2:8080"},
      {Automatic, {v4, v6}, "[fd09::1]:80", "[fd00::2]:8080"},
      {Automatic, {v6, v4}, "10.9.0.1:80", "10.0.1.2:8080"},
      {Automatic, {v6}, "10.9.0.1:80", "[fd00::2]:8080"},
      {Dual, {v4}, "[fd09::1]:80", "10.0.1.2:8080"},
      {V4Only, {v6, v4}, "[fd09::1]:80", "10.0.1.2:8080"},
      {V6Only, {v4, v6}, "10.9.0.1:80", "[fd00::2]:8080"},
      {V4Only, {v6}, "[fd09::1]:80", ""},
      {V6Only, {v4}, "10.9.0.1:80", ""},
  };
  for (const Case& one : cases) {
    CAPTURE(static_cast<int>(one.families), one.dialled, one.addresses.size());
    Service web = service("web", "10.9.0.1", {kHttp}, {"server"});
    web.vips.push_back({{}, ip("fd09::1")});
    web.ip_families = one.families;
    Mesh mesh({workload("server", one.addresses)}, {web});
    const Route route = mesh.route(one.dialled);
    if (one.expected.empty()) {
      CHECK(route.refusal == RouteRefusal::NoHealthyUpstream);
    } else {
      CHECK(route.target == at(one.expected));
    }
  }
  // A service whose virtual address is its endpoint's own (headless): that very address, whatever the families.
  Service headless = service("headless", "fd00::2", {kHttp}, {"server"});
  headless.ip_families = V4Only;
  Mesh mesh({workload("server", {v4, v6})}, {headless});
  CHECK(mesh.route("[fd00::2]:80").target == at("[fd00::2]:8080"));
}

TEST_CASE("a service of ten thousand endpoints is drawn from evenly, with and without preferences") {
  constexpr std::uint32_t kCount = 10'000;
  for (const LbMode mode : {LbMode::Unspecified, LbMode::Failover}) {
    SnapshotBuilder builder;
    Service web = service("web", "10.9.0.1", {kHttp}, {});
    web.lb_mode = mode;
    web.routing_preference = {LbScope::Region};
    for (std::uint32_t i = 0; i < kCount; ++i) {
      const std::string name = std::to_string(i);
      REQUIRE(builder.add(workload(name, {IpAddress::v4(in_addr{htonl(0x0a01'0000U + i)})})));
      web.endpoints.push_back({"shop/" + name, {}});
    }
    REQUIRE(builder.add(web));
    const auto snapshot = std::move(builder).build(1);
    const RouteSource source{ip("10.0.0.1"), {}, "shop", nullptr, &snapshot->workload(0)};
    for (const std::uint32_t drawn : {0U, 1U, 4'321U, kCount - 1}) {
      ScriptedRandom random({drawn});
      CHECK(route(*snapshot, source, at("10.9.0.1:80"), random).workload->name() == std::to_string(drawn));
      CHECK(random.bounds == std::vector<std::uint32_t>{kCount});
    }
  }
}

}  // namespace
}  // namespace culvert::state
