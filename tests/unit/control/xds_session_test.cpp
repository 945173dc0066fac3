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

TEST_CASE("whatever a version looks like, and whatever a resource is called, a new stream says it again as it came") {
  World world;
  const std::vector<std::pair<std::string, std::string>> cases = {{"c//Pod/shop/a", "9f86d081884c7d65"},
                                                                  {"c//Pod/shop/b", "0"},
                                                                  {"c//Pod/shop/c", ""},
                                                                  {"c//Pod/shop/d", "0a"},
                                                                  {"c//Pod/shop/e", "AB"},
                                                                  {"c//Pod/shop/f", "2024-01-01/7"},
                                                                  {"c//Pod/shop/g", "ffffffffffffffff"},
                                                                  {"c//Pod/shop/h", "10000000000000000"}};
  XdsUpdate all = update(kAddressType);
  for (const auto& [name, version] : cases) all.resources.push_back({name, version, workload(name)});
  state::Service service;
  service.namespace_name = "shop";
  service.hostname = "cart.shop.svc.cluster.local";
  all.resources.push_back({"shop/cart.shop.svc.cluster.local", "abc", service});
  service.hostname = "other.shop.svc.cluster.local";
  all.resources.push_back({"a name of its own", "abc", service});
  std::ranges::for_each(all.resources, keep_version);
  static_cast<void>(world.session.take(std::move(all)));
  std::vector<std::pair<std::string, std::string>> expected = cases;
  expected.emplace_back("shop/cart.shop.svc.cluster.local", "abc");
  expected.emplace_back("a name of its own", "abc");
  std::ranges::sort(expected);
  const auto said = [&world] {
    auto versions = world.session.begin()[0].initial_versions;
    std::ranges::sort(versions);
    return versions;
  };
  CHECK(said() == expected);
  // Each once, whatever form the next version has.
  for (auto& [name, version] : expected) {
    if (name != "c//Pod/shop/a" && name != "c//Pod/shop/f") continue;
    version = version == "2024-01-01/7" ? "7" : "new";
    XdsUpdate next = with_workload(name, version);
    keep_version(next.resources.front());
    static_cast<void>(world.session.take(std::move(next)));
  }
  CHECK(said() == expected);
  // Pods that only this node knows are nothing that the control plane sent.
  world.store.upsert(workload("culvert-local/shop/here"));
  CHECK(said() == expected);
  XdsUpdate gone = update(kAddressType);
  for (const auto& [name, version] : expected) gone.removed.push_back(name);
  static_cast<void>(world.session.take(std::move(gone)));
  CHECK(said().empty());
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
  // What comes next has to do with something else.
  static_cast<void>(world.session.take(with_workload("a//Pod/x/1", "1")));
  CHECK_FALSE(world.session.is_warm());
  SECTION("when what could not be taken comes in order") {
    static_cast<void>(world.session.take(with_workload("x", "2")));
    CHECK(world.session.is_warm());
  }
  SECTION("when it is gone") {
    XdsUpdate gone = update(kAddressType);
    gone.removed.push_back("x");
    static_cast<void>(world.session.take(std::move(gone)));
    CHECK(world.session.is_warm());
  }
  SECTION("when a new stream does not have it") {
    static_cast<void>(world.session.begin());
    static_cast<void>(world.session.take(update(kAddressType)));
    CHECK(world.session.is_warm());
  }
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

TEST_CASE("a refusal's text has a bound, whatever the names of what is refused") {
  state::Store store;
  XdsSession session(store, false);
  static_cast<void>(session.begin());
  XdsUpdate bad = update(kAddressType);
  std::string long_name = "nnn";
  while (long_name.size() < 1'000'000) long_name += "\xE2\x82\xAC";  // three bytes a character
  bad.rejected.push_back({long_name, "bad"});
  for (int i = 0; i < 1'000; ++i) bad.rejected.push_back({fmt::format("name-{}", i), "bad"});
  const auto answer = session.take(std::move(bad));
  REQUIRE(answer);
  CHECK(answer->error.size() <= XdsSession::kErrorBytesMax);
  CHECK_THAT(answer->error, Catch::StartsWith("nnn") && Catch::EndsWith("\xE2\x82\xAC..."));
}

namespace {

using Names = std::vector<std::string>;

// On demand, with the first responses taken.
struct DemandWorld {
  state::Store store;
  XdsSession session{store, true};

  // What is said of names, all requests in one: subscriptions, then "-NAME" for those that end.
  Names wishes() {
    Names all;
    for (const XdsRequest& one : session.take_wishes()) {
      CHECK(one.type_url == kAddressType);
      CHECK_FALSE(one.has_node);
      CHECK(one.nonce.empty());
      all.insert(all.end(), one.subscribe.begin(), one.subscribe.end());
      for (const std::string& name : one.unsubscribe) all.push_back("-" + name);
    }
    return all;
  }
  bool is_absent(std::string_view name) { return store.publish()->absent().find(name) != state::AbsentNames::kNone; }
};

XdsUpdate with_address(const std::string& uid, std::string_view address) {
  XdsUpdate made = with_workload(uid, "7");
  std::get<state::Workload>(made.resources.front().value).addresses = {IpAddress::parse(address).value()};
  made.resources.front().aliases = {"/" + std::string(address)};
  keep_version(made.resources.front());
  return made;
}

}  // namespace

TEST_CASE("on demand nothing is subscribed to but what is wanted, after the first requests") {
  DemandWorld world;
  const std::vector<XdsRequest> first = world.session.begin();
  CHECK(first[0].subscribe == Names{"*"});
  CHECK(first[0].unsubscribe == Names{"*"});
  CHECK(first[1].subscribe.empty());
  world.session.want("/10.0.0.1", 0);
  world.session.want("/10.0.0.1", 1);
  CHECK(world.wishes() == Names{"/10.0.0.1"});
  static_cast<void>(world.session.take(update(kAuthorizationType)));
  CHECK(world.session.is_warm());
}

TEST_CASE("a name is answered by an alias of what comes, and is not asked for while somebody has it") {
  DemandWorld world;
  world.session.want("/10.0.0.1", 0);
  static_cast<void>(world.wishes());
  static_cast<void>(world.session.take(with_address("c//Pod/shop/cart", "10.0.0.1")));
  CHECK(world.session.demands().asked_count() == 0);
  // Not as a request that wants nothing: istiod would take everything back.
  CHECK(world.wishes() == Names{"culvert/nobody", "-/10.0.0.1"});
  world.session.want("/10.0.0.1", 0);
  CHECK(world.wishes().empty());
  // A new stream is told of the pod by its own name.
  const XdsRequest again = world.session.begin()[0];
  CHECK(again.subscribe == Names{"*", "c//Pod/shop/cart"});
  CHECK(again.initial_versions == std::vector<std::pair<std::string, std::string>>{{"c//Pod/shop/cart", "7"}});
  // When it is removed its address is anybody's question again.
  XdsUpdate gone = update(kAddressType);
  gone.removed = {"c//Pod/shop/cart"};
  static_cast<void>(world.session.take(gone));
  world.session.want("/10.0.0.1", 0);
  CHECK(world.wishes() == Names{"/10.0.0.1"});
}

TEST_CASE("a name among what was removed is absent until its time is over, or somebody has it") {
  DemandWorld world;
  world.session.want("/10.0.0.1", 0);
  world.session.want("/10.0.0.2", 0);
  static_cast<void>(world.wishes());
  XdsUpdate gone = update(kAddressType);
  gone.removed = {"/10.0.0.1", "/10.0.0.2", "/10.0.0.3"};
  static_cast<void>(world.session.take(gone, 1'000));
  CHECK(world.is_absent("/10.0.0.1"));
  CHECK_FALSE(world.is_absent("/10.0.0.3"));  // nobody asked
  static_cast<void>(world.session.take(with_address("c//Pod/shop/cart", "10.0.0.2"), 2'000));
  CHECK_FALSE(world.is_absent("/10.0.0.2"));
  CHECK_FALSE(world.session.expire(1'000 + DemandTable::kAbsentMs - 1, true));
  CHECK(world.session.expire(1'000 + DemandTable::kAbsentMs, true));
  CHECK_FALSE(world.is_absent("/10.0.0.1"));
}

TEST_CASE("what comes under the name and does not have the address is nobody's there: a pod on the node's network") {
  DemandWorld world;
  world.session.want("/10.0.0.1", 0);
  XdsUpdate come = with_address("c//Pod/shop/host", "10.0.0.1");
  std::get<state::Workload>(come.resources.front().value).is_host_network = true;
  static_cast<void>(world.session.take(come));
  CHECK(world.is_absent("/10.0.0.1"));
}

TEST_CASE("what comes and cannot be taken answers nothing") {
  DemandWorld world;
  world.session.want("/10.0.0.1", 0);
  XdsUpdate bad = update(kAddressType);
  bad.rejected.push_back({"/10.0.0.1", "tunnel_protocol is 2"});
  CHECK_FALSE(world.session.take(bad)->error.empty());
  CHECK_FALSE(world.is_absent("/10.0.0.1"));
  CHECK(world.session.demands().asked_count() == 1);
}

TEST_CASE("a new stream is asked again for what is open and what is absent") {
  DemandWorld world;
  world.session.want("/10.0.0.1", 0);
  world.session.want("/10.0.0.2", 0);
  static_cast<void>(world.wishes());
  XdsUpdate gone = update(kAddressType);
  gone.removed = {"/10.0.0.2"};
  static_cast<void>(world.session.take(gone, 0));
  CHECK(world.session.begin()[0].subscribe == Names{"*"});
  Names wishes = world.wishes();
  std::ranges::sort(wishes);
  CHECK(wishes == Names{"/10.0.0.1", "/10.0.0.2"});
}

TEST_CASE("where everything is asked for, no name is") {
  World world;
  world.session.want("/10.0.0.1", 0);
  CHECK(world.session.take_wishes().empty());
  CHECK_FALSE(world.store.publish()->is_on_demand());
}

}  // namespace culvert::control
