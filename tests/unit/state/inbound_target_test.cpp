// SPDX-License-Identifier: Apache-2.0
// What a tunnel peer may ask a workload for, and where that leads.
#include "mesh.hpp"

namespace culvert::state {
namespace {

constexpr ServicePort kHttp{80, 8080};
const IpAddress kLocal = ip("10.0.0.2");

std::string told(const InboundTarget& target) {
  if (target.status != 200) return std::to_string(target.status);
  std::string out = target.destination.to_string();
  if (target.wants_proxy_header) out += " PROXY " + target.proxy_destination.to_string();
  return out;
}

std::string asked(const Mesh& mesh, std::string_view authority, std::string_view local = "server",
                  const IpAddress& address = kLocal) {
  return told(inbound_target(*mesh.snapshot, mesh.named(local), address, at(authority)));
}
std::string asked(const Mesh& mesh, std::string_view host, std::uint16_t port, std::string_view local = "server") {
  return told(inbound_target(*mesh.snapshot, mesh.named(local), kLocal, host, port));
}

TEST_CASE("a workload is asked for itself, at any port, and for nobody else") {
  Mesh mesh({workload("server", {kLocal, ip("fd00::2")}), workload("other", {ip("10.0.0.3")})},
            {service("web", "10.9.0.1", {kHttp}, {"server"})});
  CHECK(asked(mesh, "10.0.0.2:80") == "10.0.0.2:80");
  CHECK(asked(mesh, "[fd00::2]:80", "server", ip("fd00::2")) == "[fd00::2]:80");
  CHECK(asked(mesh, "10.0.0.3:80") == "400");
  CHECK(asked(mesh, "[fd00::2]:80") == "400");  // its own, but not the one that was connected to
  CHECK(asked(mesh, "10.9.0.1:80") == "400");
  CHECK(asked(mesh, "192.0.2.1:80") == "400");
}

TEST_CASE("a workload that the snapshot does not know is not served") {
  Mesh mesh({}, {service("web", "10.9.0.1", {kHttp}, {})});
  CHECK(told(inbound_target(*mesh.snapshot, nullptr, kLocal, at("10.0.0.2:80"))) == "503");
  CHECK(told(inbound_target(*mesh.snapshot, nullptr, kLocal, "web.shop.svc.cluster.local", 80)) == "503");
}

TEST_CASE("a waypoint without an application tunnel is asked for what names it as its waypoint") {
  struct Case {
    std::string_view name;
    GatewayRef reference;
    std::string_view expected;
  };
  const Case cases[] = {{"its address", by_address("10.0.0.2"), "10.0.0.2:80"},
                        {"its service's virtual address", by_address("10.9.0.9"), "10.0.0.2:80"},
                        {"its service's hostname", by_name("way"), "10.0.0.2:80"},
                        {"another's address", by_address("10.0.0.3"), "400"},
                        {"another's service", by_name("web"), "400"},
                        {"nobody", by_name("nobody"), "400"}};
  for (const Case& one : cases) {
    CAPTURE(one.name);
    Service web = service("web", "10.9.0.1", {kHttp}, {"other"});
    web.waypoint = one.reference;
    Workload guarded = workload("other", {ip("10.0.0.3")});
    guarded.waypoint = one.reference;
    Mesh mesh({workload("server", {kLocal}), guarded}, {web, service("way", "10.9.0.9", {{15008, 15008}}, {"server"})});
    CHECK(asked(mesh, "10.9.0.1:80") == one.expected);
    CHECK(asked(mesh, "10.0.0.3:80") == one.expected);
  }
}

TEST_CASE(
    "a waypoint is asked for a service's address, whichever workload claims it, and though it is one of several") {
  Service web = service("web", "10.9.0.1", {kHttp}, {"other"});
  SECTION("as the only one") { web.waypoint = by_address("10.0.0.2"); }
  SECTION("as one of several") {
    web.weighted_waypoints = {{by_address("10.0.0.8"), 90}, {by_address("10.0.0.2"), 10}};
  }
  Mesh mesh({workload("server", {kLocal}), workload("claims", {ip("10.9.0.1")})}, {web});
  CHECK(asked(mesh, "10.9.0.1:80") == "10.0.0.2:80");
}

TEST_CASE("a waypoint that is not healthy still serves those that found it") {
  Service web = service("web", "10.9.0.1", {kHttp}, {});
  web.waypoint = by_name("way");
  Workload way = workload("server", {kLocal});
  way.is_healthy = false;
  Mesh mesh({way}, {web, service("way", {}, {{15008, 15008}}, {"server"})});
  CHECK(asked(mesh, "10.9.0.1:80") == "10.0.0.2:80");
}

TEST_CASE("a hostname is a service's, and its port is mapped for this endpoint") {
  Service web = service("web", "10.9.0.1", {kHttp, {443, 0}}, {"server", "other"});
  web.endpoints[1].ports = {{443, 8443}, {80, 9090}};
  Mesh mesh({workload("server", {kLocal}), workload("other", {ip("10.0.0.3")})}, {web});
  const std::string_view host = "web.shop.svc.cluster.local";
  CHECK(asked(mesh, host, 80) == "10.0.0.2:8080");
  CHECK(asked(mesh, host, 80, "other") == "10.0.0.2:9090");
  CHECK(asked(mesh, host, 443, "other") == "10.0.0.2:8443");
  CHECK(asked(mesh, host, 443) == "503");
  CHECK(asked(mesh, host, 81) == "503");
  CHECK(asked(mesh, "nobody.shop.svc.cluster.local", 80) == "503");
}

TEST_CASE("of services that share a hostname, the workload's namespace's is meant; one that is hidden is not") {
  Service own = service("web", "10.9.0.1", {{80, 1}}, {});
  Service foreign = own;
  foreign.namespace_name = "bank";
  foreign.ports = {{80, 2}};
  Service hidden = foreign;
  hidden.namespace_name = "vault";
  hidden.hostname = "vault.example";
  hidden.visibility = Visibility::Namespace;
  Service open = hidden;
  open.namespace_name = "square";
  open.ports = {{80, 3}};
  open.visibility = Visibility::Public;
  Mesh mesh({workload("server", {kLocal})}, {foreign, own, hidden, open});
  CHECK(asked(mesh, own.hostname, 80) == "10.0.0.2:1");
  CHECK(asked(mesh, "vault.example", 80) == "10.0.0.2:3");
  Mesh alone({workload("server", {kLocal})}, {foreign, hidden});
  CHECK(asked(alone, own.hostname, 80) == "10.0.0.2:2");
  CHECK(asked(alone, "vault.example", 80) == "503");
}

TEST_CASE(
    "an application tunnel takes everything, on its port, and is told what was asked for when it wants a PROXY "
    "header") {
  struct Case {
    ApplicationTunnel tunnel;
    std::string_view by_address;
    std::string_view by_hostname;
  };
  const Case cases[] = {
      {{true, 15088}, "127.0.0.1:15088 PROXY 192.0.2.1:99", "127.0.0.1:15088 PROXY 10.9.0.1:80"},
      {{true, 0}, "127.0.0.1:99 PROXY 192.0.2.1:99", "127.0.0.1:8080 PROXY 10.9.0.1:80"},
      {{false, 15088}, "10.0.0.2:15088", "10.0.0.2:15088"},
      {{false, 0}, "10.0.0.2:99", "10.0.0.2:8080"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.by_address);
    Workload way = workload("server", {kLocal});
    way.application_tunnel = one.tunnel;
    Service web = service("web", "fd09::1", {kHttp}, {});
    web.vips.push_back({"far", ip("10.9.0.7")});
    web.vips.push_back({{}, ip("10.9.0.1")});
    Mesh mesh({way}, {web});
    CHECK(asked(mesh, "192.0.2.1:99") == one.by_address);
    CHECK(asked(mesh, web.hostname, 80) == one.by_hostname);
  }
}

TEST_CASE("a PROXY header has the virtual address of this network first, and needs one") {
  Workload way = workload("server", {kLocal});
  way.application_tunnel = ApplicationTunnel{true, 15088};
  Service web = service("web", {}, {kHttp}, {});
  web.vips = {{"far", ip("10.9.0.7")}, {{}, ip("fd09::1")}};
  Mesh mesh({way}, {web});
  CHECK(asked(mesh, web.hostname, 80) == "127.0.0.1:15088 PROXY [fd09::1]:80");
  web.vips = {{{}, ip("10.200.0.0"), 16}};
  Mesh ranged({way}, {web});
  CHECK(asked(ranged, web.hostname, 80) == "503");
  web.vips.clear();
  Mesh without({way}, {web});
  CHECK(asked(without, web.hostname, 80) == "503");
  way.application_tunnel->has_proxy_header = false;
  Mesh without_header({way}, {web});
  CHECK(asked(without_header, web.hostname, 80) == "10.0.0.2:15088");
}

TEST_CASE("an application tunnel over IPv6 is reached on IPv6's loopback") {
  Workload way = workload("server", {ip("fd00::2")});
  way.application_tunnel = ApplicationTunnel{true, 15088};
  Mesh mesh({way});
  CHECK(asked(mesh, "[fd09::1]:80", "server", ip("fd00::2")) == "[::1]:15088 PROXY [fd09::1]:80");
}

TEST_CASE("the service of an inbound connection is the one that the client names, else the first with this port") {
  Workload server = workload("server", {kLocal});
  const std::string web = "web.shop.svc.cluster.local";
  const std::string named = "named.shop.svc.cluster.local";
  server.services = {{"shop", "late.shop.svc.cluster.local", {}}, {"shop", web, {}}, {"shop", named, {{90, 9999}}}};
  Mesh mesh(
      {server, workload("other", {ip("10.0.0.3")})},
      {service("web", "10.9.0.1", {kHttp}, {}), service("named", "10.9.0.2", {{90, 0}, {80, 8080}}, {}),
       service("written", "10.9.0.3", {{70, 7070}}, {"server"}), service("foreign", "10.9.0.4", {kHttp}, {"other"})});
  const auto guessed = [&](std::string_view host, std::uint16_t port) {
    const Service* found = inbound_service(*mesh.snapshot, *mesh.named("server"), host, port);
    return found == nullptr ? std::string() : found->name;
  };
  CHECK(guessed("", 8080) == "web");
  CHECK(guessed(named, 8080) == "named");
  CHECK(guessed(named, 1) == "named");
  CHECK(guessed("", 9999) == "named");  // by this endpoint's own port
  CHECK(guessed("", 80).empty());
  CHECK(guessed("foreign.shop.svc.cluster.local", 8080) == "web");  // it is none of this workload's
  CHECK(guessed("foreign.shop.svc.cluster.local", 80).empty());
  CHECK(guessed("nobody", 8080) == "web");
  CHECK(guessed("written.shop.svc.cluster.local", 7070) == "written");
}

}  // namespace
}  // namespace culvert::state
