// SPDX-License-Identifier: Apache-2.0
// A local mesh that changes beside a control plane's: what is exchanged, and whose object counts.
#include "control/local_exchange.hpp"

#include <catch2/catch.hpp>

#include "control/xds_decode.hpp"

namespace culvert::control {
namespace {

LocalMesh mesh_of(std::string_view text) {
  auto mesh = local_mesh_from(text, "cluster.local");
  INFO((mesh ? "" : mesh.error().message()));
  REQUIRE(mesh);
  return *std::move(mesh);
}

// The control plane's, by the names of the local ones.
state::Workload their_workload() {
  state::Workload made;
  made.uid = "shop/a";
  made.name = "a";
  made.namespace_name = "shop";
  made.node = "theirs";
  return made;
}
state::Authorization their_policy(state::PolicyAction action) {
  state::Authorization made;
  made.name = "p";
  made.namespace_name = "shop";
  made.action = action;
  return made;
}

struct World {
  void exchange(std::string_view text) {
    LocalMesh now = mesh_of(text);
    exchange_local_mesh(store, session, local, now);
    local = std::move(now);
  }
  // The control plane's.
  void say(std::string_view type, std::string name, auto value) {
    XdsUpdate update;
    update.type_url = type;
    XdsUpdate::Resource& one = update.resources.emplace_back();
    one.name = std::move(name);
    one.version = "7";
    one.value = std::move(value);
    keep_version(one);
    static_cast<void>(session.take(update));
  }
  void remove(std::string_view type, std::string name) {
    XdsUpdate update;
    update.type_url = type;
    update.removed.push_back(std::move(name));
    static_cast<void>(session.take(update));
    restore_local_mesh(store, session, local, update.removed);
  }
  [[nodiscard]] std::string node_of(std::string_view uid) const {
    const state::WorkloadEntry* found = store.now().find_uid(uid);
    return found == nullptr ? "none" : std::string(found->node());
  }

  state::Store store;
  XdsSession session{store, false};
  LocalMesh local;
};

}  // namespace

TEST_CASE("what a local mesh no longer says goes, what is new comes, and what changed is exchanged") {
  World world;
  world.exchange(R"(
workloads: [{name: a, namespace: shop, node: one}, {name: b, namespace: shop, node: one}]
services: [{name: s, namespace: shop, hostname: s.example}, {name: t, namespace: shop, hostname: t.example}]
policies: [{name: p, namespace: shop, scope: Namespace, action: Deny}, {name: q, namespace: shop, scope: Namespace, action: Deny}])");
  CHECK(world.node_of("shop/a") == "one");
  world.exchange(R"(
workloads: [{name: b, namespace: shop, node: two}, {name: c, namespace: shop, node: two}]
services: [{name: t, namespace: shop, hostname: t.example, ports: {80: 81}}, {name: u, namespace: shop, hostname: u.example}]
policies: [{name: q, namespace: shop, scope: Namespace, action: Allow}, {name: r, namespace: shop, scope: Namespace, action: Deny}])");
  CHECK(world.node_of("shop/a") == "none");
  CHECK(world.node_of("shop/b") == "two");
  CHECK(world.node_of("shop/c") == "two");
  const state::Snapshot& now = world.store.now();
  CHECK(now.find_service("shop", "s.example") == nullptr);
  CHECK(now.find_service("shop", "t.example")->ports.size() == 1);
  CHECK(now.find_service("shop", "u.example") != nullptr);
  CHECK(now.policies().find("shop/p") == nullptr);
  CHECK(now.policies().find("shop/q")->action == state::PolicyAction::Allow);
  CHECK(now.policies().find("shop/r") != nullptr);
  world.exchange("{}");
  CHECK(world.store.now().workload_count() == 0);
  CHECK(world.store.now().service_count() == 0);
  CHECK(world.store.now().policies().size() == 0);
}

TEST_CASE("what is the same in both is not touched") {
  World world;
  world.exchange("workloads: [{name: a, namespace: shop}]");
  const state::WorkloadEntry* before = world.store.now().find_uid("shop/a");
  world.exchange("workloads: [{name: a, namespace: shop}, {name: b, namespace: shop}]");
  CHECK(world.store.now().find_uid("shop/a") == before);
}

TEST_CASE("of one name the control plane's object counts: it is neither exchanged nor removed") {
  World world;
  world.exchange(R"(
workloads: [{name: a, namespace: shop, node: local}]
services: [{name: s, namespace: shop, hostname: s.example}]
policies: [{name: p, namespace: shop, scope: Namespace, action: Allow}])");
  const state::Workload workload = their_workload();
  state::Service service;
  service.name = "s";
  service.namespace_name = "shop";
  service.hostname = "s.example";
  service.ports = {{80, 80}};
  const state::Authorization policy = their_policy(state::PolicyAction::Deny);
  world.say(kAddressType, "shop/a", workload);
  world.say(kAddressType, "shop/s.example", service);
  world.say(kAuthorizationType, "shop/p", policy);
  for (const std::string_view text : {R"(
workloads: [{name: a, namespace: shop, node: changed}]
services: [{name: s, namespace: shop, hostname: s.example, ports: {1: 1, 2: 2}}]
policies: [{name: p, namespace: shop, scope: Global, action: Allow}])",
                                      "{}"}) {
    world.exchange(text);
    CHECK(world.node_of("shop/a") == "theirs");
    CHECK(world.store.now().find_service("shop", "s.example")->ports.size() == 1);
    REQUIRE(world.store.now().policies().find("shop/p") != nullptr);
    CHECK(world.store.now().policies().find("shop/p")->action == state::PolicyAction::Deny);
  }
}

TEST_CASE("an object that stood back for the control plane's is in force again when that one is removed") {
  World world;
  world.exchange(R"(
workloads: [{name: a, namespace: shop, node: local}]
policies: [{name: p, namespace: shop, scope: Namespace, action: Deny}])");
  const state::Workload workload = their_workload();
  const state::Authorization policy = their_policy(state::PolicyAction::Allow);
  world.say(kAddressType, "shop/a", workload);
  world.say(kAuthorizationType, "shop/p", policy);
  world.remove(kAddressType, "shop/a");
  CHECK(world.node_of("shop/a") == "local");
  world.remove(kAuthorizationType, "shop/p");
  REQUIRE(world.store.now().policies().find("shop/p") != nullptr);
  CHECK(world.store.now().policies().find("shop/p")->action == state::PolicyAction::Deny);
  // What no local mesh knows is gone.
  world.exchange("{}");
  world.say(kAddressType, "shop/a", workload);
  world.remove(kAddressType, "shop/a");
  CHECK(world.node_of("shop/a") == "none");
}

TEST_CASE("a version that is no number is remembered by name, and counts as well") {
  World world;
  XdsUpdate update;
  update.type_url = kAddressType;
  update.resources.push_back({"shop/a", "v-one", their_workload()});
  static_cast<void>(world.session.take(update));
  world.exchange("workloads: [{name: a, namespace: shop, node: local}]");
  CHECK(world.node_of("shop/a") == "theirs");
}

}  // namespace culvert::control
