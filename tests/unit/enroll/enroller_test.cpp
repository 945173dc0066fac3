// SPDX-License-Identifier: Apache-2.0
// Joining, joining again, leaving and being verified, in real namespaces over a scripted datapath.
#include <fcntl.h>
#include <sys/socket.h>

#include "core/netns.hpp"
#include "core/socket.hpp"
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

TEST_CASE("a pod joins: addresses and devices found, listeners registered, hooks attached and verified") {
  const TestNetns netns;
  Agent agent(2);
  const auto pod = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE(pod);
  CHECK(pod->slot == 1);
  CHECK(pod->listeners.size() == 2);
  CHECK(pod->netns);
  CHECK(pod->spec.addresses == std::vector{ip("10.1.0.5"), ip("fd00::5")});
  CHECK(pod->netns_cookie == netns_cookie(netns.open().get()).value());
  CHECK(kernel().listeners.size() == 4);
  CHECK(kernel().attached.at(1).devices == std::vector<std::string>{"eth0"});
  CHECK(kernel().attached.at(1).netns_cookie == pod->netns_cookie);
  CHECK(kernel().calls.back() == "verify");
  CHECK(agent.has_record("c1"));
  CHECK(agent.enroller->pod_ids() == std::vector<std::string>{"c1"});
  CHECK(agent.enroller->slot_of("c1") == 1);
  CHECK(agent.enroller->find("c1")->name == "cart");
  CHECK(agent.enroller->verify("c1"));
  CHECK(agent.enroller->is_netns_alive("c1"));
}

TEST_CASE("joining twice is joining once") {
  const TestNetns netns;
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  const auto again = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE(again);
  CHECK(again->listeners.empty());
  CHECK(again->slot == 1);
  CHECK(kernel().count("listener") == 4);
  CHECK(kernel().attached.size() == 1);
}

TEST_CASE("whatever step fails, nothing is left of the join") {
  for (const char* step : {"allocate", "mark", "listener", "attach", "verify"}) {
    CAPTURE(step);
    const TestNetns netns;
    Agent agent;
    kernel().fails_at = step;
    const auto pod = agent.enroller->join(spec_for(netns), netns.open());
    REQUIRE_FALSE(pod);
    CHECK_THAT(pod.error().message(), Catch::Contains("shop/cart"));
    CHECK(kernel().attached.empty());
    CHECK(kernel().listeners.empty());
    CHECK(kernel().used_slots.empty());
    CHECK_FALSE(agent.has_record("c1"));
    CHECK(agent.enroller->pod_ids().empty());
    // Its sockets are closed: the same namespace joins once the cause is gone.
    kernel().fails_at.clear();
    CHECK(agent.enroller->join(spec_for(netns), netns.open()));
  }
}

TEST_CASE("a full or read-only state directory fails the join before anything is attached") {
  const TestNetns netns;
  Agent agent;
  SECTION("full") { std::filesystem::create_symlink("/dev/full", agent.dir.path("state/pods/.c1.json.new")); }
  SECTION("gone") { std::filesystem::remove_all(agent.dir.path("state/pods")); }
  const auto pod = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE_FALSE(pod);
  CHECK_THAT(pod.error().message(), Catch::Contains("cannot write") && Catch::Contains("c1.json"));
  CHECK(kernel().count("attach") == 0);
  CHECK(kernel().used_slots.empty());
}

TEST_CASE("a port that the pod's program has fails the join and names the port") {
  const TestNetns netns;
  Agent agent;
  const UniqueFd taken = testing::listen_in(netns, "0.0.0.0:15008");
  const auto pod = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE_FALSE(pod);
  CHECK_THAT(pod.error().message(), Catch::Contains("15008"));
  CHECK(kernel().attached.empty());
}

TEST_CASE("what is no pod's namespace is refused") {
  Agent agent;
  SECTION("the node's own") {
    const TestNetns netns;
    const auto pod = agent.enroller->join(spec_for(netns), open_current_netns().value());
    REQUIRE_FALSE(pod);
    CHECK_THAT(pod.error().message(), Catch::Contains("host network"));
  }
  SECTION("one without an address") {
    const TestNetns netns{std::vector<std::string>()};
    CHECK_FALSE(agent.enroller->join(spec_for(netns), netns.open()));
  }
  SECTION("one without a device") {
    const TestNetns netns{std::vector<std::string>()};
    netns.ip("link del eth0");
    CHECK_FALSE(agent.enroller->join(spec_for(netns), netns.open()));
  }
  SECTION("one with none of the pod's addresses") {
    const TestNetns netns;
    auto spec = spec_for(netns);
    spec.addresses = {ip("10.9.9.9")};
    const auto pod = agent.enroller->join(spec, netns.open());
    REQUIRE_FALSE(pod);
    CHECK_THAT(pod.error().message(), Catch::Contains("10.9.9.9") && Catch::Contains("10.1.0.5"));
  }
  SECTION("a file") {
    const TestNetns netns;
    CHECK_FALSE(agent.enroller->join(spec_for(netns), UniqueFd(::open("/dev/null", 0))));
  }
  CHECK(kernel().attached.empty());
}

TEST_CASE("one namespace is one pod") {
  const TestNetns netns;
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(netns, "c1"), netns.open()));
  const auto other = agent.enroller->join(spec_for(netns, "c2"), netns.open());
  REQUIRE_FALSE(other);
  CHECK(other.error().code() == ErrorCode::AlreadyExists);
  CHECK_THAT(other.error().message(), Catch::Contains("c1"));
}

TEST_CASE("a pod leaves in two steps and may be taken back between them") {
  const TestNetns netns;
  Agent agent;
  const auto pod = agent.enroller->join(spec_for(netns), netns.open());
  REQUIRE(pod);
  REQUIRE(agent.enroller->begin_leave("c1"));
  CHECK(kernel().stopped.contains(1));
  CHECK(kernel().attached.contains(1));
  CHECK(agent.enroller->is_leaving("c1"));
  CHECK(agent.enroller->verify("c1").error().code() == ErrorCode::NotFound);
  REQUIRE(agent.enroller->begin_leave("c1"));

  SECTION("taken back") {
    const auto back = agent.enroller->join(spec_for(netns), netns.open());  // while the old listeners are still open
    REQUIRE(back);
    CHECK(back->slot == 1);
    CHECK(back->listeners.size() == 1);
    CHECK_FALSE(agent.enroller->is_leaving("c1"));
    CHECK(kernel().stopped.empty());
    CHECK(agent.enroller->verify("c1"));
  }
  SECTION("not taken back, because that fails") {
    kernel().fails_at = "attach";
    CHECK_FALSE(agent.enroller->join(spec_for(netns), netns.open()));
    CHECK(agent.enroller->is_leaving("c1"));
    CHECK(kernel().stopped.contains(1));
    kernel().fails_at.clear();
  }
  REQUIRE(agent.enroller->finish_leave("c1"));
  CHECK(kernel().attached.empty());
  CHECK(kernel().used_slots.empty());
  CHECK_FALSE(agent.has_record("c1"));
  CHECK(agent.enroller->pod_ids().empty());
  REQUIRE(agent.enroller->finish_leave("c1"));
}

TEST_CASE("leaving succeeds when the namespace is gone, and for what never joined") {
  TestNetns netns;
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  netns.remove();
  CHECK_FALSE(agent.enroller->is_netns_alive("c1"));
  CHECK(agent.enroller->begin_leave("c1"));
  CHECK(agent.enroller->finish_leave("c1"));
  CHECK(kernel().attached.empty());
  CHECK(agent.enroller->begin_leave("stranger"));
  CHECK(agent.enroller->finish_leave("stranger"));
  CHECK(agent.enroller->finish_leave("../../etc/passwd"));
}

TEST_CASE("a leave whose hooks cannot be taken away keeps the slot and the record for the next agent") {
  const TestNetns netns;
  Agent agent;
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  kernel().fails_at = "detach";
  CHECK_FALSE(agent.enroller->finish_leave("c1"));
  CHECK(kernel().used_slots.contains(1));
  CHECK(agent.has_record("c1"));
}

TEST_CASE("verify finds what is missing") {
  const TestNetns netns;
  Agent agent;
  CHECK(agent.enroller->verify("c1").error().code() == ErrorCode::NotFound);
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  kernel().attached.clear();
  const auto verified = agent.enroller->verify("c1");
  REQUIRE_FALSE(verified);
  CHECK_THAT(verified.error().message(), Catch::Contains("shop/cart"));
}

TEST_CASE("a GC concerns pods of its own network only") {
  const TestNetns first({"10.1.0.5/24"});
  const TestNetns second({"10.1.0.6/24"});
  const TestNetns third({"10.1.0.7/24"});
  Agent agent;
  auto spec = spec_for(first, "c1");
  spec.cni_network = "pods";
  REQUIRE(agent.enroller->join(spec, first.open()));
  spec = spec_for(second, "c2");
  spec.cni_network = "other";
  REQUIRE(agent.enroller->join(spec, second.open()));
  REQUIRE(agent.enroller->join(spec_for(third, "by-hand"), third.open()));
  const auto stale = [&](cni::GcRequest request) { return agent.enroller->stale_ids(request); };
  CHECK(stale({"pods", {}, "", ""}) == std::vector<std::string>{"c1"});
  CHECK(stale({"pods", {"c1"}, "", ""}).empty());
  CHECK(stale({"pods", {}, "c1", ""}).empty());
  CHECK(stale({"pods", {}, "c0", "c1"}) == std::vector<std::string>{"c1"});
  CHECK(stale({"other", {"c1"}, "", ""}) == std::vector<std::string>{"c2"});
  CHECK(stale({"", {}, "", ""}).empty());
}

TEST_CASE("joining and leaving over and over leaks no descriptor") {
  const TestNetns netns;
  Agent agent;
  const auto descriptors = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
  const auto before = descriptors();
  for (int i = 0; i < 20; ++i) {
    REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
    REQUIRE(agent.enroller->begin_leave("c1"));
    REQUIRE(agent.enroller->finish_leave("c1"));
  }
  CHECK(descriptors() == before);
}

TEST_CASE("every pod is settled once after it joined, and again after its devices may have changed") {
  const TestNetns netns;
  Agent agent;
  CHECK_FALSE(agent.enroller->has_unsettled());
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  CHECK(kernel().count("settle") == 0);  // not while somebody waits
  CHECK(agent.enroller->has_unsettled());
  REQUIRE(agent.enroller->settle_one());
  CHECK(kernel().count("settle") == 1);
  CHECK_FALSE(agent.enroller->has_unsettled());
  REQUIRE(agent.enroller->settle_one());
  CHECK(kernel().count("settle") == 1);
  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  CHECK(agent.enroller->has_unsettled());

  kernel().fails_at = "settle";
  const auto settled = agent.enroller->settle_one();
  REQUIRE_FALSE(settled);
  CHECK(settled.error().message().find("c1") != std::string::npos);
  CHECK_FALSE(agent.enroller->has_unsettled());  // as it is, it captures: no use in trying for ever
  kernel().fails_at.clear();

  REQUIRE(agent.enroller->join(spec_for(netns), netns.open()));
  REQUIRE(agent.enroller->begin_leave("c1"));
  CHECK_FALSE(agent.enroller->has_unsettled());
}
