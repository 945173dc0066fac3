// SPDX-License-Identifier: Apache-2.0
// The capture, live: what a pod's connections meet when the hooks are attached. The agent is played by this process.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <string>

#include <sys/socket.h>

#include "bed.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

struct Target {
  const char* text;
  int socket_family;
  const char* address;
};
constexpr Target kTargets[] = {{"IPv4", AF_INET, kElsewhereV4},
                               {"IPv6", AF_INET6, kElsewhereV6},
                               {"IPv4 on an IPv6 socket", AF_INET6, kElsewhereV4}};

UniqueFd& outbound_of(Bed& bed, const char* address) {
  return at(address, 0).address.is_v4() ? bed.outbound_v4 : bed.outbound_v6;
}

// A connect of the pod arrives at the agent's outbound listener, with the original destination as local address.
void check_captured(Bed& bed, const Target& target) {
  INFO(target.text);
  Sniffer wire(bed.node.get(), bed.home.get(), "n0");
  auto client = bed.socket(bed.pod.get(), target.socket_family);
  REQUIRE(bed.connect(client.get(), at(target.address, 80)) == 0);
  auto accepted = accept_within(outbound_of(bed, target.address));
  REQUIRE(accepted);
  CHECK(local_endpoint(accepted.get()) == at(target.address, 80));
  const auto own = at(target.address, 0).address.is_v4() ? kPodV4 : kPodV6;
  CHECK(peer_endpoint(accepted.get())->address == at(own, 0).address);
  CHECK(carries(client, accepted, "to the server"));
  CHECK(carries(accepted, client, "to the client"));
  CHECK(wire.tcp_packets(80) == 0);
}

// The agent's connection in a client's name arrives at the application, and the answer stays on lo.
void check_reaches_application(Bed& bed) {
  for (const auto& [own, client] : {std::pair{kPodV4, "10.77.0.9"}, std::pair{kPodV6, "fd77::9"}}) {
    INFO(own);
    Sniffer wire(bed.node.get(), bed.home.get(), "n0");
    auto app = bed.listener(bed.pod.get(), at(own, 8080));
    auto upstream = bed.spoofed_socket(at(client, 0));
    REQUIRE(bed.connect(upstream.get(), at(own, 8080)) == 0);
    auto accepted = accept_within(app);
    REQUIRE(accepted);
    CHECK(peer_endpoint(accepted.get())->address == at(client, 0).address);
    CHECK(carries(upstream, accepted, "request"));
    CHECK(carries(accepted, upstream, "response"));
    CHECK(wire.tcp_packets() == 0);
  }
}

}  // namespace

TEST_CASE("a connect of a joined pod is steered to the agent") {
  Bed bed("steer");
  bed.join();
  const auto verified = bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get());
  INFO((verified ? "" : verified.error().message()));
  CHECK(verified);
  for (const auto& target : kTargets) check_captured(bed, target);
  CHECK(bed.counter("connect_steered") == 3);
  CHECK(bed.counter("outbound_taken") == 3);
  CHECK(bed.counter("egress_captured_redirected") == 0);
  CHECK(bed.counter("egress_syn_redirected") == 0);
}

TEST_CASE("without the connect hook tc redirects every packet") {
  datapath::Datapath::Options options;
  options.allow_connect_hook = false;
  Bed bed("redirect", options);
  bed.join();
  for (const auto& target : kTargets) check_captured(bed, target);
  CHECK(bed.counter("connect_steered") == 0);
  CHECK(bed.counter("egress_syn_redirected") == 3);
  CHECK(bed.counter("egress_captured_redirected") > 3);
}

TEST_CASE("without a cgroup2 pods of both families are served, packet by packet") {
  datapath::Datapath::Options options;
  options.cgroup_dir = "/sys/fs/cgroup/culvert-not-there";
  Bed bed("nocgroup", options);
  CHECK_FALSE(bed.agent->capabilities().has_connect_hook);
  CHECK_FALSE(bed.agent->capabilities().has_sockops);
  CHECK_FALSE(bed.agent->capabilities().has_option_hook);
  const auto& notes = bed.agent->capabilities().notes;
  CHECK(std::ranges::any_of(
      notes, [](const std::string& note) { return note.find("PACKET_QDISC_BYPASS") != std::string::npos; }));
  bed.join();
  for (const auto& target : kTargets) check_captured(bed, target);
  CHECK(bed.counter("egress_syn_redirected") == 3);
  check_reaches_application(bed);
}

TEST_CASE("the agent's connection in a client's name reaches the application, replies stay on lo") {
  Bed bed("spoof");
  bed.join();
  check_reaches_application(bed);
}
