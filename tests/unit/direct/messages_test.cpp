// SPDX-License-Identifier: Apache-2.0
// Encoding and decoding: round trips, every truncation, every field that breaks its rule.
#include "direct/messages.hpp"

#include <array>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

using namespace culvert;          // NOLINT(google-build-using-namespace): a test of this module
using namespace culvert::direct;  // NOLINT(google-build-using-namespace)

namespace {

using Bytes = std::vector<std::uint8_t>;

const std::string kTraceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

Bytes encoded(const Message& message) {
  std::array<std::uint8_t, kMessageBytesMax> buffer;
  const ByteView bytes = encode(message, buffer);
  return {bytes.begin(), bytes.end()};
}

Open open_of(const char* source, const char* destination) {
  Open open;
  open.source = *Endpoint::parse(source);
  open.destination = *Endpoint::parse(destination);
  return open;
}

Open plain_open() { return open_of("10.1.0.5:43210", "10.2.0.7:80"); }

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Bytes field(std::uint8_t type, std::size_t size, std::uint8_t fill = 'x') {
  Bytes bytes = {type, static_cast<std::uint8_t>(size >> 8U), static_cast<std::uint8_t>(size)};
  bytes.resize(3 + size, fill);
  return bytes;
}

// decode from an exact heap copy, so that the sanitizer sees a read past the end.
bool is_well_formed(const Bytes& bytes) {
  const Bytes copy(bytes.begin(), bytes.end());
  return decode(copy).has_value();
}

const std::uint8_t kTicket[] = {1, 2, 3};

}  // namespace

TEST_CASE("every message survives the way there") {
  Open full = plain_open();
  full.baggage = "a=b,c=d";
  full.traceparent = kTraceparent;
  full.flags = 0xa0;
  const std::string long_baggage(kBaggageBytesMax, 'b');
  Open largest = open_of("[2001:db8::1]:65535", "[2001:db8::2]:65535");
  largest.baggage = long_baggage;
  largest.traceparent = kTraceparent;
  const Bytes long_ticket(kTicketBytesMax, 0x5a);
  std::vector<Message> messages = {plain_open(),
                                   full,
                                   largest,
                                   open_of("0.0.0.0:0", "255.255.255.255:1"),
                                   open_of("10.0.0.1:1", "[::1]:2"),
                                   open_of("[::]:0", "127.0.0.1:65535"),
                                   Accept{},
                                   End{},
                                   Reset{},
                                   GoAway{},
                                   Ticket{0, kTicket},
                                   Ticket{0xffff'ffffU, long_ticket},
                                   Unknown{0x08},
                                   Unknown{0x7f},
                                   Unknown{0x80},
                                   Unknown{0xff}};
  for (std::uint8_t reason = 1; reason <= 8; ++reason) messages.emplace_back(Refuse{static_cast<RefuseReason>(reason)});
  for (const Message& message : messages) {
    const Bytes bytes = encoded(message);
    CAPTURE(message.index(), bytes.size());
    REQUIRE_FALSE(bytes.empty());
    CHECK(bytes[0] == static_cast<std::uint8_t>(type_of(message)));
    const auto back = decode(bytes);
    REQUIRE(back);
    CHECK(*back == message);
  }
}

TEST_CASE("an OPEN of two IPv4 addresses is 15 bytes") {
  CHECK(encoded(plain_open()).size() == 15);
  CHECK(encoded(open_of("[fd00::1]:1", "[fd00::2]:2")).size() == 39);
}

TEST_CASE("no message can be cut short") {
  Open open = plain_open();
  open.baggage = "k=v";
  open.traceparent = kTraceparent;
  for (const Message& message : std::vector<Message>{open, open_of("[fd00::1]:1", "[fd00::2]:2"),
                                                     Refuse{RefuseReason::Draining}, Ticket{60, kTicket}}) {
    const Bytes bytes = encoded(message);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CAPTURE(message.index(), size);
      // OPEN is whole where its fixed part or a field ends.
      const bool is_boundary = message.index() == 0 && message == Message(open) && (size == 15 || size == 15 + 6);
      CHECK(is_well_formed({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}) == is_boundary);
    }
  }
}

TEST_CASE("a stray byte behind any message makes it malformed") {
  for (const Message& message : std::vector<Message>{plain_open(), Accept{}, Refuse{RefuseReason::Draining}, End{},
                                                     Reset{}, GoAway{}, Ticket{60, kTicket}}) {
    CAPTURE(message.index());
    CHECK_FALSE(is_well_formed(encoded(message) + Bytes{0}));
    CHECK_FALSE(is_well_formed(encoded(message) + Bytes{0x80, 0}));
    CHECK_FALSE(is_well_formed(encoded(message) + Bytes{0x80, 0, 1}));
  }
}

TEST_CASE("unknown fields are skipped with the top bit and refused without, in every message") {
  for (const Message& message : std::vector<Message>{plain_open(), Accept{}, Refuse{RefuseReason::Draining}, End{},
                                                     Reset{}, GoAway{}, Ticket{60, kTicket}}) {
    CAPTURE(message.index());
    const Bytes extended = encoded(message) + field(0x80, 0);
    const auto decoded = decode(extended);
    REQUIRE(decoded);
    CHECK(*decoded == message);
    CHECK(is_well_formed(encoded(message) + field(0xff, 300) + field(0x80, 2) + field(0x80, 2)));
    CHECK_FALSE(is_well_formed(encoded(message) + field(0x7f, 0)));
    CHECK_FALSE(is_well_formed(encoded(message) + field(0x80, 1) + field(0x03, 1)));
    CHECK_FALSE(is_well_formed(encoded(message) + field(0x00, 1)));
  }
}

TEST_CASE("the fields of OPEN belong to OPEN") {
  CHECK_FALSE(is_well_formed(encoded(Accept{}) + field(1, 3)));
  CHECK_FALSE(is_well_formed(encoded(End{}) + field(2, kTraceparentBytes)));
}

TEST_CASE("fields of OPEN that break their rules make it malformed") {
  const Bytes open = encoded(plain_open());
  CHECK(is_well_formed(open + field(1, 1)));
  CHECK(is_well_formed(open + field(1, kBaggageBytesMax)));
  CHECK(is_well_formed(open + field(2, kTraceparentBytes) + field(0x90, 7) + field(1, 1)));  // any order
  CHECK_FALSE(is_well_formed(open + field(1, 0)));
  CHECK_FALSE(is_well_formed(open + field(1, kBaggageBytesMax + 1)));
  CHECK_FALSE(is_well_formed(open + field(1, 1) + field(1, 1)));
  CHECK_FALSE(is_well_formed(open + field(2, 0)));
  CHECK_FALSE(is_well_formed(open + field(2, kTraceparentBytes - 1)));
  CHECK_FALSE(is_well_formed(open + field(2, kTraceparentBytes + 1)));
  CHECK_FALSE(is_well_formed(open + field(2, kTraceparentBytes) + field(2, kTraceparentBytes)));
}

TEST_CASE("the fixed part of OPEN accepts exactly what the document says") {
  const Bytes open = encoded(plain_open());
  for (unsigned flags = 0; flags < 256; ++flags) {
    Bytes changed = open;
    changed[1] = static_cast<std::uint8_t>(flags);
    CAPTURE(flags);
    CHECK(is_well_formed(changed) == ((flags & 0x0fU) == 0));
  }
  for (unsigned families = 0; families < 256; ++families) {
    Bytes changed = open;
    changed[2] = static_cast<std::uint8_t>(families);
    changed.resize(7);
    const auto size_of = [](unsigned nibble) -> std::size_t { return nibble == 4 ? 4 : nibble == 6 ? 16 : 0; };
    const std::size_t source = size_of(families >> 4U);
    const std::size_t destination = size_of(families & 0x0fU);
    changed.resize(7 + source + destination, 0x20);
    CAPTURE(families);
    CHECK(is_well_formed(changed) == (source != 0 && destination != 0));
  }
  Bytes no_port = open;
  no_port[5] = no_port[6] = 0;
  CHECK_FALSE(is_well_formed(no_port));
  Bytes no_source_port = open;
  no_source_port[3] = no_source_port[4] = 0;
  CHECK(is_well_formed(no_source_port));
}

TEST_CASE("an IPv4 address in IPv6 clothes is malformed on either side") {
  const Bytes mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 0, 5};
  const Bytes six = {0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const Bytes head = {0x01, 0x00, 0x66, 0, 1, 0, 2};
  CHECK(is_well_formed(head + six + six));
  CHECK_FALSE(is_well_formed(head + mapped + six));
  CHECK_FALSE(is_well_formed(head + six + mapped));
}

TEST_CASE("reasons: none is malformed, unknown ones are failures to connect") {
  CHECK_FALSE(is_well_formed({0x03, 0}));
  CHECK_FALSE(is_well_formed({0x03}));
  for (unsigned reason = 1; reason < 256; ++reason) {
    const auto decoded = decode(Bytes{0x03, static_cast<std::uint8_t>(reason)});
    REQUIRE(decoded);
    const RefuseReason got = std::get<Refuse>(*decoded).reason;
    CAPTURE(reason);
    CHECK(got == (reason <= 8 ? static_cast<RefuseReason>(reason) : RefuseReason::ConnectFailed));
    CHECK(to_string(got) != "unknown");
  }
}

TEST_CASE("a ticket has 1 to 2,048 bytes and ends where it says") {
  const auto ticket = [](std::size_t claimed, std::size_t sent) {
    Bytes bytes = {0x07, 0, 0, 0, 60, static_cast<std::uint8_t>(claimed >> 8U), static_cast<std::uint8_t>(claimed)};
    bytes.resize(7 + sent, 0xaa);
    return bytes;
  };
  CHECK(is_well_formed(ticket(1, 1)));
  CHECK(is_well_formed(ticket(kTicketBytesMax, kTicketBytesMax)));
  CHECK_FALSE(is_well_formed(ticket(0, 0)));
  CHECK_FALSE(is_well_formed(ticket(kTicketBytesMax + 1, kTicketBytesMax + 1)));
  CHECK_FALSE(is_well_formed(ticket(3, 2)));
  CHECK_FALSE(is_well_formed(ticket(2, 3)));
}

TEST_CASE("nothing, type 0 and more than the limit are malformed") {
  CHECK_FALSE(is_well_formed({}));
  CHECK_FALSE(is_well_formed({0}));
  CHECK(is_well_formed(Bytes{0x04} + field(0x80, kMessageBytesMax - 4)));
  CHECK_FALSE(is_well_formed(Bytes{0x04} + field(0x80, kMessageBytesMax - 3)));
}

TEST_CASE("a message of an unknown type keeps its number whatever is in it") {
  for (unsigned type = 8; type < 256; ++type) {
    const auto decoded = decode(Bytes{static_cast<std::uint8_t>(type), 1, 2, 3});
    REQUIRE(decoded);
    CHECK(std::get<Unknown>(*decoded).type == type);
    CHECK(static_cast<unsigned>(type_of(*decoded)) == type);
  }
}

TEST_CASE("what cannot be said is not encoded") {
  std::array<std::uint8_t, kMessageBytesMax> buffer;
  const std::string too_long(kBaggageBytesMax + 1, 'b');
  Open open = plain_open();
  open.baggage = too_long;
  CHECK(encode(open, buffer).empty());
  open = plain_open();
  open.traceparent = "00-short";
  CHECK(encode(open, buffer).empty());
  open = plain_open();
  open.destination.port = 0;
  CHECK(encode(open, buffer).empty());
  open = plain_open();
  open.flags = 1;
  CHECK(encode(open, buffer).empty());
  CHECK(encode(Ticket{60, {}}, buffer).empty());
  const Bytes long_ticket(kTicketBytesMax + 1);
  CHECK(encode(Ticket{60, long_ticket}, buffer).empty());
}

TEST_CASE("a buffer that is too small gives nothing and is not overrun") {
  Open open = plain_open();
  open.baggage = "k=v";
  for (const Message& message :
       std::vector<Message>{open, Accept{}, Refuse{RefuseReason::Draining}, Ticket{1, kTicket}}) {
    const std::size_t size = encoded(message).size();
    for (std::size_t room = 0; room <= size; ++room) {
      Bytes buffer(room);
      CAPTURE(message.index(), room);
      CHECK(encode(message, buffer).size() == (room == size ? size : 0));
    }
  }
}
