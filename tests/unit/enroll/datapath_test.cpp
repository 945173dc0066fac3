// SPDX-License-Identifier: Apache-2.0
// The enroller over the real datapath: what it joins is captured, what fails is gone without a trace, and a second agent takes over.
#include <cerrno>
#include <cstdlib>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/netns.hpp"
#include "core/socket.hpp"
#include "enroll/enroller.hpp"
#include "temp_dir.hpp"
#include "test_netns.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using testing::spec_for;
using testing::TempDir;
using testing::TestNetns;

// An agent with pins and state of its own.
struct Agent {
  Agent() : pin_dir(fmt::format("/sys/fs/bpf/cvenr-{}", ::getpid())) {
    datapath::Datapath::remove_pins(pin_dir);
    start();
  }
  ~Agent() {
    stop();
    datapath::Datapath::remove_pins(pin_dir);
  }
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  void start() {
    datapath::Datapath::Options options;
    options.pin_dir = pin_dir;
    auto opened = datapath::Datapath::open(options);
    INFO((opened ? std::string() : opened.error().message()));
    REQUIRE(opened);
    datapath = std::move(*opened);
    enroller = Enroller::open({.state_dir = dir.path(), .workers = 2}, *datapath).value();
  }
  void stop() {
    enroller.reset();
    datapath.reset();
  }
  Pod join(const TestNetns& netns, const std::string& id = "c1") {
    auto pod = enroller->join(spec_for(netns, id), netns.open());
    INFO((pod ? std::string() : pod.error().message()));
    REQUIRE(pod);
    return std::move(*pod);
  }

  TempDir dir;
  std::string pin_dir;
  std::unique_ptr<datapath::Datapath> datapath;
  std::unique_ptr<Enroller> enroller;
};

// An application of the pod that connects somewhere; the connection is under way when this returns.
UniqueFd connect_from(const TestNetns& netns, const std::string& destination) {
  const UniqueFd fd = netns.open();
  const UniqueFd home = open_current_netns().value();
  const auto guard = NetnsGuard::enter(fd.get(), home.get());
  REQUIRE(guard);
  const Endpoint endpoint = Endpoint::parse(destination).value();
  UniqueFd socket(tcp_socket(endpoint.address.family()));
  REQUIRE(socket);
  const int error = start_connect(socket.get(), endpoint);
  CHECK((error == 0 || error == EINPROGRESS));
  return socket;
}

// What one of the workers' outbound listeners accepted: the destination that the application wanted.
std::string captured_destination(const Pod& pod, bool is_v6) {
  std::vector<pollfd> waits;
  for (const PodListeners& worker : pod.listeners)
    waits.push_back({(is_v6 ? worker.v6 : worker.v4).outbound.get(), POLLIN, 0});
  if (::poll(waits.data(), waits.size(), 2'000) <= 0) return "nothing";
  for (const pollfd& wait : waits) {
    if ((wait.revents & POLLIN) == 0) continue;
    const UniqueFd accepted(::accept4(wait.fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    return local_endpoint(accepted.get())->to_string();
  }
  return "nothing";
}

// Ways out of the pod, as its own CNI plugin makes them.
void give_routes(const TestNetns& netns) {
  netns.ip("route add default via 10.1.0.1 dev eth0");
  netns.ip("-6 route add default via fd00::1 dev eth0");
}

}  // namespace

TEST_CASE("a joined pod's connections reach the agent, in both families") {
  const TestNetns netns;
  give_routes(netns);
  Agent agent;
  const Pod pod = agent.join(netns);
  CHECK(agent.enroller->verify("c1"));
  const UniqueFd v4 = connect_from(netns, "10.2.0.7:80");
  CHECK(captured_destination(pod, false) == "10.2.0.7:80");
  const UniqueFd v6 = connect_from(netns, "[fd02::7]:80");
  CHECK(captured_destination(pod, true) == "[fd02::7]:80");
}

TEST_CASE("joining twice leaves one pod that still captures") {
  const TestNetns netns;
  give_routes(netns);
  Agent agent;
  const Pod pod = agent.join(netns);
  const Pod again = agent.join(netns);
  CHECK(again.listeners.empty());
  CHECK(agent.datapath->pinned_pods().size() == 1);
  const UniqueFd socket = connect_from(netns, "10.2.0.7:80");
  CHECK(captured_destination(pod, false) == "10.2.0.7:80");
}

TEST_CASE("a join that fails leaves the datapath as it was") {
  const TestNetns netns;
  Agent agent;
  const UniqueFd taken = testing::listen_in(netns, "0.0.0.0:15008");
  CHECK_FALSE(agent.enroller->join(spec_for(netns), netns.open()));
  CHECK(agent.datapath->pinned_pods().empty());
  CHECK(std::filesystem::is_empty(agent.dir.path("pods")));
}

TEST_CASE("verify misses a device that came later, and the next join mends it") {
  const TestNetns netns;
  Agent agent;
  const Pod pod = agent.join(netns);
  netns.ip("link add net1 type bridge");
  CHECK_FALSE(agent.enroller->verify("c1"));
  CHECK(agent.join(netns).listeners.empty());
  CHECK(agent.enroller->verify("c1"));
}

TEST_CASE("a pod that has left is not captured, and its slot is free again") {
  const TestNetns netns;
  give_routes(netns);
  Agent agent;
  const Pod pod = agent.join(netns);
  REQUIRE(agent.enroller->begin_leave("c1"));
  const UniqueFd during = connect_from(netns, "10.2.0.7:80");
  REQUIRE(agent.enroller->finish_leave("c1"));
  CHECK(agent.datapath->pinned_pods().empty());
  const UniqueFd after = connect_from(netns, "10.2.0.7:80");
  pollfd wait{pod.listeners.front().v4.outbound.get(), POLLIN, 0};
  CHECK(::poll(&wait, 1, 300) == 0);
}

TEST_CASE("a pod that is taken back while it leaves is captured by its new listeners") {
  const TestNetns netns;
  give_routes(netns);
  Agent agent;
  const Pod before = agent.join(netns);
  REQUIRE(agent.enroller->begin_leave("c1"));
  const Pod after = agent.join(netns);
  REQUIRE(after.listeners.size() == 2);
  CHECK(agent.enroller->verify("c1"));
}

TEST_CASE("another agent takes the pods over by pins and state, and captures with its own listeners") {
  const TestNetns first;
  give_routes(first);
  Agent agent;
  std::uint32_t slot = 0;
  {
    const Pod pod = agent.join(first);
    slot = pod.slot;
  }
  agent.stop();
  agent.start();
  std::vector<std::string> failures;
  const auto pods = agent.enroller->adopt_all(
      [&](const std::string& id, const Error& error) { failures.push_back(id + error.message()); });
  CAPTURE(failures);
  REQUIRE(pods.size() == 1);
  CHECK(pods[0].slot == slot);
  CHECK(agent.enroller->verify("c1"));
  const UniqueFd socket = connect_from(first, "10.2.0.7:80");
  CHECK(captured_destination(pods[0], false) == "10.2.0.7:80");
}

TEST_CASE("sixty pods join and leave") {
  // Twelve where everything is some ten times slower (guests).
  const int count = std::getenv("CULVERT_SLOW_MACHINE") == nullptr ? 60 : 12;
  std::vector<std::unique_ptr<TestNetns>> netns;
  for (int i = 0; i < count; ++i)
    netns.push_back(std::make_unique<TestNetns>(std::vector<std::string>{fmt::format("10.1.1.{}/24", i + 1)}));
  Agent agent;
  std::vector<Pod> pods;
  for (const auto& one : netns) pods.push_back(agent.join(*one, fmt::format("c{}", pods.size())));
  CHECK(agent.datapath->pinned_pods().size() == pods.size());
  for (int i = 0; i < count; ++i) CHECK(agent.enroller->verify(fmt::format("c{}", i)));
  for (int i = 0; i < count; ++i) CHECK(agent.enroller->finish_leave(fmt::format("c{}", i)));
  CHECK(agent.datapath->pinned_pods().empty());
}
