// SPDX-License-Identifier: Apache-2.0
// The Store: what a control plane may say in any order, and snapshots that keep what they said.
#include "state/store.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/assert.hpp"
#include "mesh.hpp"

namespace culvert::state {
namespace {

Workload member(std::string_view name, std::vector<IpAddress> addresses, std::vector<std::string> hostnames = {}) {
  Workload made = workload(name, std::move(addresses));
  for (std::string& hostname : hostnames) made.services.push_back({"shop", std::move(hostname), {}});
  return made;
}

Service named(std::string_view name, std::string_view vip, std::string_view namespace_name = "shop") {
  Service made = service(name, vip, {{80, 8080}}, {});
  made.namespace_name = namespace_name;
  return made;
}

std::vector<std::string> endpoints(const Snapshot& snapshot, std::string_view hostname) {
  std::vector<std::string> uids;
  const Service* service = snapshot.find_service("shop", hostname);
  if (service == nullptr) return {"none"};
  for (const EndpointRow& row : snapshot.usable_endpoints(*service))
    uids.emplace_back(snapshot.workload(row.workload).uid());
  std::ranges::sort(uids);
  return uids;
}

constexpr std::string_view kCart = "cart.shop.svc.cluster.local";

}  // namespace

TEST_CASE("a workload may name a service that comes later, and is its endpoint then") {
  Store store;
  store.upsert(member("a", {ip("10.0.0.1")}, {std::string(kCart)}));
  std::vector<std::string> staged;
  store.for_each_staged([&](const std::string& namespace_name, const std::string& hostname, const auto& members) {
    staged.push_back(fmt::format("{}/{} {}", namespace_name, hostname, store.uid(members.at(0))));
  });
  CHECK(staged == std::vector<std::string>{"shop/cart.shop.svc.cluster.local shop/a"});
  store.upsert(named("cart", "10.9.0.1"));
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"shop/a"});
  CHECK(store.remove_service("shop", kCart));
  CHECK_FALSE(store.remove_service("shop", kCart));
  CHECK(store.publish()->find_vip({}, ip("10.9.0.1"), std::nullopt) == nullptr);
  store.upsert(named("cart", "10.9.0.2"));
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"shop/a"});
}

TEST_CASE("a workload that no longer names a service leaves it; a service that is replaced keeps its endpoints") {
  Store store;
  store.upsert(named("cart", "10.9.0.1"));
  store.upsert(member("a", {ip("10.0.0.1")}, {std::string(kCart)}));
  store.upsert(member("b", {ip("10.0.0.2")}, {std::string(kCart)}));
  const auto both = store.publish();
  Service other = named("cart", "10.9.0.5");
  other.lb_mode = LbMode::Failover;
  store.upsert(other);
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"shop/a", "shop/b"});
  store.upsert(member("a", {ip("10.0.0.1")}));
  const auto one = store.publish();
  CHECK(endpoints(*one, kCart) == std::vector<std::string>{"shop/b"});
  CHECK(one->find_vip({}, ip("10.9.0.1"), std::nullopt) == nullptr);
  CHECK(one->find_vip({}, ip("10.9.0.5"), std::nullopt) != nullptr);
  // The older snapshot answers as before.
  CHECK(endpoints(*both, kCart) == std::vector<std::string>{"shop/a", "shop/b"});
  CHECK(both->find_vip({}, ip("10.9.0.1"), std::nullopt) != nullptr);
  CHECK(store.remove_workload("shop/b"));
  CHECK(endpoints(*store.publish(), kCart).empty());
}

TEST_CASE("endpoints that a service names itself follow their workloads, which come, change and go at any time") {
  Store store;
  Service cart = named("cart", "10.9.0.1");
  cart.endpoints = {{"shop/a", {{80, 8081}}}, {"shop/b", {}}};
  store.upsert(cart);
  CHECK(endpoints(*store.publish(), kCart).empty());
  store.upsert(member("a", {ip("10.0.0.1")}));
  store.upsert(member("b", {ip("10.0.0.2")}));
  const auto both = store.publish();
  CHECK(endpoints(*both, kCart) == std::vector<std::string>{"shop/a", "shop/b"});
  CHECK(store.remove_workload("shop/a"));
  // Takes the place of the one that has gone.
  store.upsert(member("c", {ip("10.0.0.3")}));
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"shop/b"});
  CHECK(endpoints(*both, kCart) == std::vector<std::string>{"shop/a", "shop/b"});
  Workload sick = member("b", {ip("10.0.0.2")});
  sick.is_healthy = false;
  store.upsert(sick);
  CHECK(endpoints(*store.publish(), kCart).empty());
  cart.endpoints = {{"shop/c", {}}};
  store.upsert(cart);
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"shop/c"});
  store.upsert(member("b", {ip("10.0.0.2")}));
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"shop/c"});
  CHECK(store.remove_service("shop", kCart));
  CHECK(store.remove_workload("shop/c"));
  CHECK(endpoints(*store.publish(), kCart) == std::vector<std::string>{"none"});
}

TEST_CASE("of several workloads with one address a pod is found first, then one that takes tunnels, then the first") {
  Store store;
  Workload entry = workload("entry", {ip("10.0.0.1")});
  entry.protocol = Protocol::Tcp;
  store.upsert(entry);
  CHECK(store.publish()->find(ip("10.0.0.1"))->uid() == "shop/entry");
  store.upsert(workload("tunnel", {ip("10.0.0.1")}));
  CHECK(store.publish()->find(ip("10.0.0.1"))->uid() == "shop/tunnel");
  Workload pod = workload("pod", {ip("10.0.0.1")});
  pod.uid = "Kubernetes//Pod/shop/pod";
  pod.protocol = Protocol::Tcp;
  store.upsert(pod);
  CHECK(store.publish()->find(ip("10.0.0.1"))->uid() == pod.uid);
  CHECK(store.remove_workload(pod.uid));
  CHECK(store.publish()->find(ip("10.0.0.1"))->uid() == "shop/tunnel");
  CHECK(store.remove_workload("shop/tunnel"));
  CHECK(store.publish()->find(ip("10.0.0.1"))->uid() == "shop/entry");
  CHECK(store.remove_workload("shop/entry"));
  CHECK(store.publish()->find(ip("10.0.0.1")) == nullptr);
}

TEST_CASE("a workload of the host's network is not found by the node's address") {
  Store store;
  Workload host = workload("host", {ip("10.1.0.1")});
  host.is_host_network = true;
  store.upsert(host);
  const auto snapshot = store.publish();
  CHECK(snapshot->find(ip("10.1.0.1")) == nullptr);
  CHECK(snapshot->find_uid("shop/host") != nullptr);
}

TEST_CASE("a range of virtual addresses counts where no service has the very address") {
  struct Case {
    std::string_view client;
    std::string_view address;
    std::string_view expected;
  };
  Store store;
  const auto range = [&](std::string_view name, std::string_view network, std::uint8_t bits, std::string_view of) {
    Service made = named(name, {}, of);
    made.vips.push_back({.network = {}, .address = ip(network), .prefix_bits = bits});
    store.upsert(made);
  };
  range("wide", "10.8.0.0", 13, "bank");
  range("long", "10.8.1.0", 24, "bank");
  range("own", "10.8.0.0", 16, "shop");
  store.upsert(named("exact", "10.8.1.7", "bank"));
  const auto snapshot = store.publish();
  const auto [client, address, expected] = GENERATE(values<Case>({{"bank", "10.8.1.7", "exact"},
                                                                  {"bank", "10.8.1.8", "long"},
                                                                  {"bank", "10.8.2.1", "wide"},
                                                                  {"shop", "10.8.1.8", "own"},
                                                                  {"other", "10.8.1.8", "long"},
                                                                  {"bank", "10.9.0.1", "wide"},
                                                                  {"bank", "10.20.0.1", ""}}));
  const Service* found = snapshot->find_vip({}, ip(address), client);
  CHECK((found == nullptr ? "" : found->name) == expected);
}

TEST_CASE("identities of this node's workloads are told as they come and go") {
  Store store;
  store.set_node("node-a");
  Workload one = workload("one", {ip("10.0.0.1")});
  one.node = "node-a";
  one.identity = identity("x");
  Workload two = one;
  two.uid = "shop/two";
  two.addresses = {ip("10.0.0.2")};
  store.upsert(one);
  store.upsert(two);
  store.upsert(workload("elsewhere"));
  Workload local = one;
  local.uid = "culvert-local/shop/three";
  local.identity = identity("y");
  local.is_provisional = true;
  store.upsert(local);
  CHECK(store.take_identity_changes().added == std::vector{identity("x")});
  CHECK(store.remove_workload("shop/one"));
  CHECK(store.take_identity_changes().removed.empty());
  CHECK(store.remove_workload("shop/two"));
  const Store::IdentityChanges gone = store.take_identity_changes();
  CHECK(gone.added.empty());
  CHECK(gone.removed == std::vector{identity("x")});
}

TEST_CASE(
    "of several workloads with one hostname one is found for as long as it is there, and another when it has gone") {
  Store store;
  const auto on_host = [](std::string_view name) {
    Workload made = workload(name);
    made.hostname = "db.example.com";
    return made;
  };
  const auto found = [&]() -> std::string {
    const WorkloadEntry* entry = store.publish()->find_workload("shop", "db.example.com");
    return entry == nullptr ? "" : std::string(entry->name());
  };
  for (const char* name : {"a", "b", "c"}) store.upsert(on_host(name));
  CHECK(found() == "a");
  store.upsert(on_host("a"));  // a change of it is no reason to refer to another
  CHECK(found() == "a");
  CHECK(store.remove_workload("shop/a"));
  CHECK(found() == "b");
  store.upsert(on_host("a"));
  CHECK(found() == "b");
  Workload moved = on_host("b");
  moved.hostname = "other.example.com";
  store.upsert(moved);
  CHECK(found() == "c");
  CHECK(store.publish()->find_workload("shop", "other.example.com")->name() == "b");
  CHECK(store.remove_workload("shop/c"));
  CHECK(found() == "a");
  CHECK(store.remove_workload("shop/a"));
  CHECK(found().empty());
  store.upsert(on_host("c"));
  CHECK(found() == "c");
}

TEST_CASE("a pod of this node is found by the control plane's name for it, or by its own names") {
  Store store;
  store.set_node("node-a");
  const auto placed = [](std::string uid, std::string_view node, std::string_view account = "cart") {
    Workload made = workload("cart", {ip("10.0.0.1")});
    made.uid = std::move(uid);
    made.node = node;
    made.identity = identity(account);
    return made;
  };
  const auto found = [&]() -> std::string {
    const WorkloadEntry* entry = store.publish()->find_pod("Kubernetes//Pod/shop/cart", "shop", "cart", "cart");
    return entry == nullptr ? "" : std::string(entry->uid());
  };
  store.upsert(placed("elsewhere", "node-b"));
  Workload local = placed("culvert-local/shop/cart", "node-a");
  local.is_provisional = true;  // what this node itself says of it is not the mesh's word
  store.upsert(local);
  store.upsert(placed("of another account", "node-a", "other"));
  CHECK(found().empty());
  store.upsert(placed("by file", "node-a"));
  CHECK(found() == "by file");
  store.upsert(placed("Kubernetes//Pod/shop/cart", "node-b"));
  CHECK(found() == "Kubernetes//Pod/shop/cart");
  store.upsert(placed("Kubernetes//Pod/shop/cart", "node-b", "other"));
  CHECK(found() == "by file");
  store.upsert(placed("by file", "node-b"));
  CHECK(found().empty());
  store.upsert(placed("by file", "node-a"));
  CHECK(store.remove_workload("by file"));
  CHECK(found().empty());
}

TEST_CASE("policies come, change and go, and older snapshots keep theirs") {
  Store store;
  Authorization policy;
  policy.name = "deny";
  policy.namespace_name = "shop";
  policy.scope = PolicyScope::Namespace;
  store.upsert(policy);
  const auto before = store.publish();
  CHECK(store.remove_authorization("shop", "deny"));
  CHECK_FALSE(store.remove_authorization("shop", "deny"));
  CHECK(store.publish()->policies().size() == 0);
  CHECK(before->policies().find("shop/deny") != nullptr);
}

// Everything at random against what a plain map would say.
TEST_CASE("after any order of changes lookups answer as a plain list of the same things does") {
  std::mt19937 random(GENERATE(1U, 2U, 3U));
  Store store;
  std::map<std::string, Workload> workloads;
  std::map<std::string, Service> services;
  std::vector<std::pair<std::shared_ptr<const Snapshot>, std::set<std::string>>> kept;
  const auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  const auto hostname = [](std::uint32_t i) { return fmt::format("s{}.shop.svc.cluster.local", i); };
  for (int step = 0; step < 4000; ++step) {
    const std::uint32_t i = below(300);
    switch (below(5)) {
      case 0:
      case 1: {
        std::vector<std::string> names;
        for (std::uint32_t k = below(3); k > 0; --k) names.push_back(hostname(below(20)));
        std::ranges::sort(names);
        names.erase(std::unique(names.begin(), names.end()), names.end());
        Workload made = member(fmt::format("w{}", i), {ip(fmt::format("10.0.{}.{}", below(2), below(200)))}, names);
        made.is_healthy = below(8) != 0;
        made.capacity = 1 + below(3);
        workloads.insert_or_assign(made.uid, made);
        store.upsert(made);
        break;
      }
      case 2:
        CHECK(store.remove_workload(fmt::format("shop/w{}", i)) == (workloads.erase(fmt::format("shop/w{}", i)) == 1));
        break;
      case 3: {
        const std::uint32_t s = below(20);
        Service made = named(fmt::format("s{}", s), fmt::format("10.9.0.{}", below(30)));
        services.insert_or_assign(made.hostname, made);
        store.upsert(made);
        break;
      }
      default: {
        const std::string name = hostname(below(20));
        CHECK(store.remove_service("shop", name) == (services.erase(name) == 1));
      }
    }
    if (step % 40 != 0) continue;
    const auto snapshot = store.publish();
    CHECK(snapshot->workload_count() == workloads.size());
    CHECK(snapshot->service_count() == services.size());
    std::set<std::string> uids;
    for (const auto& [uid, one] : workloads) {
      uids.insert(uid);
      const WorkloadEntry* found = snapshot->find_uid(uid);
      REQUIRE(found != nullptr);
      CHECK(std::ranges::equal(found->addresses(), one.addresses));
      const WorkloadEntry* by_address = snapshot->find(one.addresses[0]);
      REQUIRE(by_address != nullptr);
      CHECK(std::ranges::equal(by_address->addresses(), one.addresses));
    }
    for (const auto& [name, one] : services) {
      std::vector<std::string> expected;
      for (const auto& [uid, w] : workloads) {
        if (w.is_healthy && std::ranges::find(w.services, name, &ServiceMembership::hostname) != w.services.end()) {
          expected.push_back(uid);
        }
      }
      CHECK(endpoints(*snapshot, name) == expected);
      const Service* by_vip = snapshot->find_vip({}, one.vips[0].address, std::nullopt);
      REQUIRE(by_vip != nullptr);
      CHECK(by_vip->vips[0].address == one.vips[0].address);
      CHECK(snapshot->find_hostname(name, "elsewhere") != nullptr);
    }
    kept.emplace_back(snapshot, std::move(uids));
  }
  for (const auto& [snapshot, uids] : kept) {
    std::set<std::string> seen;
    snapshot->for_each_workload([&](const WorkloadEntry& one) { seen.emplace(one.uid()); });
    CHECK(seen == uids);
  }
}

TEST_CASE("snapshots are read and let go on other threads while the store goes on") {
  Store store;
  for (int i = 0; i < 2000; ++i)
    store.upsert(workload(fmt::format("w{}", i), {ip(fmt::format("10.0.{}.{}", i / 250, i % 250))}));
  std::vector<std::jthread> readers;
  for (int round = 0; round < 50; ++round) {
    store.upsert(workload(fmt::format("w{}", round), {ip(fmt::format("10.1.0.{}", round))}));
    readers.emplace_back([snapshot = store.publish(), round]() mutable {
      std::size_t count = 0;
      snapshot->for_each_workload([&](const WorkloadEntry&) { ++count; });
      CV_ASSERT(count == 2000);
      CV_ASSERT(snapshot->find(ip(fmt::format("10.1.0.{}", round))) != nullptr);
      snapshot.reset();
    });
  }
}

}  // namespace culvert::state
