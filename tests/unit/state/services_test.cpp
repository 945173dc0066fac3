// SPDX-License-Identifier: Apache-2.0
// The snapshot's services: how they are found, who sees them, and which cannot stand beside each other.
#include "mesh.hpp"

namespace culvert::state {
namespace {

Service in(std::string_view namespace_name, std::string_view name, std::string_view vip) {
  Service made = service(name, vip, {{80, 8080}}, {});
  made.namespace_name = namespace_name;
  return made;
}

TEST_CASE("a service is found by each virtual address in its network, and by its namespace and hostname") {
  Service web = in("shop", "web", "10.9.0.1");
  web.vips.push_back({"far", ip("10.9.0.2")});
  SnapshotBuilder builder("near");
  REQUIRE(builder.add(web));
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->network() == "near");
  const Service* found = snapshot->find_vip("near", ip("10.9.0.1"), "shop");
  REQUIRE(found != nullptr);
  CHECK(found->name == "web");
  CHECK(found->vips[0].network == "near");
  CHECK(snapshot->find_vip({}, ip("10.9.0.1"), std::nullopt) == found);
  CHECK(snapshot->find_vip("far", ip("10.9.0.2"), "shop") == found);
  CHECK(snapshot->find_vip("far", ip("10.9.0.1"), "shop") == nullptr);
  CHECK(snapshot->find_vip("near", ip("10.9.0.2"), "shop") == nullptr);
  CHECK(snapshot->find_vip("nowhere", ip("10.9.0.2"), "shop") == nullptr);
  CHECK(snapshot->find_service("shop", "web.shop.svc.cluster.local") == found);
  CHECK(snapshot->find_service("bank", "web.shop.svc.cluster.local") == nullptr);
  CHECK(snapshot->find_hostname("web.shop.svc.cluster.local", "bank") == found);
  CHECK(snapshot->service_count() == 1);
}

TEST_CASE(
    "where services share an address, the client's namespace comes first, then the canonical one, then the first") {
  Service first = in("one", "web", "10.9.0.1");
  Service canonical = in("two", "web", "10.9.0.1");
  canonical.is_canonical = true;
  Service hidden = in("three", "web", "10.9.0.1");
  hidden.visibility = Visibility::Namespace;
  for (Service* service : {&first, &canonical, &hidden}) service->hostname = "web.example";
  SnapshotBuilder builder;
  for (const Service& service : {hidden, first, canonical}) REQUIRE(builder.add(service));
  const auto all = std::move(builder).build(1);
  SnapshotBuilder without;
  for (const Service& service : {hidden, first, in("four", "web", "10.9.0.1")}) REQUIRE(without.add(service));
  const auto plain = std::move(without).build(1);
  struct Case {
    const Snapshot& snapshot;
    std::string_view client;
    std::string_view expected;
  };
  const Case cases[] = {{*all, "one", "one"},    {*all, "two", "two"},     {*all, "three", "three"},
                        {*all, "other", "two"},  {*plain, "other", "one"}, {*plain, "three", "three"},
                        {*plain, "four", "four"}};
  for (const Case& one : cases) {
    CAPTURE(one.client, one.expected);
    CHECK(one.snapshot.find_vip({}, ip("10.9.0.1"), one.client)->namespace_name == one.expected);
    if (&one.snapshot == all.get()) {
      CHECK(one.snapshot.find_hostname("web.example", one.client)->namespace_name == one.expected);
    }
  }
  CHECK(all->find_vip({}, ip("10.9.0.1"), std::nullopt)->namespace_name == "two");
  CHECK(plain->find_vip({}, ip("10.9.0.1"), std::nullopt)->namespace_name == "three");
}

TEST_CASE("two services of one namespace with one address, or one hostname, are refused with both names") {
  SnapshotBuilder builder;
  REQUIRE(builder.add(in("shop", "web", "10.9.0.1")));
  const Result<void> same_vip = builder.add(in("shop", "api", "10.9.0.1"));
  REQUIRE_FALSE(same_vip);
  CHECK_THAT(same_vip.error().message(),
             Catch::Contains("10.9.0.1") && Catch::Contains("shop/web") && Catch::Contains("shop/api"));
  Service twin = in("shop", "twin", "10.9.0.2");
  twin.hostname = "web.shop.svc.cluster.local";
  const Result<void> same_host = builder.add(twin);
  REQUIRE_FALSE(same_host);
  CHECK_THAT(same_host.error().message(), Catch::Contains("shop/twin") && Catch::Contains("shop/web"));
  CHECK(builder.add(in("bank", "web", "10.9.0.1")));
  Service elsewhere = in("shop", "api", {});
  elsewhere.vips = {{"far", ip("10.9.0.1")}};
  CHECK(builder.add(elsewhere));
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->service_count() == 3);
  CHECK(snapshot->find_vip({}, ip("10.9.0.2"), std::nullopt) == nullptr);
}

TEST_CASE("an address that one service lists twice is one address") {
  Service web = in("shop", "web", "10.9.0.1");
  web.vips.push_back(web.vips.front());
  SnapshotBuilder builder;
  CHECK(builder.add(web));
}

TEST_CASE("a service's endpoints are the workloads that are known, whichever was added first") {
  Service web = in("shop", "web", "10.9.0.1");
  web.endpoints = {{"shop/a", {}}, {"shop/unknown", {}}, {"shop/sick", {}}, {"shop/b", {}}};
  SnapshotBuilder builder;
  Workload sick = workload("sick", {ip("10.0.0.3")});
  sick.is_healthy = false;
  REQUIRE(builder.add(workload("a", {ip("10.0.0.1")})));
  REQUIRE(builder.add(web));
  REQUIRE(builder.add(workload("b", {ip("10.0.0.2")})));
  REQUIRE(builder.add(sick));
  const auto snapshot = std::move(builder).build(1);
  const Service& found = *snapshot->find_service("shop", "web.shop.svc.cluster.local");
  const auto names = [&](std::span<const EndpointRow> rows) {
    std::string out;
    for (const EndpointRow& row : rows) out += fmt::format("{} ", snapshot->workload(row.workload).name());
    return out;
  };
  CHECK(names(snapshot->usable_endpoints(found)) == "a b ");
  CHECK(names(snapshot->all_endpoints(found)) == "a b sick ");
}

TEST_CASE("a workload is found by its uid, and by its namespace and hostname") {
  Workload db = workload("db");
  db.hostname = "db.example.com";
  Workload replica = db;
  replica.uid = "shop/replica";
  SnapshotBuilder builder("near");
  REQUIRE(builder.add(db));
  REQUIRE(builder.add(replica));
  const auto snapshot = std::move(builder).build(1);
  REQUIRE(snapshot->find_uid("shop/db") != nullptr);
  CHECK(snapshot->find_uid("shop/db")->network() == "near");
  CHECK(snapshot->find_uid("shop/nobody") == nullptr);
  CHECK(snapshot->find_workload("shop", "db.example.com") == snapshot->find_uid("shop/db"));
  CHECK(snapshot->find_workload("bank", "db.example.com") == nullptr);
}

TEST_CASE("the workloads of two networks may have the same address") {
  SnapshotBuilder builder("near");
  Workload far = workload("far", {ip("10.0.0.1")});
  far.network = "far";
  REQUIRE(builder.add(far));
  REQUIRE(builder.add(workload("near", {ip("10.0.0.1")})));
  const auto snapshot = std::move(builder).build(1);
  CHECK(snapshot->find(ip("10.0.0.1"))->name() == "near");
  CHECK(snapshot->find({}, ip("10.0.0.1"))->name() == "near");
  CHECK(snapshot->find("near", ip("10.0.0.1"))->name() == "near");
  CHECK(snapshot->find("far", ip("10.0.0.1"))->name() == "far");
  CHECK(snapshot->find("nowhere", ip("10.0.0.1")) == nullptr);
}

}  // namespace
}  // namespace culvert::state
