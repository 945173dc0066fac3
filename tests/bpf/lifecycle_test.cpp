// SPDX-License-Identifier: Apache-2.0
// Joining, leaving, restarting: live connections stay, pins are taken over, and what was there before is there again.
#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bed.hpp"
#include "core/netns.hpp"
#include "datapath/capabilities.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

std::string output_of(const std::string& command) {
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string text;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  return text;
}

// Everything that joining may change in the pod's namespace.
std::string state_of(const Bed& bed) {
  const std::string pod = "ip netns exec " + bed.name + "-pod ";
  return output_of(pod +
                   "sh -c 'ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip "
                   "-d link show lo; "
                   "tc qdisc show; tc filter show dev eth0 egress; tc filter show dev eth0 ingress; "
                   "sysctl net.ipv4.conf.lo.accept_local net.ipv4.tcp_fwmark_accept net.ipv4.fwmark_reflect "
                   "net.ipv6.fwmark_reflect'");
}

// The lines that only one of two states has; short enough to be read in a failure.
std::vector<std::string> difference(const std::string& before, const std::string& after) {
  const auto lines_of = [](const std::string& text) {
    std::multiset<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
      if (line.find("fe80") == std::string::npos)
        lines.insert(line);  // comes when the kernel has checked it for duplicates
    return lines;
  };
  const auto a = lines_of(before);
  const auto b = lines_of(after);
  std::vector<std::string> different;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(different));
  return different;
}
const std::vector<std::string> kNone;

// Both ends of a connection of the pod with a server elsewhere.
struct Pair {
  UniqueFd listener, client, server;
};
Pair plain_connection(Bed& bed, const char* address, std::uint16_t port) {
  Pair pair;
  pair.listener = bed.listener(bed.node.get(), at(address, port));
  pair.client = bed.socket(bed.pod.get(), at(address, port).address.family());
  REQUIRE(bed.connect(pair.client.get(), at(address, port)) == 0);
  pair.server = accept_within(pair.listener);
  REQUIRE(pair.server);
  return pair;
}

}  // namespace

TEST_CASE("connections older than the joining stay as they are, both ways") {
  Bed bed("older");
  auto out_v4 = plain_connection(bed, kElsewhereV4, 80);
  auto out_v6 = plain_connection(bed, kElsewhereV6, 80);
  auto in_listener = bed.listener(bed.pod.get(), at(kPodV4, 8080));
  auto in_client = bed.socket(bed.node.get(), AF_INET);
  REQUIRE(bed.connect(in_client.get(), at(kPodV4, 8080)) == 0);
  auto in_server = accept_within(in_listener);
  REQUIRE(in_server);
  bed.join();
  for (int round = 0; round < 3; ++round) {
    CHECK(carries(out_v4.client, out_v4.server, "out"));
    CHECK(carries(out_v4.server, out_v4.client, "back"));
    CHECK(carries(out_v6.client, out_v6.server, "out"));
    CHECK(carries(out_v6.server, out_v6.client, "back"));
    CHECK(carries(in_client, in_server, "in"));
    CHECK(carries(in_server, in_client, "back"));
  }
  // One look per socket, then it is known.
  CHECK(bed.counter("egress_direct") == 3);
}

TEST_CASE("a pod that leaves keeps its captured connections, and new ones pass") {
  Bed bed("leave");
  bed.join();
  auto captured = bed.socket(bed.pod.get(), AF_INET);
  REQUIRE(bed.connect(captured.get(), at(kElsewhereV4, 80)) == 0);
  auto accepted = accept_within(bed.outbound_v4);
  REQUIRE(accepted);
  REQUIRE(bed.agent->stop_capture(bed.plan.slot));
  auto fresh = plain_connection(bed, kElsewhereV4, 80);
  CHECK(carries(fresh.client, fresh.server, "in the clear, as asked"));
  CHECK(carries(captured, accepted, "still to the agent"));
  CHECK(carries(accepted, captured, "and back"));
  CHECK(bed.counter("leaving_passed") > 0);

  // Joined again: new connections are captured, and the one made in between is left alone.
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  auto next = bed.socket(bed.pod.get(), AF_INET);
  REQUIRE(bed.connect(next.get(), at(kElsewhereV4, 80)) == 0);
  CHECK(accept_within(bed.outbound_v4));
  CHECK(carries(fresh.client, fresh.server, "as before"));
}

TEST_CASE("detaching puts everything back") {
  for (const bool allow_tcx : {true, false}) {
    INFO(allow_tcx);
    datapath::Datapath::Options options;
    options.allow_tcx = allow_tcx;
    Bed bed("detach", options);
    const auto before = state_of(bed);
    bed.join();
    CHECK(state_of(bed) != before);
    REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
    REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
    CHECK(difference(before, state_of(bed)) == kNone);
    CHECK(bed.agent->pinned_pods().empty());
    CHECK_FALSE(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));
    auto plain = plain_connection(bed, kElsewhereV4, 80);
    CHECK(carries(plain.client, plain.server, "in the clear"));
    // Again, and with no namespace: never an error.
    CHECK(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
    CHECK(bed.agent->detach_pod(bed.plan.slot, -1, bed.home.get()));
  }
}

TEST_CASE("a join attaches a filter, and settling makes links of it without losing a connection") {
  Bed bed("settle");
  if (!bed.agent->capabilities().has_tcx) {
    WARN("does not apply: without tcx the filter is what stays");
    return;
  }
  const auto before = state_of(bed);
  const auto filters = [&] { return output_of("tc -n " + bed.name + "-pod filter show dev eth0 egress"); };
  const auto has_link = [&] {
    return ::access((bed.options.pin_dir + "/pods/1").c_str(), F_OK) == 0 &&
           !output_of("ls " + bed.options.pin_dir + "/pods/1 | grep egress").empty();
  };
  bed.open_listeners();
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  CHECK(filters().find("cv_pod_egress") != std::string::npos);
  CHECK_FALSE(has_link());
  CHECK(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));
  auto captured = bed.socket(bed.pod.get(), AF_INET);
  REQUIRE(bed.connect(captured.get(), at(kElsewhereV4, 80)) == 0);
  auto accepted = accept_within(bed.outbound_v4);
  REQUIRE(accepted);

  for (int round = 0; round < 2; ++round) {
    REQUIRE(bed.agent->settle_pod(bed.plan, bed.pod.get(), bed.home.get()));
    CHECK(filters().find("cv_pod_egress") == std::string::npos);
    CHECK(has_link());
    CHECK(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));
    CHECK(carries(captured, accepted, "to the agent"));
    CHECK(carries(accepted, captured, "and back"));
    // Joined again: what is settled stays settled.
    REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
    CHECK(filters().find("cv_pod_egress") == std::string::npos);
  }
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(difference(before, state_of(bed)) == kNone);

  // A pod that leaves before it is settled leaves nothing either.
  bed.open_listeners();
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(difference(before, state_of(bed)) == kNone);
}

TEST_CASE("without clsact a join makes its links at once") {
  datapath::Datapath::Options options;
  options.allow_clsact = false;
  Bed bed("noclsact", options);
  if (!bed.agent->capabilities().has_tcx) {
    WARN("does not apply: without tcx there is clsact or nothing");
    return;
  }
  const auto before = state_of(bed);
  bed.join();
  CHECK(output_of("tc -n " + bed.name + "-pod qdisc show dev eth0").find("clsact") == std::string::npos);
  CHECK(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));
  auto captured = bed.socket(bed.pod.get(), AF_INET);
  REQUIRE(bed.connect(captured.get(), at(kElsewhereV4, 80)) == 0);
  CHECK(accept_within(bed.outbound_v4));
  REQUIRE(bed.agent->settle_pod(bed.plan, bed.pod.get(), bed.home.get()));
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(difference(before, state_of(bed)) == kNone);
}

TEST_CASE("what a pod's hooks take is tried where nobody else is") {
  const auto home = [] { return output_of("tc qdisc show dev lo; tc filter show dev lo egress; ls /run/netns"); };
  const auto before = home();
  const auto trial = datapath::try_pod_hooks();
  INFO((trial.clsact ? "" : trial.clsact.error().message())
       << (trial.sk_lookup ? "" : trial.sk_lookup.error().message()));
  CHECK(trial.clsact);
  CHECK(trial.sk_lookup);
  CHECK(difference(before, home()) == kNone);
}

TEST_CASE("hooks that cannot be attached are found out, and the notes say what to do") {
  datapath::PodHookTrial trial;
  // A thread without capabilities: what it makes has none either.
  std::thread([&trial] {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    const std::array<__user_cap_data_struct, 2> none{};
    if (::syscall(SYS_capset, &header, none.data()) == 0) trial = datapath::try_pod_hooks();
  }).join();
  REQUIRE_FALSE(trial.clsact);
  REQUIRE_FALSE(trial.sk_lookup);
  for (const bool has_tcx : {false, true}) {
    datapath::Capabilities capabilities;
    capabilities.has_tcx = has_tcx;
    datapath::read_pod_hooks(capabilities, trial);
    CHECK_FALSE(capabilities.has_clsact);
    CHECK_FALSE(capabilities.has_sk_lookup);
    REQUIRE(capabilities.notes.size() == 2);
    CHECK_THAT(capabilities.notes[0], Catch::StartsWith(has_tcx ? "Joins take" : "Pods cannot be captured") &&
                                          Catch::Contains("sch_ingress") && Catch::Contains("CONFIG_NET_CLS_BPF"));
    CHECK_THAT(capabilities.notes[1], Catch::Contains("sk_lookup") && Catch::Contains("CONFIG_INET"));
  }
}

TEST_CASE("a clsact qdisc of somebody else, and their filter, stay") {
  datapath::Datapath::Options options;
  options.allow_tcx = false;
  Bed bed("clsact", options);
  const std::string tc = "tc -n " + bed.name + "-pod ";
  run_or_fail(tc + "qdisc add dev eth0 clsact");
  run_or_fail(tc + "filter add dev eth0 egress prio 7 bpf bytecode '1,6 0 0 0,' flowid 1:1");
  const auto before = state_of(bed);
  bed.join();
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(difference(before, state_of(bed)) == kNone);
}

TEST_CASE("a clsact qdisc that others have come to use stays") {
  datapath::Datapath::Options options;
  options.allow_tcx = false;
  Bed bed("clsact2", options);
  bed.join();
  run_or_fail("tc -n " + bed.name + "-pod filter add dev eth0 ingress prio 7 bpf bytecode '1,6 0 0 0,' flowid 1:1");
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  const auto left = output_of("tc -n " + bed.name + "-pod filter show dev eth0 ingress; tc -n " + bed.name +
                              "-pod filter show dev eth0 egress");
  CHECK(left.find("pref 7") != std::string::npos);
  CHECK(left.find("cv_pod_egress") == std::string::npos);
}

TEST_CASE("sysctls and segment sizes that were set already stay set") {
  Bed bed("sysctl");
  run_or_fail("ip netns exec " + bed.name +
              "-pod sysctl -qw net.ipv4.conf.lo.accept_local=1 net.ipv4.tcp_fwmark_accept=1");
  const auto before = state_of(bed);
  bed.join();
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(difference(before, state_of(bed)) == kNone);
}

TEST_CASE("another agent takes over the pins of the first") {
  for (const bool allow_tcx : {true, false}) {
    INFO(allow_tcx);
    datapath::Datapath::Options options;
    options.allow_tcx = allow_tcx;
    Bed bed("restart", options);
    bed.join();
    auto captured = bed.socket(bed.pod.get(), AF_INET);
    REQUIRE(bed.connect(captured.get(), at(kElsewhereV4, 80)) == 0);
    auto accepted = accept_within(bed.outbound_v4);
    REQUIRE(accepted);
    bed.restart_agent();
    const auto found = bed.agent->pinned_pods();
    REQUIRE(found.size() == 1);
    CHECK(found[0].slot == bed.plan.slot);
    CHECK(found[0].netns_cookie == bed.plan.netns_cookie);
    CHECK_FALSE(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));  // its listeners are gone
    CHECK(bed.agent->allocate_slot() != bed.plan.slot);
    // Socket states have survived: the old connection is still captured and still the agent's.
    CHECK(carries(captured, accepted, "to the agent"));
    CHECK(carries(accepted, captured, "and back"));
    bed.join();
    CHECK(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));
    auto next = bed.socket(bed.pod.get(), AF_INET);
    REQUIRE(bed.connect(next.get(), at(kElsewhereV4, 80)) == 0);
    CHECK(accept_within(bed.outbound_v4));
    CHECK(bed.counter("outbound_taken") == 2);
  }
}

TEST_CASE("pins of an agent with another mark are refused with the reason") {
  Bed bed("othermark");
  bed.agent.reset();
  auto other = bed.options;
  other.mark = 0x77;
  const auto opened = datapath::Datapath::open(other);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message().find("mark 0x539") != std::string::npos);
}

TEST_CASE("verifying names what is missing") {
  Bed bed("verify");
  bed.join();
  const auto message = [&] {
    const auto verified = bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get());
    return verified ? std::string("nothing") : verified.error().message();
  };
  CHECK(message() == "nothing");
  run_or_fail("ip -n " + bed.name + "-pod rule del fwmark 0x539");
  CHECK(message().find("IPv4 rule") != std::string::npos);
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  CHECK(message() == "nothing");
  bed.inbound_v6.reset();
  CHECK(message().find("IPv6 inbound listener") != std::string::npos);
  bed.open_listeners();
  ::unlink((bed.options.pin_dir + "/pods/1/lookup").c_str());
  CHECK(message().find("sk_lookup") != std::string::npos);
}

TEST_CASE("a device that is not Ethernet is refused and nothing is left behind") {
  Bed bed("ether");
  const auto before = state_of(bed);
  bed.plan.devices = {"eth0", "lo"};
  const auto attached = bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get());
  REQUIRE_FALSE(attached);
  CHECK(attached.error().message().find("lo of the pod is not Ethernet") != std::string::npos);
  CHECK(difference(before, state_of(bed)) == kNone);
  CHECK(bed.agent->pinned_pods().empty());
}

TEST_CASE("two agents of one machine keep to their own pods") {
  Bed one("two1");
  Bed two("two2");
  one.join();
  two.join();
  for (Bed* bed : {&one, &two}) {
    auto client = bed->socket(bed->pod.get(), AF_INET);
    REQUIRE(bed->connect(client.get(), at(kElsewhereV4, 80)) == 0);
    CHECK(accept_within(bed->outbound_v4));
    CHECK(bed->counter("connect_steered") == 1);
    CHECK(bed->counter("outbound_taken") == 1);
  }
}

TEST_CASE("a pod without IPv6 joins") {
  Bed bed("nov6");
  run_or_fail("ip netns exec " + bed.name + "-pod sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
  bed.plan.addresses = {at(kPodV4, 0).address};
  auto outbound = bed.listener(bed.pod.get(), at("127.0.0.1", 15001), true);
  auto inbound = bed.listener(bed.pod.get(), at("127.0.0.1", 15006), true);
  REQUIRE(bed.agent->set_listener(bed.plan.slot, datapath::ListenerRole::Outbound, AF_INET, outbound.get()));
  REQUIRE(bed.agent->set_listener(bed.plan.slot, datapath::ListenerRole::InboundPlaintext, AF_INET, inbound.get()));
  REQUIRE(bed.agent->attach_pod(bed.plan, bed.pod.get(), bed.home.get()));
  const auto verified = bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get());
  INFO((verified ? "" : verified.error().message()));
  CHECK(verified);
  auto client = bed.socket(bed.pod.get(), AF_INET);
  REQUIRE(bed.connect(client.get(), at(kElsewhereV4, 80)) == 0);
  CHECK(accept_within(outbound));
}

TEST_CASE(
    "a pod that switched its own IPv6 off is taken over; switched on again, nothing of it leaves past the agent") {
  Bed bed("v6off");
  bed.join();
  const std::string in_pod = "ip netns exec " + bed.name + "-pod ";
  run_or_fail(in_pod + "sysctl -qw net.ipv6.conf.all.disable_ipv6=1");
  bed.restart_agent();
  bed.join();
  const auto verified = bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get());
  INFO((verified ? "" : verified.error().message()));
  CHECK(verified);
  auto client = bed.socket(bed.pod.get(), AF_INET);
  REQUIRE(bed.connect(client.get(), at(kElsewhereV4, 80)) == 0);
  CHECK(accept_within(bed.outbound_v4));
  run_or_fail(in_pod + "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 && " + in_pod +
              "ip addr add fd91::2/64 dev eth0 nodad && " + in_pod + "ip route replace default via fd91::1");
  const auto server = bed.listener(bed.node.get(), at(kElsewhereV6, 80));
  auto late = bed.socket(bed.pod.get(), AF_INET6);
  CHECK(bed.connect(late.get(), at(kElsewhereV6, 80), 500) != 0);
  CHECK_FALSE(accept_within(server, 100));
  CHECK_FALSE(bed.agent->verify_pod(bed.plan, bed.pod.get(), bed.home.get()));
  // Prepared again it is as it was.
  bed.close_listeners();
  bed.join();
  auto again = bed.socket(bed.pod.get(), AF_INET6);
  REQUIRE(bed.connect(again.get(), at(kElsewhereV6, 80)) == 0);
  CHECK(accept_within(bed.outbound_v6));
}
