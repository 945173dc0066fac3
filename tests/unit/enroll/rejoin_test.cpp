// SPDX-License-Identifier: Apache-2.0
// A pod that joins once more: changed, with another namespace, anew, or after it had begun to leave.
#include "joining_agent.hpp"
#include "test_netns.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using testing::Agent;
using testing::ip;
using testing::kernel;
using testing::spec_for;
using testing::TestNetns;

}  // namespace

TEST_CASE("the same id with another namespace replaces the stale pod, in a slot of its own") {
  TestNetns before;
  const TestNetns after({"10.1.0.6/24"});
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(before), before.open()));
  const auto refused = agent.enroller->join(spec_for(after), after.open());
  REQUIRE_FALSE(refused);  // the pod that has the id lives, and its connections with it
  CHECK_THAT(refused.error().message(), Catch::Contains(before.path()) && Catch::Contains("--id"));
  CHECK(agent.enroller->verify("c1"));
  before.remove();
  const auto pod = agent.enroller->join(spec_for(after), after.open());
  REQUIRE(pod);
  CHECK(pod->slot == 2);
  CHECK(pod->listeners.size() == 1);
  CHECK(kernel().attached.size() == 1);
  CHECK(kernel().attached.contains(2));
  CHECK(kernel().used_slots == std::set<std::uint32_t>{2});
  CHECK(agent.has_record("c1"));
}

TEST_CASE("changed exclusions and new devices come into force on the next join") {
  const TestNetns netns;
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  netns.ip("link add net1 type bridge");
  CHECK_FALSE(agent.enroller->verify("c1"));  // a device without a hook
  auto spec = spec_for(netns);
  spec.excluded_ports = {{22, true}};
  const auto pod = agent.enroller->join(spec, netns.open());
  REQUIRE(pod);
  CHECK(pod->listeners.empty());
  CHECK(kernel().attached.at(1).devices.size() == 2);
  CHECK(kernel().attached.at(1).excluded_ports.size() == 1);
  CHECK(agent.enroller->verify("c1"));
}

TEST_CASE("a change that fails leaves the pod as it was") {
  const TestNetns netns;
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  auto spec = spec_for(netns);
  spec.excluded_ports = {{22, true}};
  kernel().fails_at = "verify";
  CHECK_FALSE(agent.enroller->join(spec, netns.open()));
  kernel().fails_at.clear();
  CHECK(kernel().attached.at(1).excluded_ports.empty());
  CHECK(agent.enroller->find("c1")->excluded_ports.empty());
  CHECK(agent.enroller->verify("c1"));
}

TEST_CASE("a pod that gains a family gets all its listeners anew") {
  const TestNetns netns({"10.1.0.5/24"});
  Agent agent;
  const auto before = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE(before);
  CHECK_FALSE(before->listeners.front().v6.tunnel);
  netns.ip("address add fd00::5/64 dev eth0 nodad");
  const auto after = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE(after);
  REQUIRE(after->listeners.size() == 1);
  CHECK(after->listeners.front().v6.tunnel);
  CHECK(after->slot == before->slot);
}

TEST_CASE("a pod that joins anew gets listeners of its own, and its hooks stay throughout") {
  const TestNetns netns;
  Agent agent;
  const auto before = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE(before);
  auto spec = spec_for(netns);
  spec.service_account = "other";
  SECTION("as it should") {
    const auto after = agent.enroller->join(spec, netns.open(), Listeners::Anew);
    REQUIRE(after);
    CHECK(after->slot == before->slot);
    CHECK(after->listeners.size() == 1);
    CHECK(agent.enroller->find("c1")->service_account == "other");
  }
  SECTION("with none of its addresses: nothing has changed") {
    spec.addresses = {ip("10.9.9.9")};
    CHECK_FALSE(agent.enroller->join(spec, netns.open(), Listeners::Anew));
    CHECK(agent.enroller->find("c1")->service_account == "default");
    CHECK(agent.enroller->has_listeners("c1"));
  }
  SECTION("and that fails before the old listeners are replaced: they serve on") {
    kernel().fails_at = "mark";
    CHECK_FALSE(agent.enroller->join(spec, netns.open(), Listeners::Anew));
    CHECK(agent.enroller->find("c1")->service_account == "default");
    CHECK(agent.enroller->has_listeners("c1"));
  }
  SECTION("and that fails later: it wants another try") {
    kernel().fails_at = "attach";
    CHECK_FALSE(agent.enroller->join(spec, netns.open(), Listeners::Anew));
    CHECK(agent.enroller->find("c1")->service_account == "default");
    CHECK_FALSE(agent.enroller->has_listeners("c1"));
  }
  CHECK(kernel().attached.contains(1));
  CHECK(kernel().stopped.empty());
  CHECK(kernel().count("detach") == 0);
}

TEST_CASE("a pod that was to be taken back without descriptors is taken back once there are some") {
  const TestNetns netns({"10.1.0.5/24"});
  unsigned failed = 0;
  for (unsigned more = 0; more < 12; ++more) {
    CAPTURE(more);
    Agent agent;
    REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
    REQUIRE(agent.enroller->begin_leave("c1"));
    UniqueFd fd = netns.open();
    const bool is_back = [&] {
      const testing::FewDescriptors few(more);
      return agent.enroller->join(spec_for(netns), std::move(fd)).has_value();
    }();
    if (is_back) break;
    ++failed;
    CHECK(agent.enroller->is_leaving("c1"));
    CHECK(kernel().stopped.contains(1));
    const auto back = agent.enroller->join(spec_for(netns), netns.open());
    REQUIRE(back);
    CHECK(back->listeners.size() == 1);
    CHECK(agent.enroller->verify("c1"));
  }
  CHECK(failed > 2);
  CHECK(failed < 12);
}
