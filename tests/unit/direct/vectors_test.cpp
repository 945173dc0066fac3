// SPDX-License-Identifier: Apache-2.0
// The examples in docs/protocol.md section 12, both ways.
#include <array>
#include <map>
#include <string>

#include "direct/messages.hpp"
#include "protocol_document.hpp"

#include <catch2/catch.hpp>

using namespace culvert;          // NOLINT(google-build-using-namespace): a test of this module
using namespace culvert::direct;  // NOLINT(google-build-using-namespace)

namespace {

Open open_of(const char* source, const char* destination) {
  Open open;
  open.source = *Endpoint::parse(source);
  open.destination = *Endpoint::parse(destination);
  return open;
}

std::map<std::string, Message> documented_messages() {
  static constexpr std::array<std::uint8_t, 4> kTicket = {0xde, 0xad, 0xbe, 0xef};
  Open with_fields = open_of("10.1.0.5:43210", "10.2.0.7:80");
  with_fields.baggage = "k8s.namespace.name=shop";
  with_fields.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  return {
      {"open-ipv4", open_of("10.1.0.5:43210", "10.2.0.7:80")},
      {"open-ipv6", open_of("[fd00:1::5]:43210", "[fd00:2::7]:80")},
      {"open-fields", with_fields},
      {"accept", Accept{}},
      {"refuse", Refuse{RefuseReason::ConnectRefused}},
      {"end", End{}},
      {"reset", Reset{}},
      {"goaway", GoAway{}},
      {"ticket", Ticket{3600, kTicket}},
  };
}

}  // namespace

TEST_CASE("every example of the protocol document encodes and decodes as written there") {
  const auto vectors = test::document_vectors();
  const auto messages = documented_messages();
  CHECK(vectors.size() == messages.size());
  for (const auto& [name, bytes] : vectors) {
    CAPTURE(name);
    const auto expected = messages.find(name);
    REQUIRE(expected != messages.end());
    const auto decoded = decode(bytes);
    REQUIRE(decoded);
    CHECK(*decoded == expected->second);
    std::array<std::uint8_t, kMessageBytesMax> buffer;
    CHECK(as_text(encode(expected->second, buffer)) == as_text(bytes));
  }
}
