// SPDX-License-Identifier: Apache-2.0
#include "base/address.hpp"

#include <string>
#include <unordered_set>

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

TEST_CASE("addresses print as they were read, in their shortest form") {
  for (const char* text :
       {"0.0.0.0", "10.1.0.5", "255.255.255.255", "::", "::1", "fd00:1::5", "2001:db8::ff00:42:8329"}) {
    CAPTURE(text);
    const auto address = IpAddress::parse(text);
    REQUIRE(address);
    CHECK(address->to_string() == text);
  }
  CHECK(IpAddress::parse("2001:0DB8:0:0::1")->to_string() == "2001:db8::1");
}

TEST_CASE("what is no address is refused with the text in the message") {
  for (const char* text : {"", " ", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1 ", "10.0.0.1/8", "1.2.3.4.5", "::g",
                           "fe80::1%eth0", "[::1]", ":::", "localhost"}) {
    CAPTURE(text);
    const auto address = IpAddress::parse(text);
    REQUIRE_FALSE(address);
    CHECK(address.error().code() == ErrorCode::InvalidArgument);
    CHECK(address.error().message().find(text) != std::string::npos);
  }
}

TEST_CASE("a v4-mapped address is the IPv4 address") {
  const auto four = IpAddress::parse("10.1.0.5");
  const auto mapped = IpAddress::parse("::ffff:10.1.0.5");
  REQUIRE(four);
  REQUIRE(mapped);
  CHECK(*four == *mapped);
  CHECK(mapped->is_v4());
  CHECK(mapped->to_string() == "10.1.0.5");
  CHECK(mapped->wire().size() == 4);
  CHECK(four->mapped()[10] == 0xff);
  CHECK(std::hash<IpAddress>{}(*four) == std::hash<IpAddress>{}(*mapped));
}

TEST_CASE("addresses come from 4 or 16 bytes and from nothing else") {
  const std::uint8_t bytes[17] = {10, 1, 0, 5};
  CHECK(IpAddress::from_bytes(ByteView(bytes, 4))->to_string() == "10.1.0.5");
  CHECK(IpAddress::from_bytes(ByteView(bytes, 16))->family() == AF_INET6);
  for (const std::size_t size : {0UL, 3UL, 5UL, 15UL, 17UL}) CHECK_FALSE(IpAddress::from_bytes(ByteView(bytes, size)));
}

TEST_CASE("loopback and unspecified are known in both families") {
  const auto is_loopback = [](const char* text) { return IpAddress::parse(text)->is_loopback(); };
  CHECK(is_loopback("127.0.0.1"));
  CHECK(is_loopback("127.255.0.9"));
  CHECK(is_loopback("::1"));
  CHECK_FALSE(is_loopback("128.0.0.1"));
  CHECK_FALSE(is_loopback("::2"));
  CHECK_FALSE(is_loopback("1::1"));
  CHECK_FALSE(is_loopback("::"));
  CHECK(IpAddress().is_unspecified());
  CHECK(IpAddress::parse("0.0.0.0")->is_unspecified());
  CHECK(IpAddress::parse("::")->is_unspecified());
  CHECK_FALSE(IpAddress::parse("0.0.0.1")->is_unspecified());
}

TEST_CASE("endpoints are read with brackets around IPv6 only") {
  CHECK(Endpoint::parse("10.0.0.1:80")->to_string() == "10.0.0.1:80");
  CHECK(Endpoint::parse("[fd00::1]:65535")->to_string() == "[fd00::1]:65535");
  CHECK(Endpoint::parse("[10.0.0.1]:0")->to_string() == "10.0.0.1:0");
  for (const char* text :
       {"", "10.0.0.1", "10.0.0.1:", ":80", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:+1", "10.0.0.1: 80",
        "10.0.0.1:0x50", "fd00::1:80", "[fd00::1]", "[fd00::1]80", "[]:80", "host:80"}) {
    CAPTURE(text);
    CHECK_FALSE(Endpoint::parse(text));
  }
}

TEST_CASE("endpoints survive a sockaddr, in either form") {
  for (const char* text : {"10.0.0.1:80", "[fd00::1]:443", "0.0.0.0:0"}) {
    const Endpoint endpoint = *Endpoint::parse(text);
    for (const bool as_v6 : {false, true}) {
      CAPTURE(text, as_v6);
      sockaddr_storage storage;
      const socklen_t length = endpoint.to_sockaddr(storage, as_v6);
      const bool is_six = as_v6 || !endpoint.address.is_v4();
      CHECK(storage.ss_family == (is_six ? AF_INET6 : AF_INET));
      CHECK(length == (is_six ? sizeof(sockaddr_in6) : sizeof(sockaddr_in)));
      CHECK(Endpoint::from_sockaddr(storage) == endpoint);
    }
  }
  sockaddr_storage other{};
  other.ss_family = AF_UNIX;
  CHECK(Endpoint::from_sockaddr(other) == Endpoint{});
}

TEST_CASE("addresses and endpoints are keys of hash tables") {
  std::unordered_set<Endpoint> endpoints;
  for (unsigned i = 0; i < 1000; ++i) {
    endpoints.insert({*IpAddress::parse("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250)), 80});
    endpoints.insert({*IpAddress::parse("10.0.0.1"), static_cast<std::uint16_t>(i)});
  }
  CHECK(endpoints.size() == 1999);  // 10.0.0.1:80 is in both
}
