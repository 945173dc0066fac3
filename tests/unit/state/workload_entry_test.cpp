// SPDX-License-Identifier: Apache-2.0
// Workloads as the state keeps them: nothing is lost, what is alike is kept once, and no snapshot notices what happens later.
#include "state/workload_entry.hpp"

#include <algorithm>

#include "mesh.hpp"
#include "state/store.hpp"

namespace culvert::state {
namespace {

Workload full() {
  Workload made = workload("cart-7d9f-x2k9q", {ip("10.0.0.1"), ip("fd00::1")});
  made.uid = "Kubernetes//Pod/shop/cart-7d9f-x2k9q";
  made.identity = identity("cart");
  made.network = "net";
  made.cluster = "c1";
  made.node = "node-a";
  made.canonical_name = "cart";
  made.canonical_revision = "v2";
  made.workload_name = "cart-deployment";
  made.hostname = "cart.example.com";
  made.region = "r";
  made.zone = "z";
  made.subzone = "s";
  made.waypoint = by_name("way");
  made.network_gateway = by_address("10.9.9.9", "net");
  made.services = {{"shop", "cart.shop.svc.cluster.local", {{80, 8080}}}};
  made.authorization_policies = {"shop/deny"};
  made.capacity = 7;
  made.application_tunnel = ApplicationTunnel{true, 15088};
  made.protocol = Protocol::Tcp;
  made.type = WorkloadType::Job;
  made.is_healthy = false;
  made.is_host_network = true;
  made.is_tunnel_native = true;
  made.is_provisional = true;
  made.version = 0xfedc'ba98'7654'3210ULL;
  return made;
}

}  // namespace

TEST_CASE("an entry says all that its workload said") {
  Store store("net");
  const Workload said = full();
  store.upsert(said);
  const auto snapshot = store.publish();
  const WorkloadEntry* found = snapshot->find_uid(said.uid);
  REQUIRE(found != nullptr);
  CHECK(static_cast<const WorkloadProfile&>(found->profile()) == said);
  CHECK(found->uid() == said.uid);
  CHECK(found->name() == said.name);
  CHECK(static_cast<const WorkloadPlace&>(found->place()) == said);
  CHECK(found->node() == said.node);
  CHECK(std::ranges::equal(found->addresses(), said.addresses));
  CHECK(found->version() == said.version);
  CHECK(found->identity() == said.identity);
  CHECK(found->network() == "net");
  CHECK(found->cluster() == "c1");
  CHECK(found->canonical_name() == "cart");
  CHECK(found->canonical_revision() == "v2");
  CHECK(found->workload_name() == "cart-deployment");
  CHECK(found->hostname() == said.hostname);
  CHECK(fmt::format("{}{}{}", found->region(), found->zone(), found->subzone()) == "rzs");
  CHECK(found->waypoint() == said.waypoint);
  CHECK(found->network_gateway() == said.network_gateway);
  CHECK(found->services().front() == said.services.front());
  CHECK(found->authorization_policies().front() == "shop/deny");
  CHECK(found->capacity() == 7);
  CHECK(found->application_tunnel() == said.application_tunnel);
  CHECK(found->protocol() == Protocol::Tcp);
  CHECK(found->type() == WorkloadType::Job);
  CHECK_FALSE(found->is_healthy());
  CHECK((found->is_host_network() && found->is_tunnel_native() && found->is_provisional()));
}

TEST_CASE("names and addresses of any number and form are kept") {
  struct Case {
    std::string uid;
    std::string name;
    std::vector<IpAddress> addresses;
  };
  const std::vector<Case> cases = {{"a/b", "b", {}},
                                   {"same", "same", {ip("10.0.0.1")}},
                                   {"other", "no end of it", {ip("fd00::1")}},
                                   {"nameless", "", {ip("10.0.0.2"), ip("10.0.0.3"), ip("10.0.0.4")}},
                                   {"short", "longer than short", {ip("10.0.0.5"), ip("fd00::5")}}};
  Store store;
  for (const Case& one : cases) {
    Workload made = workload("pod", one.addresses);
    made.uid = one.uid;
    made.name = one.name;
    store.upsert(std::move(made));
  }
  const auto snapshot = store.publish();
  for (const Case& one : cases) {
    CAPTURE(one.uid);
    const WorkloadEntry* found = snapshot->find_uid(one.uid);
    REQUIRE(found != nullptr);
    CHECK(found->uid() == one.uid);
    CHECK(found->name() == one.name);
    CHECK(found->canonical_name() == one.name);
    CHECK(found->canonical_revision() == "latest");
    CHECK(std::ranges::equal(found->addresses(), one.addresses));
    CHECK(found->is_addressable() == !one.addresses.empty());
    CHECK((found->sole_address() != nullptr) == (one.addresses.size() == 1));
    for (const IpAddress& address : one.addresses) CHECK(snapshot->find(address) == found);
  }
}

TEST_CASE("pods of one deployment share a profile, and those of one node a place") {
  Store store;
  const auto pod = [](std::string_view name, std::string_view account, std::string_view node) {
    Workload made = workload(name);
    made.identity = identity(account);
    made.node = node;
    return made;
  };
  store.upsert(pod("a-1", "a", "one"));
  store.upsert(pod("a-2", "a", "two"));
  store.upsert(pod("b-1", "b", "one"));
  const auto before = store.publish();
  const auto entry = [](const Snapshot& snapshot, std::string_view uid) { return snapshot.find_uid(uid); };
  CHECK(&entry(*before, "shop/a-1")->profile() == &entry(*before, "shop/a-2")->profile());
  CHECK(&entry(*before, "shop/a-1")->profile() != &entry(*before, "shop/b-1")->profile());
  CHECK(&entry(*before, "shop/a-1")->place() == &entry(*before, "shop/b-1")->place());
  CHECK(&entry(*before, "shop/a-1")->place() != &entry(*before, "shop/a-2")->place());
  // The last pod with a profile takes it along; an older snapshot still has it.
  CHECK(store.remove_workload("shop/b-1"));
  Workload moved = pod("a-1", "c", "three");
  store.upsert(moved);
  const auto after = store.publish();
  CHECK(entry(*after, "shop/a-1")->identity() == identity("c"));
  CHECK(entry(*after, "shop/a-1")->node() == "three");
  CHECK(entry(*after, "shop/a-2")->identity() == identity("a"));
  CHECK(entry(*before, "shop/a-1")->identity() == identity("a"));
  CHECK(entry(*before, "shop/b-1")->identity() == identity("b"));
  CHECK(entry(*before, "shop/b-1")->node() == "one");
}

TEST_CASE("the pool keeps equal values once, and as long as they are used") {
  SharedPool<std::string, std::hash<std::string_view>> pool;
  const auto take = [&pool](std::string_view text) {
    return pool.take(text, [text] { return std::make_shared<const std::string>(text); });
  };
  const auto first = take("a");
  const auto second = take("a");
  CHECK(first == second);
  CHECK(take("b") != first);
  CHECK(pool.size() == 2);
  pool.give(*first);
  CHECK(take("a") == first);
  pool.give(*second);
  pool.give(*second);
  CHECK(pool.size() == 1);
  CHECK(*first == "a");
  CHECK(take("a") != first);
}

}  // namespace culvert::state
