// SPDX-License-Identifier: Apache-2.0
#include "proxy/syn_packet.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace culvert::proxy {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes of(ByteView view) { return {view.begin(), view.end()}; }

Bytes tcp(std::uint8_t flags = 0x02, std::uint8_t words = 10) {
  Bytes header(words * 4U, 1);  // options: NOP
  const Bytes fixed{0x9c,  0x40, 0x00, 0x50, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, static_cast<std::uint8_t>(words << 4U),
                    flags, 0xfa, 0xf0, 0xde, 0xad, 0,    0};
  std::copy_n(fixed.begin(), std::min(fixed.size(), header.size()), header.begin());
  return header;
}
Bytes ipv4(std::uint8_t words = 5) {
  Bytes header(words * 4U, 1);
  // The lengths are those of a packet with payload, and the checksum is nobody's.
  const Bytes fixed{static_cast<std::uint8_t>(0x40U | words),
                    0x10,
                    0x05,
                    0xdc,
                    0x12,
                    0x34,
                    0x40,
                    0,
                    64,
                    6,
                    0xbe,
                    0xef,
                    10,
                    1,
                    0,
                    5,
                    10,
                    2,
                    0,
                    7};
  std::copy_n(fixed.begin(), std::min(fixed.size(), header.size()), header.begin());
  return header;
}
Bytes ipv6(std::uint8_t next = 6) {
  Bytes header(40, 0);
  header[0] = 0x60, header[4] = 0x05, header[6] = next, header[7] = 64;
  header[8] = 0xfd, header[23] = 5;
  header[24] = 0xfd, header[39] = 7;
  return header;
}

// The Internet checksum of what holds a right one is 0.
std::uint16_t checksum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i)
    sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8U : std::uint32_t{bytes[i]};
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

struct Frame {
  Bytes ip;
  Bytes payload;
};
// Takes a frame apart and checks everything in it that is a length or a checksum.
Frame open(ByteView frame) {
  const Bytes bytes = of(frame);
  REQUIRE(bytes.size() > kEthernetBytes + 20);
  CHECK(std::all_of(bytes.begin(), bytes.begin() + 12, [](std::uint8_t one) { return one == 0; }));
  const bool is_v4 = bytes[14] >> 4U == 4;
  CHECK(Bytes(bytes.begin() + 12, bytes.begin() + 14) == (is_v4 ? Bytes{0x08, 0x00} : Bytes{0x86, 0xdd}));
  const auto ip_bytes = static_cast<std::ptrdiff_t>(is_v4 ? (bytes[14] & 0x0fU) * 4U : 40U);
  Frame opened{Bytes(bytes.begin() + 14, bytes.begin() + 14 + ip_bytes),
               Bytes(bytes.begin() + 14 + ip_bytes, bytes.end())};
  Bytes pseudo;
  std::uint8_t protocol = 0;
  if (is_v4) {
    CHECK(checksum(opened.ip) == 0);
    CHECK((opened.ip[2] << 8U | opened.ip[3]) == static_cast<int>(bytes.size() - kEthernetBytes));
    pseudo = Bytes(opened.ip.begin() + 12, opened.ip.begin() + 20);
    protocol = opened.ip[9];
  } else {
    CHECK((opened.ip[4] << 8U | opened.ip[5]) == static_cast<int>(opened.payload.size()));
    pseudo = Bytes(opened.ip.begin() + 8, opened.ip.end());
    protocol = opened.ip[6];
  }
  pseudo = pseudo + Bytes{0, protocol, 0, static_cast<std::uint8_t>(opened.payload.size())};
  CHECK(checksum(protocol == 1 ? opened.payload : pseudo + opened.payload) == 0);
  return opened;
}

}  // namespace

TEST_CASE("a SYN is read from its headers, and nothing else is") {
  struct Case {
    const char* description;
    Bytes packet;
    bool is_syn;
  };
  Bytes fragment = ipv4() + tcp();
  fragment[6] = 0x20;
  Bytes udp = ipv4() + tcp();
  udp[9] = 17;
  Bytes version = ipv4() + tcp();
  version[0] = 0x55;
  Bytes short_header = ipv4() + tcp();
  short_header[0] = 0x44;
  Bytes mapped = ipv6() + tcp();
  std::fill_n(mapped.begin() + 8, 10, std::uint8_t{0});
  mapped[18] = mapped[19] = 0xff;
  const Case cases[] = {
      {"IPv4", ipv4() + tcp(), true},
      {"IPv4 with all options", ipv4(15) + tcp(0x02, 15), true},
      {"without TCP options", ipv4() + tcp(0x02, 5), true},
      {"IPv6", ipv6() + tcp(), true},
      {"with ECN", ipv6() + tcp(0xc2), true},
      {"with ACK", ipv4() + tcp(0x12), false},
      {"with FIN", ipv4() + tcp(0x03), false},
      {"with RST", ipv4() + tcp(0x06), false},
      {"no flags", ipv6() + tcp(0), false},
      {"payload", ipv4() + tcp() + Bytes{1}, false},
      {"a TCP header that is shorter than one", ipv4() + tcp(0x02, 4), false},
      {"extension headers", ipv6(0) + tcp(), false},
      {"a fragment", fragment, false},
      {"UDP", udp, false},
      {"another version", version, false},
      {"an IP header that is shorter than one", short_header, false},
      {"an IPv6 header alone", ipv6(), false},
      {"a v4-mapped address in IPv6", mapped, false},
      {"nothing", {}, false},
  };
  for (const Case& one : cases) {
    INFO(one.description);
    CHECK(SynPacket::parse(one.packet).has_value() == one.is_syn);
  }
  for (const Bytes& whole : {ipv4(15) + tcp(0x02, 15), ipv6() + tcp()}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CAPTURE(size);
      CHECK_FALSE(SynPacket::parse(ByteView(whole).first(size)));
    }
  }
}

TEST_CASE("a SYN is sent again as it was, with lengths and checksums of its own") {
  for (const Bytes& packet : {ipv4() + tcp(), ipv4(15) + tcp(0xc2, 15), ipv6() + tcp(), ipv6() + tcp(0x02, 5)}) {
    const auto syn = SynPacket::parse(packet);
    REQUIRE(syn);
    CHECK(syn->source().port == 40'000);
    CHECK(syn->destination().to_string() == (packet[0] >> 4U == 4 ? "10.2.0.7:80" : "[fd00::7]:80"));
    FrameBuffer buffer;
    buffer.fill(0xaa);
    const Frame again = open(syn->make_again(buffer));
    Bytes header(packet.end() - static_cast<std::ptrdiff_t>(again.payload.size()), packet.end());
    header[16] = again.payload[16];
    header[17] = again.payload[17];
    CHECK(again.payload == header);
    CHECK(Bytes(again.ip.begin() + 12, again.ip.end()) ==
          Bytes(packet.begin() + 12, packet.begin() + static_cast<std::ptrdiff_t>(again.ip.size())));
  }
}

TEST_CASE("a reset acknowledges the SYN, in the destination's name") {
  for (const Bytes& packet : {ipv4(15) + tcp(0x02, 15), ipv6() + tcp()}) {
    const auto syn = SynPacket::parse(packet);
    REQUIRE(syn);
    FrameBuffer buffer;
    buffer.fill(0xaa);
    const Frame reset = open(syn->make_reset(buffer));
    REQUIRE(reset.payload.size() == 20);
    CHECK(Bytes(reset.payload.begin(), reset.payload.begin() + 4) == Bytes{0x00, 0x50, 0x9c, 0x40});
    // The initial sequence number is the last there is: what follows is 0.
    CHECK(Bytes(reset.payload.begin() + 4, reset.payload.begin() + 14) == Bytes{0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x14});
    const bool is_v4 = packet[0] >> 4U == 4;
    const std::ptrdiff_t at = is_v4 ? 12 : 8;
    CHECK(reset.ip[static_cast<std::size_t>(is_v4 ? 15 : 23)] == 7);
    CHECK(reset.ip.back() == 5);
    CHECK(reset.ip[static_cast<std::size_t>(at)] == packet[static_cast<std::size_t>(at)]);
  }
}

TEST_CASE("an unreachable quotes the SYN") {
  for (const Bytes& packet : {ipv4(15) + tcp(0x02, 15), ipv4() + tcp(0x02, 5), ipv6() + tcp()}) {
    const auto syn = SynPacket::parse(packet);
    REQUIRE(syn);
    FrameBuffer buffer;
    buffer.fill(0xaa);
    const Frame answer = open(syn->make_unreachable(buffer));
    const bool is_v4 = packet[0] >> 4U == 4;
    CHECK(answer.ip[is_v4 ? 9 : 6] == (is_v4 ? 1 : 58));
    CHECK(answer.payload[0] == (is_v4 ? 3 : 1));
    CHECK(answer.payload[1] == (is_v4 ? 1 : 3));
    CHECK(Bytes(answer.payload.begin() + 8, answer.payload.end()) == of(syn->bytes()));
  }
}

}  // namespace culvert::proxy
