// SPDX-License-Identifier: Apache-2.0
#include "dns/mesh_names.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "state/snapshot_builder.hpp"

namespace culvert::dns {
namespace {

using Names = std::vector<std::string>;

Names names_of(std::string_view name) {
  Names names;
  for (const Candidate& one : candidates(name, "shop", "cluster.local")) {
    names.push_back(one.name + (one.alias.empty() ? "" : " via " + one.alias));
  }
  return names;
}

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

state::Service service(std::string hostname, std::string namespace_name, std::vector<std::string_view> vips) {
  state::Service made;
  made.name = hostname.substr(0, hostname.find('.'));
  made.namespace_name = std::move(namespace_name);
  made.hostname = std::move(hostname);
  for (const std::string_view vip : vips) made.vips.push_back({{}, ip(vip)});
  made.ports = {{80, 80}};
  return made;
}

struct Mesh {
  Mesh() {
    state::SnapshotBuilder builder;
    for (const auto& [name, addresses] :
         {std::pair<std::string, std::vector<IpAddress>>("db-0", {ip("10.0.0.5"), ip("fd00::5"), ip("10.0.0.55")}),
          std::pair<std::string, std::vector<IpAddress>>("db-1", {ip("10.0.0.6")})}) {
      state::Workload workload;
      workload.uid = "shop/" + name;
      workload.name = name;
      workload.namespace_name = "shop";
      workload.identity = SpiffeId::make("cluster.local", "shop", "db").value();
      workload.addresses = addresses;
      REQUIRE(builder.add(std::move(workload)));
    }
    REQUIRE(builder.add(service("web.shop.svc.cluster.local", "shop", {"10.96.0.1", "fd96::1"})));
    REQUIRE(builder.add(service("web.other.svc.cluster.local", "other", {"10.96.0.2"})));
    state::Service headless = service("db.shop.svc.cluster.local", "shop", {});
    headless.endpoints = {{"shop/db-0", {}}, {"shop/db-1", {}}};
    REQUIRE(builder.add(std::move(headless)));
    REQUIRE(builder.add(service("api.example.com", "shop", {"10.96.0.3"})));
    REQUIRE(builder.add(service("*.wild.example.com", "shop", {"10.96.0.4"})));
    REQUIRE(builder.add(service("nowhere.example.com", "shop", {})));
    state::Service ranged = service("ranged.example.com", "shop", {"10.200.0.0"});
    ranged.vips.front().prefix_bits = 16;
    REQUIRE(builder.add(std::move(ranged)));
    state::Service hidden = service("hidden.other.svc.cluster.local", "other", {"10.96.0.7"});
    hidden.visibility = state::Visibility::Namespace;
    REQUIRE(builder.add(std::move(hidden)));
    state::Service v4_only = service("four.shop.svc.cluster.local", "shop", {"10.96.0.8", "fd96::8"});
    v4_only.ip_families = state::IpFamilies::V4Only;
    REQUIRE(builder.add(std::move(v4_only)));
    snapshot = std::move(builder).build(1);
  }
  Decision ask(std::string name, std::uint16_t type = kTypeA) const {
    Query query;
    query.name = std::move(name);
    query.type = type;
    query.class_code = kClassInternet;
    return decide(*snapshot, {"shop", "", "cluster.local"}, query);
  }
  std::vector<std::string> addresses(std::string name, std::uint16_t type = kTypeA) const {
    const Decision decision = ask(std::move(name), type);
    if (decision.is_forwarded) return {"forwarded"};
    std::vector<std::string> texts;
    for (const IpAddress& one : decision.answer.addresses) texts.push_back(one.to_string());
    std::ranges::sort(texts);
    return texts;
  }
  std::shared_ptr<const state::Snapshot> snapshot;
};

}  // namespace

TEST_CASE("short names mean what Kubernetes makes of them") {
  CHECK(names_of("web") == Names{"web", "web.shop.svc.cluster.local"});
  CHECK(names_of("web.shop") == Names{"web.shop", "web.shop.svc.cluster.local", "web.shop.shop.svc.cluster.local"});
  CHECK(names_of("web.shop.svc") ==
        Names{"web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.svc.cluster.local"});
  CHECK(names_of("pod.web.shop.svc") == Names{"pod.web.shop.svc", "pod.web.shop.svc.cluster.local"});
  CHECK(names_of("a.b.c.d") == Names{"a.b.c.d"});
}

TEST_CASE("a name with a search domain behind it also means the name without, for each that it ends in") {
  CHECK(names_of("api.example.com.shop.svc.cluster.local") ==
        Names{"api.example.com.shop.svc.cluster.local", "api.example.com via api.example.com",
              "api.example.com.svc.cluster.local via api.example.com", "api.example.com.shop via api.example.com.shop",
              "api.example.com.shop.svc via api.example.com.shop.svc"});
}

TEST_CASE("services are found by every form of their name, in the client's network and of the asked family") {
  const Mesh mesh;
  for (const std::string name : {"web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local"}) {
    INFO(name);
    CHECK(mesh.addresses(name) == Names{"10.96.0.1"});
    CHECK(mesh.addresses(name, kTypeAaaa) == Names{"fd96::1"});
    CHECK(mesh.ask(name).answer.alias.empty());
  }
  CHECK(mesh.addresses("web.other") == Names{"10.96.0.2"});
  CHECK(mesh.ask("web").answer.is_authoritative);
  CHECK(mesh.ask("web").answer.ttl_s == 30);
}

TEST_CASE("a service without an address of the asked family is there all the same") {
  const Mesh mesh;
  CHECK(mesh.addresses("web.other", kTypeAaaa).empty());
  CHECK(mesh.ask("web.other", kTypeAaaa).result == "no records");
  CHECK(mesh.addresses("four", kTypeAaaa).empty());
  CHECK(mesh.ask("four", kTypeAaaa).result == "service does not support this record type");
  CHECK(mesh.addresses("four") == Names{"10.96.0.8"});
}

TEST_CASE("a headless service has its endpoints' addresses, one of each") {
  const Mesh mesh;
  CHECK(mesh.addresses("db") == Names{"10.0.0.5", "10.0.0.6"});
  CHECK(mesh.addresses("db", kTypeAaaa) == Names{"fd00::5"});
}

TEST_CASE("a name found without its search domain is an alias; a wildcard is not") {
  const Mesh mesh;
  CHECK(mesh.ask("api.example.com").answer.alias.empty());
  const Decision through = mesh.ask("api.example.com.shop.svc.cluster.local");
  CHECK_FALSE(through.is_forwarded);
  CHECK(through.answer.alias == "api.example.com");
  CHECK(mesh.addresses("one.wild.example.com") == Names{"10.96.0.4"});
  CHECK(mesh.addresses("one.two.wild.example.com") == Names{"10.96.0.4"});
  CHECK(mesh.ask("one.wild.example.com.shop.svc.cluster.local").answer.alias.empty());
  CHECK(mesh.addresses("wild.example.com") == Names{"forwarded"});
}

TEST_CASE("what the mesh does not know, or does not show this client, is forwarded") {
  const Mesh mesh;
  CHECK(mesh.ask("unknown").is_forwarded);
  CHECK(mesh.ask("nowhere.example.com").is_forwarded);
  CHECK(mesh.ask("ranged.example.com").is_forwarded);  // a range is no address to answer with
  CHECK(mesh.ask("hidden.other").is_forwarded);
  CHECK(mesh.ask("web", 33).is_forwarded);  // SRV
  CHECK(mesh.ask("").is_forwarded);
  Query odd;
  odd.name = "web";
  odd.type = kTypeA;
  odd.class_code = 3;  // Chaosnet
  CHECK(decide(*mesh.snapshot, {"shop", "", "cluster.local"}, odd).is_forwarded);
}

}  // namespace culvert::dns
