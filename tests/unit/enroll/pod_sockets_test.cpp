// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <sys/socket.h>
#include <catch2/catch.hpp>

#include "core/netns.hpp"
#include "core/socket.hpp"
#include "enroll/pod_sockets.hpp"
#include "scripted_datapath.hpp"
#include "test_netns.hpp"

namespace {

using namespace culvert;
using namespace culvert::enroll;
using testing::fresh_datapath;
using testing::kernel;
using testing::TestNetns;

auto open_in(const TestNetns& netns, const PodSocketsPlan& plan) {
  const UniqueFd fd = netns.open();
  const UniqueFd home = open_current_netns().value();
  return open_pod_sockets(plan, fresh_datapath()->socket_marker(), fd.get(), home.get());
}

int option(const UniqueFd& fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  REQUIRE(::getsockopt(fd.get(), level, name, &value, &length) == 0);
  return value;
}

}  // namespace

TEST_CASE("each worker has its listeners in the pod, marked before they listen") {
  const TestNetns netns;
  const auto workers = open_in(netns, {.workers = 2, .has_v4 = true, .has_v6 = true, .refuses_taken_ports = true});
  REQUIRE(workers);
  REQUIRE(workers->size() == 2);
  CHECK(kernel().marked_before_listen == 12);
  CHECK(kernel().marked_too_late == 0);
  for (const PodListeners& worker : *workers) {
    CHECK(local_endpoint(worker.v4.outbound.get())->to_string() == "127.0.0.1:15001");
    CHECK(local_endpoint(worker.v4.inbound_plaintext.get())->to_string() == "127.0.0.1:15006");
    CHECK(local_endpoint(worker.v4.tunnel.get())->to_string() == "0.0.0.0:15008");
    CHECK(local_endpoint(worker.v6.outbound.get())->to_string() == "[::1]:15001");
    CHECK(local_endpoint(worker.v6.inbound_plaintext.get())->to_string() == "[::1]:15006");
    CHECK(local_endpoint(worker.v6.tunnel.get())->to_string() == "[::]:15008");
    CHECK(option(worker.v4.outbound, IPPROTO_IP, IP_TRANSPARENT) == 1);
    CHECK(option(worker.v4.inbound_plaintext, IPPROTO_IP, IP_TRANSPARENT) == 1);
    CHECK(option(worker.v4.tunnel, IPPROTO_IP, IP_TRANSPARENT) == 0);
    CHECK(option(worker.v6.outbound, IPPROTO_IPV6, IPV6_TRANSPARENT) == 1);
    CHECK(option(worker.v6.tunnel, IPPROTO_IPV6, IPV6_V6ONLY) == 1);
    linger reset{};
    socklen_t length = sizeof(reset);
    REQUIRE(::getsockopt(worker.v4.outbound.get(), SOL_SOCKET, SO_LINGER, &reset, &length) == 0);
    CHECK((reset.l_onoff == 1 && reset.l_linger == 0));
    REQUIRE(::getsockopt(worker.v4.tunnel.get(), SOL_SOCKET, SO_LINGER, &reset, &length) == 0);
    CHECK(reset.l_onoff == 0);
    CHECK(option(worker.v4.tunnel, SOL_SOCKET, SO_ACCEPTCONN) == 1);
  }
}

TEST_CASE("a family that the pod lacks has no listeners") {
  const TestNetns netns({"10.1.0.5/24"});
  const auto workers = open_in(netns, {.workers = 1, .has_v4 = true, .has_v6 = false, .refuses_taken_ports = true});
  REQUIRE(workers);
  CHECK(workers->front().v4.tunnel);
  CHECK_FALSE(workers->front().v6.tunnel);
  CHECK_FALSE(workers->front().v6.outbound);
}

TEST_CASE("a port that a program of the pod has is an error that names it") {
  struct Case {
    const char* endpoint;
    bool is_reuseport;
    const char* port;
  };
  for (const Case& item : {Case{"0.0.0.0:15008", false, "15008"}, Case{"[::]:15008", false, "15008"},
                           Case{"10.1.0.5:15008", false, "15008"},
                           Case{"0.0.0.0:15008", true, "15008"},  // it would have shared the port with us
                           Case{"0.0.0.0:15001", true, "15001"}, Case{"[::]:15006", true, "15006"}}) {
    CAPTURE(item.endpoint, item.is_reuseport);
    const TestNetns netns;
    const UniqueFd taken = testing::listen_in(netns, item.endpoint, item.is_reuseport);
    const auto workers = open_in(netns, {.workers = 2, .has_v4 = true, .has_v6 = true, .refuses_taken_ports = true});
    REQUIRE_FALSE(workers);
    CHECK(workers.error().code() == ErrorCode::AlreadyExists);
    CHECK_THAT(workers.error().message(), Catch::Contains(std::string("port ") + item.port + " is taken"));
  }
}

TEST_CASE("a pod that is taken back gets new sockets beside the old ones") {
  const TestNetns netns;
  const auto before = open_in(netns, {.workers = 1, .has_v4 = true, .has_v6 = true, .refuses_taken_ports = true});
  REQUIRE(before);
  CHECK_FALSE(open_in(netns, {.workers = 1, .has_v4 = true, .has_v6 = true, .refuses_taken_ports = true}));
  CHECK(open_in(netns, {.workers = 1, .has_v4 = true, .has_v6 = true, .refuses_taken_ports = false}));
}

TEST_CASE("a socket that cannot be marked is not used") {
  const TestNetns netns;
  const UniqueFd fd = netns.open();
  const UniqueFd home = open_current_netns().value();
  const auto datapath = fresh_datapath();
  kernel().fails_at = "mark";
  CHECK_FALSE(open_pod_sockets({.workers = 1, .has_v4 = true, .has_v6 = false, .refuses_taken_ports = true},
                               datapath->socket_marker(), fd.get(), home.get()));
}
