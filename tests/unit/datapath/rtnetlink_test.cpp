// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <cstring>

#include <linux/rtnetlink.h>

#include "datapath/rtnetlink.hpp"

using namespace culvert::datapath;

TEST_CASE("a netlink request is aligned and says its length") {
  NetlinkRequest request(RTM_NEWLINK, NLM_F_ACK);
  const ifinfomsg body{};
  request.body(&body, sizeof(body));
  request.attribute(IFLA_IFNAME, "abc", 4);
  request.attribute(IFLA_IFNAME, "de", 3);
  request.set_sequence(5);
  nlmsghdr header;
  std::memcpy(&header, request.bytes().data(), sizeof(header));
  CHECK(header.nlmsg_len == request.bytes().size());
  CHECK(header.nlmsg_len == NLMSG_LENGTH(sizeof(body)) + 8 + 8);
  CHECK(header.nlmsg_seq == 5);
  CHECK(header.nlmsg_flags == (NLM_F_REQUEST | NLM_F_ACK));
}

TEST_CASE("the loopback device is found without privileges, a missing one is an error") {
  auto netlink = RtNetlink::open();
  REQUIRE(netlink);
  const auto lo = netlink->device("lo");
  REQUIRE(lo);
  CHECK(lo->ifindex == 1);
  CHECK(lo->segments.gso_max_bytes >= 65536);
  const auto missing = netlink->device("cvnothere0");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message().find("cvnothere0") != std::string::npos);
  const auto all = netlink->devices();
  REQUIRE(all);
  CHECK(all->front().name == "lo");
}
