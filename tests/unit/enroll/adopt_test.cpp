// SPDX-License-Identifier: Apache-2.0
// What a restarted agent does with the pods of the one before it.
#include "enroll/enroller.hpp"
#include "scripted_datapath.hpp"
#include "temp_dir.hpp"
#include "test_netns.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using testing::FewDescriptors;
using testing::kernel;
using testing::spec_for;
using testing::spill;
using testing::TempDir;
using testing::TestNetns;

// Agents that follow each other on one kernel and one state directory.
struct Node {
  Node() : datapath(testing::fresh_datapath()) { start(); }
  void start() { enroller = Enroller::open({.state_dir = dir.path(), .workers = 1}, *datapath).value(); }
  void restart() {
    enroller.reset();
    datapath = testing::reopened_datapath();
    kernel().listeners.clear();  // the sockets died with the agent
    kernel().calls.clear();
    start();
  }
  std::vector<Pod> adopt() {
    failures.clear();
    return enroller->adopt_all(
        [this](const std::string& id, const Error& error) { failures.push_back(id + ": " + error.message()); });
  }
  void join(const TestNetns& netns, const std::string& id) {
    REQUIRE(enroller->join(spec_for(netns, id), netns.open()));
  }

  TempDir dir;
  std::unique_ptr<datapath::Datapath> datapath;
  std::unique_ptr<Enroller> enroller;
  std::vector<std::string> failures;
};

}  // namespace

TEST_CASE("a restarted agent adopts every pod with new listeners in the old slot") {
  const TestNetns first({"10.1.0.5/24"});
  const TestNetns second({"10.1.0.6/24", "fd00::6/64"});
  Node node;
  node.join(first, "c1");
  node.join(second, "c2");
  node.restart();
  const auto pods = node.adopt();
  CHECK(node.failures.empty());
  REQUIRE(pods.size() == 2);
  CHECK(pods[0].spec.id == "c1");
  CHECK(pods[0].slot == 1);
  CHECK(pods[0].listeners.size() == 1);
  CHECK(pods[1].slot == 2);
  CHECK(kernel().listeners.size() == 6);
  CHECK(node.enroller->verify("c1"));
  CHECK(node.enroller->verify("c2"));
}

TEST_CASE("pods whose namespace ended while no agent ran are cleaned up in silence") {
  TestNetns netns;
  Node node;
  node.join(netns, "c1");
  node.enroller.reset();  // lets go of the namespace
  netns.remove();
  node.restart();
  CHECK(node.adopt().empty());
  CHECK(node.failures.empty());
  CHECK(kernel().attached.empty());
  CHECK_FALSE(std::filesystem::exists(node.dir.path("pods/c1.json")));
}

TEST_CASE("a record that outlived its pod takes nothing from the pod that has its slot now") {
  Node node;
  std::string record;
  {
    TestNetns netns({"10.1.0.5/24"});
    node.join(netns, "c1");
    record = testing::slurp(node.dir.path("pods/c1.json"));
    REQUIRE(node.enroller->begin_leave("c1"));
    REQUIRE(node.enroller->finish_leave("c1"));
  }
  node.restart();
  const TestNetns next({"10.1.0.6/24"});
  node.join(next, "c2");
  // A disk that took no removal has it still.
  const std::size_t slot = record.find("1", record.find("\"slot\""));
  record.replace(slot, 1, std::to_string(node.enroller->slot_of("c2")));
  spill(node.dir.path("pods/c1.json"), record);
  CHECK(node.adopt().empty());
  CHECK(node.failures.empty());
  CHECK(kernel().attached.size() == 1);
  CHECK(node.enroller->verify("c2"));
  CHECK_FALSE(std::filesystem::exists(node.dir.path("pods/c1.json")));
}

TEST_CASE("pods are adopted from a directory that takes no writes, and tried again in one slot") {
  const TestNetns netns;
  Node node;
  node.join(netns, "c1");
  node.restart();
  SECTION("a full disk") {
    std::filesystem::create_symlink("/dev/full", node.dir.path("pods/.c1.json.new"));
    CHECK(node.adopt().size() == 1);
    CHECK(node.failures.empty());
    CHECK(node.enroller->verify("c1"));
  }
  SECTION("hooks that are gone, and cannot be attached") {
    REQUIRE(node.datapath->detach_pod(1, -1, -1));
    node.datapath->release_slot(1);
    kernel().fails_at = "attach";
    for (int i = 0; i < 3; ++i) CHECK(node.adopt().empty());
    CHECK(kernel().used_slots.size() == 1);
  }
}

TEST_CASE("a path that names another namespace now is not the pod") {
  const TestNetns other({"10.1.0.5/24"});
  Node node;
  {
    TestNetns netns({"10.1.0.5/24"});
    node.join(netns, "c1");
    node.enroller.reset();
  }
  // The runtime used the name again.
  std::string record = testing::slurp(node.dir.path("pods/c1.json"));
  const auto start = record.find("/run/netns/");
  record.replace(start, record.find('"', start) - start, other.path());
  spill(node.dir.path("pods/c1.json"), record);
  node.restart();
  CHECK(node.adopt().empty());
  CHECK(kernel().attached.empty());
}

TEST_CASE("a DEL that found no agent is carried out at the start") {
  const TestNetns netns;
  Node node;
  node.join(netns, "c1");
  node.restart();
  spill(node.dir.path("tombstones/c1"), "");
  spill(node.dir.path("tombstones/never-joined"), "");
  CHECK(node.adopt().empty());
  CHECK(node.failures.empty());
  CHECK(kernel().attached.empty());
  CHECK(std::filesystem::is_empty(node.dir.path("tombstones")));
}

TEST_CASE("a join makes an old tombstone of its id void") {
  const TestNetns netns;
  Node node;
  spill(node.dir.path("tombstones/c1"), "");
  node.join(netns, "c1");
  node.restart();
  CHECK(node.adopt().size() == 1);
}

TEST_CASE("a leave that the last agent had begun is finished") {
  const TestNetns netns;
  Node node;
  node.join(netns, "c1");
  REQUIRE(node.enroller->begin_leave("c1"));
  node.restart();
  CHECK(node.adopt().empty());
  CHECK(node.failures.empty());
  CHECK(kernel().attached.empty());
}

TEST_CASE("one pod's failure is reported, keeps its hooks, stops no other, and a later join mends it") {
  const TestNetns first({"10.1.0.5/24"});
  const TestNetns second({"10.1.0.6/24"});
  Node node;
  node.join(first, "c1");
  node.join(second, "c2");
  node.restart();
  UniqueFd taken = testing::listen_in(first, "0.0.0.0:15008");  // a program that used the agent's absence
  const auto pods = node.adopt();
  REQUIRE(pods.size() == 1);
  CHECK(pods[0].spec.id == "c2");
  REQUIRE(node.failures.size() == 1);
  CHECK_THAT(node.failures[0], Catch::Contains("c1") && Catch::Contains("15008"));
  CHECK(kernel().attached.contains(1));
  CHECK_FALSE(node.enroller->verify("c1"));
  taken.reset();
  const auto mended = node.enroller->join(spec_for(first, "c1"), first.open());
  REQUIRE(mended);
  CHECK(mended->slot == 1);
  CHECK(mended->listeners.size() == 1);
  CHECK(node.enroller->verify("c1"));
}

TEST_CASE("adopting again mends what failed and leaves alone what is joined") {
  const TestNetns first({"10.1.0.5/24"});
  const TestNetns second({"10.1.0.6/24"});
  Node node;
  node.join(first, "c1");
  node.join(second, "c2");
  node.restart();
  UniqueFd taken = listen_in(first, "0.0.0.0:15008", false);
  const auto pods = node.adopt();
  REQUIRE(pods.size() == 1);
  CHECK(node.failures.size() == 1);
  CHECK(node.adopt().empty());
  CHECK(node.failures.size() == 1);
  taken.reset();
  const auto mended = node.adopt();
  CHECK(node.failures.empty());
  REQUIRE(mended.size() == 1);
  CHECK(mended[0].spec.id == "c1");
  CHECK(mended[0].slot == 1);
  CHECK(node.enroller->verify("c1"));
  CHECK(node.enroller->verify("c2"));
}

TEST_CASE("a spoilt record is reported and its pod stays blocked until it joins again, in its old slot") {
  const TestNetns netns;
  Node node;
  node.join(netns, "c1");
  spill(node.dir.path("pods/c1.json"), "");
  node.restart();
  CHECK(node.adopt().empty());
  CHECK(node.failures.size() == 2);  // the record, and the slot that nobody names
  CHECK(kernel().attached.contains(1));
  const auto pod = node.enroller->join(spec_for(netns), netns.open());
  REQUIRE(pod);
  CHECK(pod->slot == 1);
}

TEST_CASE("hooks that did not outlive the agent are attached again in a slot that is free") {
  const TestNetns netns;
  Node node;
  node.join(netns, "c1");
  kernel().attached.clear();  // the bpffs was emptied
  node.restart();
  auto pods = node.adopt();
  REQUIRE(pods.size() == 1);
  const std::uint32_t slot = pods[0].slot;
  CHECK(kernel().attached.contains(slot));
  CHECK(node.enroller->slot_of("c1") == slot);
  pods.clear();  // its listeners
  node.restart();
  pods = node.adopt();
  REQUIRE(pods.size() == 1);
  CHECK(pods[0].slot == slot);  // the record has the new one
}

TEST_CASE("a pod whose adoption ran out of descriptors, wherever, is adopted once there are some") {
  const TestNetns netns({"10.1.0.5/24"});
  unsigned failed = 0;
  for (unsigned more = 0; more < 12; ++more) {
    CAPTURE(more);
    Node node;
    node.join(netns, "c1");
    node.restart();
    std::vector<Pod> pods;
    {
      const FewDescriptors few(more);
      pods = node.adopt();
    }
    CHECK(pods.size() + node.failures.size() == 1);
    CHECK(kernel().attached.contains(1));
    if (!pods.empty()) break;
    ++failed;
    CHECK_FALSE(node.enroller->verify("c1"));
    pods = node.adopt();
    CHECK(node.failures.empty());
    REQUIRE(pods.size() == 1);
    CHECK(pods[0].slot == 1);
    CHECK(pods[0].listeners.size() == 1);
    CHECK(node.enroller->verify("c1"));
  }
  CHECK(failed > 2);
  CHECK(failed < 12);
}

TEST_CASE("a pod that could not be served is adopted again, beside the listeners that some worker may have") {
  const TestNetns netns({"10.1.0.5/24"});
  Node node;
  node.join(netns, "c1");
  node.restart();
  const auto lost = node.adopt();
  REQUIRE(lost.size() == 1);
  node.enroller->forget_listeners("c1");
  CHECK_FALSE(node.enroller->has_listeners("c1"));
  CHECK_FALSE(node.enroller->verify("c1"));
  CHECK(kernel().attached.contains(1));
  const auto pods = node.adopt();
  CHECK(node.failures.empty());
  REQUIRE(pods.size() == 1);
  CHECK(pods[0].slot == 1);
  CHECK(node.enroller->has_listeners("c1"));
  CHECK(node.enroller->verify("c1"));
}

TEST_CASE("a pod without listeners that leaves is left to whoever ends that") {
  const TestNetns netns({"10.1.0.5/24"});
  Node node;
  node.join(netns, "c1");
  node.enroller->forget_listeners("c1");
  REQUIRE(node.enroller->begin_leave("c1"));
  CHECK(node.adopt().empty());
  CHECK(node.failures.empty());
  CHECK(kernel().attached.contains(1));  // its live connections still need the hooks
  REQUIRE(node.enroller->finish_leave("c1"));
  CHECK(kernel().attached.empty());
}
