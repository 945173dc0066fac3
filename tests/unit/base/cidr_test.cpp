// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "base/address.hpp"

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

TEST_CASE("a range contains its addresses and no others") {
  struct Case {
    const char* range;
    const char* address;
    bool is_inside;
  };
  const Case cases[] = {
      {"10.0.0.0/8", "10.255.255.255", true},
      {"10.0.0.0/8", "11.0.0.0", false},
      {"10.1.0.0/15", "10.1.255.255", true},
      {"10.0.0.0/15", "10.2.0.0", false},
      {"192.168.4.0/22", "192.168.7.255", true},
      {"192.168.4.0/22", "192.168.8.0", false},
      {"10.0.0.7/32", "10.0.0.7", true},
      {"10.0.0.7/32", "10.0.0.6", false},
      {"10.0.0.7", "10.0.0.7", true},
      {"10.0.0.7", "10.0.0.8", false},
      {"0.0.0.0/0", "255.1.2.3", true},
      {"0.0.0.0/0", "::1", false},
      {"::/0", "fd00::1", true},
      {"::/0", "10.0.0.1", false},
      {"fd00::/8", "fdff::1", true},
      {"fd00::/8", "fe00::1", false},
      {"2001:db8::/33", "2001:db8:7fff::", true},
      {"2001:db8::/33", "2001:db8:8000::", false},
      {"::1/128", "::1", true},
      {"::1/128", "::", false},
      {"10.9.9.9/8", "10.1.1.1", true},  // host bits do not matter
  };
  for (const Case& each : cases) {
    CAPTURE(each.range, each.address);
    const auto range = Cidr::parse(each.range);
    REQUIRE(range);
    CHECK(range->contains(*IpAddress::parse(each.address)) == each.is_inside);
  }
}

TEST_CASE("a masked address has the bits of the prefix and no others") {
  struct Case {
    const char* address;
    unsigned bits;
    const char* expected;
  };
  const Case cases[] = {
      {"10.255.255.255", 0, "0.0.0.0"},     {"10.255.255.255", 11, "10.224.0.0"},
      {"10.255.255.255", 16, "10.255.0.0"}, {"10.255.255.255", 31, "10.255.255.254"},
      {"10.1.2.3", 32, "10.1.2.3"},         {"fdff:ffff::1", 0, "::"},
      {"fdff:ffff::1", 20, "fdff:f000::"},  {"fdff::ffff", 128, "fdff::ffff"},
      {"fdff::ffff", 127, "fdff::fffe"},
  };
  for (const Case& each : cases) {
    CAPTURE(each.address, each.bits);
    CHECK(IpAddress::parse(each.address)->masked(each.bits).to_string() == each.expected);
  }
}

TEST_CASE("ranges print with their length") {
  CHECK(Cidr::parse("10.0.0.0/8")->to_string() == "10.0.0.0/8");
  CHECK(Cidr::parse("10.0.0.1")->to_string() == "10.0.0.1/32");
  CHECK(Cidr::parse("fd00::")->to_string() == "fd00::/128");
}

TEST_CASE("what is no range is refused") {
  for (const char* text : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "fd00::/129",
                           "10.0.0.0/8 ", "10.0.0.0/ 8", "10.0.0.0/4294967304", "ten/8"}) {
    CAPTURE(text);
    CHECK_FALSE(Cidr::parse(text));
  }
}

TEST_CASE("a prefix longer than the address compares the whole address") {
  const IpAddress address = *IpAddress::parse("10.0.0.1");
  CHECK(address.in_prefix(address, 200));
  CHECK_FALSE(address.in_prefix(*IpAddress::parse("10.0.0.2"), 200));
}
