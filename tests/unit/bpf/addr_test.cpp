// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "lib/addr.bpf.h"

namespace {
cv_addr v4(std::uint32_t host_order) { return cv_addr_v4(bpf_htonl(host_order)); }
cv_addr v6(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  return cv_addr_v6(bpf_htonl(a), bpf_htonl(b), bpf_htonl(c), bpf_htonl(d));
}
}  // namespace

TEST_CASE("an address is told to be loopback, unspecified or IPv4") {
  struct Case {
    const char* text;
    cv_addr addr;
    bool is_v4, is_loopback, is_unspecified;
  };
  const Case cases[] = {
      {"127.0.0.1", v4(0x7f000001), true, true, false},
      {"127.255.255.254", v4(0x7ffffffe), true, true, false},
      {"::1", v6(0, 0, 0, 1), false, true, false},
      {"0.0.0.0", v4(0), true, false, true},
      {"::", v6(0, 0, 0, 0), false, false, true},
      {"10.0.0.1", v4(0x0a000001), true, false, false},
      {"126.255.255.255", v4(0x7effffff), true, false, false},
      {"2001:db8::1", v6(0x20010db8, 0, 0, 1), false, false, false},
      {"::ffff:127.0.0.1 as an IPv6 socket names it", v6(0, 0, 0xffff, 0x7f000001), true, true, false},
      {"::127.0.0.1, which is nothing", v6(0, 0, 0, 0x7f000001), false, false, false},
      {"fe80::1", v6(0xfe800000, 0, 0, 1), false, false, false},
  };
  for (const auto& c : cases) {
    INFO(c.text);
    CHECK(static_cast<bool>(cv_addr_is_v4(&c.addr)) == c.is_v4);
    CHECK(static_cast<bool>(cv_addr_is_loopback(&c.addr)) == c.is_loopback);
    CHECK(static_cast<bool>(cv_addr_is_unspecified(&c.addr)) == c.is_unspecified);
  }
}
