// SPDX-License-Identifier: Apache-2.0
// Delta discovery as values: what is asked, what is answered, what is remembered.
#include "control/xds_session.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "control/xds_decode.hpp"

namespace culvert::control {
namespace {

state::Workload workload(std::string uid) {
  state::Workload made;
  made.uid = std::move(uid);
  made.name = "cart";
  made.namespace_name = "shop";
  return made;
}

XdsUpdate update(std::string_view type, std::string nonce = "n") {
  XdsUpdate made;
  made.type_url = type;
  made.nonce = std::move(nonce);
  return made;
}

XdsUpdate with_workload(const std::string& uid, const std::string& version) {
  XdsUpdate made = update(kAddressType);
  made.resources.push_back({uid, version, workload(uid)});
  return made;
}

struct World {
  state::Store store;
  XdsSession session{store, false};
};

}  // namespace

TEST_CASE("a stream begins with one request for each type, with the node and what is still known") {
  World world;
  const std::vector<XdsRequest> first = world.session.begin();
  REQUIRE(first.size() == 2);
  CHECK(first[0].type_url == kAddressType);
  CHECK(first[1].type_url == kAuthorizationType);
  for (const XdsRequest& one : first) {
    CHECK(one.has_node);
    CHECK(one.subscribe.empty());
    CHECK(one.initial_versions.empty());
    CHECK(one.nonce.empty());
  }
  REQUIRE(world.session.take(with_workload("c//Pod/shop/cart", "7")));
  const std::vector<XdsRequest> second = world.session.begin();
  CHECK(second[0].initial_versions == std::vector<std::pair<std::string, std::string>>{{"c//Pod/shop/cart", "7"}});
}

TEST_CASE("a response is acknowledged with its nonce, and what it brought is in the store") {
  World world;
  const auto answer = world.session.take(with_workload("c//Pod/shop/cart", "1"));
  REQUIRE(answer);
  CHECK(answer->nonce == "n");
  CHECK(answer->error.empty());
  CHECK_FALSE(answer->has_node);
  CHECK(world.store.publish()->find_uid("c//Pod/shop/cart") != nullptr);
}

TEST_CASE("of a response with a bad resource the good ones are taken, the bad one is named and not remembered") {
  World world;
  XdsUpdate mixed = with_workload("c//Pod/shop/cart", "1");
  mixed.rejected.push_back({"c//Pod/shop/bad", "tunnel_protocol is 2"});
  mixed.rejected.push_back({"c//Pod/shop/worse", "uid is empty"});
  const auto answer = world.session.take(std::move(mixed));
  REQUIRE(answer);
  CHECK(answer->error == "c//Pod/shop/bad: tunnel_protocol is 2; c//Pod/shop/worse: uid is empty");
  CHECK(world.store.publish()->workload_count() == 1);
  CHECK(world.session.begin()[0].initial_versions.size() == 1);
  // The next response starts without the old error.
  CHECK(world.session.take(with_workload("c//Pod/shop/other", "1"))->error.empty());
}

TEST_CASE("removals come first, of workloads, services and policies alike; an unknown name is no matter") {
  World world;
  XdsUpdate first = with_workload("c//Pod/shop/cart", "1");
  state::Service service;
  service.namespace_name = "shop";
  service.hostname = "cart.shop.svc.cluster.local";
  first.resources.push_back({"shop/cart.shop.svc.cluster.local", "1", service});
  static_cast<void>(world.session.take(std::move(first)));
  XdsUpdate policies = update(kAuthorizationType);
  state::Authorization policy;
  policy.namespace_name = "shop";
  policy.name = "deny";
  policies.resources.push_back({"shop/deny", "", policy});
  static_cast<void>(world.session.take(std::move(policies)));
  CHECK(world.store.publish()->policies().size() == 1);

  XdsUpdate second = with_workload("c//Pod/shop/cart", "2");
  second.removed = {"c//Pod/shop/cart", "shop/cart.shop.svc.cluster.local", "nobody/knows"};
  static_cast<void>(world.session.take(std::move(second)));
  XdsUpdate gone = update(kAuthorizationType);
  gone.removed = {"shop/deny"};
  static_cast<void>(world.session.take(std::move(gone)));
  const auto snapshot = world.store.publish();
  CHECK(snapshot->find_uid("c//Pod/shop/cart") != nullptr);
  CHECK(snapshot->service_count() == 0);
  CHECK(snapshot->policies().size() == 0);
  const auto versions = world.session.begin()[0].initial_versions;
  CHECK(versions == std::vector<std::pair<std::string, std::string>>{{"c//Pod/shop/cart", "2"}});
}

TEST_CASE("a type that nobody knows is acknowledged") {
  World world;
  const auto answer = world.session.take(update("type.googleapis.com/x.Y"));
  REQUIRE(answer);
  CHECK(answer->error.empty());
  CHECK_FALSE(world.session.is_warm());
}

TEST_CASE("the session is warm when each type was taken over whole") {
  World world;
  XdsUpdate bad = update(kAddressType);
  bad.rejected.push_back({"x", "no"});
  static_cast<void>(world.session.take(std::move(bad)));
  static_cast<void>(world.session.take(update(kAuthorizationType)));
  CHECK_FALSE(world.session.is_warm());
  static_cast<void>(world.session.take(update(kAddressType)));
  CHECK(world.session.is_warm());
}

TEST_CASE("a push in pieces is answered once, with the mistakes of all of them") {
  World world;
  XdsUpdate first = with_workload("a//Pod/x/1", "1");
  first.rejected.push_back({"b", "bad"});
  first.is_last = false;
  CHECK_FALSE(world.session.take(std::move(first)));
  const auto answer = world.session.take(with_workload("a//Pod/x/2", "1"));
  REQUIRE(answer);
  CHECK(answer->error == "b: bad");
  CHECK(world.store.publish()->workload_count() == 2);
}

TEST_CASE("on demand nothing is subscribed to, and each name is asked for once") {
  state::Store store;
  XdsSession session(store, true);
  const std::vector<XdsRequest> first = session.begin();
  CHECK(first[0].subscribe == std::vector<std::string>{"*"});
  CHECK(first[0].unsubscribe == std::vector<std::string>{"*"});
  CHECK(first[1].subscribe.empty());
  const auto wanted = session.want("net/10.0.0.1");
  REQUIRE(wanted);
  CHECK(wanted->subscribe == std::vector<std::string>{"net/10.0.0.1"});
  CHECK_FALSE(session.want("net/10.0.0.1"));
  const XdsRequest again = session.begin()[0];
  CHECK(again.initial_versions == std::vector<std::pair<std::string, std::string>>{{"net/10.0.0.1", ""}});
  CHECK(std::ranges::find(again.subscribe, "net/10.0.0.1") != again.subscribe.end());
  static_cast<void>(session.take(update(kAuthorizationType)));
  CHECK(session.is_warm());
}

}  // namespace culvert::control
