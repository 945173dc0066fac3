// SPDX-License-Identifier: Apache-2.0
// The translation of a pod's plan into map entries; the maps themselves need root and are tested in tests/bpf.
#include <catch2/catch.hpp>

#include "datapath/pin_plan.hpp"
#include "datapath/pod_maps.hpp"

using namespace culvert;
using namespace culvert::datapath;

namespace {
IpAddress address(const char* text) { return *IpAddress::parse(text); }
}  // namespace

TEST_CASE("an address keeps its bytes on the way into a map and back") {
  for (const char* text : {"10.1.2.3", "2001:db8::5", "::1"}) CHECK(from_abi(to_abi(address(text))) == address(text));
  CHECK(to_abi(address("10.1.2.3")).words[2] == htonl(0xffff));
  CHECK(to_abi(address("10.1.2.3")).words[3] == htonl(0x0a010203));
}

TEST_CASE("a plan becomes entries, and flags only for what there is") {
  PodPlan plan;
  plan.slot = 7;
  plan.netns_cookie = 99;
  plan.addresses = {address("10.1.0.5"), address("fd00::5")};
  auto entries = entries_of(plan);
  CHECK(entries.pod.netns_cookie == 99);
  CHECK(entries.pod.flags == CV_POD_ACTIVE);
  CHECK(entries.addresses.size() == 2);

  plan.bypass_inbound = true;
  plan.excluded_ports = {{.port = 22, .is_inbound = true}};
  entries = entries_of(plan);
  CHECK(entries.pod.flags == (CV_POD_ACTIVE | CV_POD_BYPASS_INBOUND | CV_POD_EXCL_IN));
  REQUIRE(entries.ports.size() == 1);
  CHECK(entries.ports[0].slot == 7);
  CHECK(entries.ports[0].port == 22);
  CHECK(entries.ports[0].direction == CV_DIRECTION_IN);

  plan.excluded_cidrs = {{.cidr = *Cidr::parse("10.0.0.0/8"), .is_inbound = false},
                         {.cidr = *Cidr::parse("fd00::/16"), .is_inbound = false}};
  entries = entries_of(plan);
  CHECK((entries.pod.flags & CV_POD_EXCL_OUT) != 0);
  REQUIRE(entries.cidrs.size() == 2);
  CHECK(entries.cidrs[0].prefix_bits == CV_CIDR_FIXED_BITS + 96 + 8);
  CHECK(entries.cidrs[1].prefix_bits == CV_CIDR_FIXED_BITS + 16);
}

TEST_CASE("no pin has a dot in its name, which bpffs refuses") {
  const PinPlan pins{"/sys/fs/bpf/culvert"};
  for (const auto& path : {pins.map("cv_pods"), pins.link("connect4"), pins.pod_lookup(12), pins.pod_egress(12, 3)})
    CHECK(path.find('.') == std::string::npos);
  CHECK(pins.pod_egress(12, 3) == "/sys/fs/bpf/culvert/pods/12/egress_3");
}
