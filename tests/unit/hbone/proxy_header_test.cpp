// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <string>

#include <fmt/format.h>

#include "hbone/proxy_header.hpp"

using namespace culvert;
using namespace culvert::hbone;

namespace {

std::string hex(const std::vector<std::uint8_t>& bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace

TEST_CASE("a PROXY header has the source, the destination and the identity") {
  const auto v4 = Endpoint::parse("10.1.0.5:4000").value();
  const auto other_v4 = Endpoint::parse("10.2.0.7:80").value();
  const auto v6 = Endpoint::parse("[2001:db8::1]:443").value();
  const std::string signature = "0d0a0d0a000d0a515549540a";
  CHECK(hex(make_proxy_header(v4, other_v4, {})) == signature + "2111000c" + "0a010005" + "0a020007" + "0fa0" + "0050");
  CHECK(hex(make_proxy_header(v4, other_v4, "spiffe://a")) ==
        signature + "21110019" + "0a010005" + "0a020007" + "0fa0" + "0050" + "d0000a" + "7370696666653a2f2f61");
  CHECK(hex(make_proxy_header(v6, v6, {})) == signature + "21210024" + "20010db8000000000000000000000001" +
                                                  "20010db8000000000000000000000001" + "01bb" + "01bb");
  CHECK(hex(make_proxy_header(v4, v6, {})) == signature + "21210024" + "00000000000000000000ffff0a010005" +
                                                  "20010db8000000000000000000000001" + "0fa0" + "01bb");
}
