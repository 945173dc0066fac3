// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

namespace {

using Bytes = std::vector<std::uint8_t>;

// Stands for bpf_skb_load_bytes.
int cv_load_bytes(const void* packet, std::uint32_t offset, void* to, std::uint32_t bytes) {
  const auto& frame = *static_cast<const Bytes*>(packet);
  if (offset > frame.size() || bytes > frame.size() - offset) return -14;
  std::memcpy(to, frame.data() + offset, bytes);
  return 0;
}

}  // namespace

#include "lib/packet.bpf.h"

namespace {

constexpr std::uint8_t kSyn = 0x02, kAck = 0x10, kRst = 0x04;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Bytes ethernet() { return Bytes(14, 0xee); }
Bytes tcp(std::uint8_t flags, std::uint8_t words = 5) {
  Bytes header(words * 4U, 0);
  header[0] = 0x9c, header[1] = 0x40;  // 40000
  header[2] = 0x00, header[3] = 0x50;  // 80
  header[12] = static_cast<std::uint8_t>(words << 4);
  header[13] = flags;
  return header;
}
Bytes ipv4(std::uint8_t protocol, std::uint8_t words = 5, std::uint16_t fragment = 0) {
  Bytes header(words * 4U, 0);
  header[0] = static_cast<std::uint8_t>(0x40 | words);
  header[6] = static_cast<std::uint8_t>(fragment >> 8), header[7] = static_cast<std::uint8_t>(fragment);
  header[9] = protocol;
  header[12] = 10, header[15] = 1;
  header[16] = 10, header[19] = 2;
  return header;
}
Bytes ipv6(std::uint8_t next) {
  Bytes header(40, 0);
  header[0] = 0x60;
  header[6] = next;
  header[8] = 0xfd, header[23] = 1;
  header[24] = 0xfd, header[39] = 2;
  return header;
}
Bytes extension(std::uint8_t next, std::uint8_t length = 0) {
  Bytes header((length + 1U) * 8U, 0);
  header[0] = next, header[1] = length;
  return header;
}

// A frame that is what its sender says; `ethernet()` leaves the type open.
cv_parse parse(Bytes frame, std::uint16_t ethertype, cv_tcp_packet& out) {
  if (frame.size() >= 14)
    frame[12] = static_cast<std::uint8_t>(ethertype >> 8), frame[13] = static_cast<std::uint8_t>(ethertype);
  out = {};
  return cv_parse_frame(&frame, static_cast<std::uint32_t>(frame.size()), ethertype, &out);
}

const Bytes kPayload{'h', 'i'};

}  // namespace

TEST_CASE("an IPv4 packet gives its addresses, ports and flags") {
  cv_tcp_packet out;
  REQUIRE(parse(ethernet() + ipv4(6) + tcp(kSyn), 0x0800, out) == CV_PARSE_TCP);
  CHECK(out.is_v4 == 1);
  CHECK(out.tuple.source.words[2] == bpf_htonl(0xffff));
  CHECK(out.tuple.source.words[3] == bpf_htonl(0x0a000001));
  CHECK(out.tuple.destination.words[3] == bpf_htonl(0x0a000002));
  CHECK(out.tuple.source_port == 40000);
  CHECK(out.tuple.destination_port == 80);
  CHECK(out.is_syn == 1);
  CHECK(out.has_payload == 0);
}

TEST_CASE("an IPv6 packet gives the same, behind extension headers too") {
  cv_tcp_packet out;
  REQUIRE(parse(ethernet() + ipv6(6) + tcp(kAck) + kPayload, 0x86dd, out) == CV_PARSE_TCP);
  CHECK(out.is_v4 == 0);
  CHECK(out.tuple.destination.words[3] == bpf_htonl(2));
  CHECK(out.is_syn == 0);
  CHECK(out.has_payload == 1);
  REQUIRE(parse(ethernet() + ipv6(0) + extension(43) + extension(60, 2) + extension(6) + tcp(kSyn), 0x86dd, out) ==
          CV_PARSE_TCP);
  CHECK(out.tuple.destination_port == 80);
  // An authentication header counts its length in words of four bytes.
  Bytes authentication(16, 0);
  authentication[0] = 6, authentication[1] = 2;
  CHECK(parse(ethernet() + ipv6(51) + authentication + tcp(kSyn), 0x86dd, out) == CV_PARSE_TCP);
}

TEST_CASE("a SYN with an ACK is no SYN, and options are no payload") {
  cv_tcp_packet out;
  REQUIRE(parse(ethernet() + ipv4(6) + tcp(kSyn | kAck), 0x0800, out) == CV_PARSE_TCP);
  CHECK(out.is_syn == 0);
  REQUIRE(parse(ethernet() + ipv4(6, 15) + tcp(kRst, 15), 0x0800, out) == CV_PARSE_TCP);
  CHECK(out.has_payload == 0);
  REQUIRE(parse(ethernet() + ipv4(6, 6) + tcp(kAck, 8) + kPayload, 0x0800, out) == CV_PARSE_TCP);
  CHECK(out.has_payload == 1);
}

TEST_CASE("what cannot be judged is told from what is none of our business") {
  struct Case {
    const char* text;
    Bytes frame;
    std::uint16_t ethertype;
    cv_parse parsed;
  };
  const Bytes four = extension(60) + extension(60) + extension(60) + extension(60);
  auto long_tcp = tcp(kAck);
  long_tcp[12] = 6 << 4;
  const Case cases[] = {
      {"ARP", ethernet() + Bytes(28, 0), 0x0806, CV_PARSE_OTHER},
      {"UDP", ethernet() + ipv4(17) + Bytes(8, 0), 0x0800, CV_PARSE_OTHER},
      {"a fragment of UDP", ethernet() + ipv4(17, 5, 0x2000), 0x0800, CV_PARSE_OTHER},
      {"ICMPv6", ethernet() + ipv6(58) + Bytes(8, 0), 0x86dd, CV_PARSE_OTHER},
      {"a multicast report behind hop-by-hop options", ethernet() + ipv6(0) + extension(58), 0x86dd, CV_PARSE_OTHER},
      {"IPsec", ethernet() + ipv6(50) + Bytes(8, 0), 0x86dd, CV_PARSE_OTHER},
      {"a VLAN tag", ethernet() + Bytes(50, 0), 0x8100, CV_PARSE_VLAN},
      {"two VLAN tags", ethernet() + Bytes(50, 0), 0x88a8, CV_PARSE_VLAN},
      {"the first fragment", ethernet() + ipv4(6, 5, 0x2000) + tcp(kAck), 0x0800, CV_PARSE_FRAGMENT},
      {"a later fragment", ethernet() + ipv4(6, 5, 0x0001) + kPayload, 0x0800, CV_PARSE_FRAGMENT},
      {"an IPv6 fragment of TCP", ethernet() + ipv6(44) + extension(6) + tcp(kAck), 0x86dd, CV_PARSE_FRAGMENT},
      {"an IPv6 fragment that may hide TCP", ethernet() + ipv6(44) + extension(60), 0x86dd, CV_PARSE_FRAGMENT},
      {"one whose routing header may", ethernet() + ipv6(44) + extension(43) + extension(6), 0x86dd, CV_PARSE_FRAGMENT},
      {"one whose authentication header may", ethernet() + ipv6(44) + extension(51), 0x86dd, CV_PARSE_FRAGMENT},
      {"one whose hop-by-hop options may", ethernet() + ipv6(44) + extension(0), 0x86dd, CV_PARSE_FRAGMENT},
      {"a fragment of a fragment", ethernet() + ipv6(44) + extension(44), 0x86dd, CV_PARSE_FRAGMENT},
      {"an IPv6 fragment of UDP", ethernet() + ipv6(44) + extension(17), 0x86dd, CV_PARSE_OTHER},
      {"no IPv4 header", ethernet() + Bytes(19, 0x45), 0x0800, CV_PARSE_TRUNCATED},
      {"no TCP header", ethernet() + ipv4(6) + Bytes(19, 0), 0x0800, CV_PARSE_TRUNCATED},
      {"a TCP header that says it is longer than the packet", ethernet() + ipv4(6) + long_tcp, 0x0800,
       CV_PARSE_TRUNCATED},
      {"no IPv6 header", ethernet() + Bytes(39, 0x60), 0x86dd, CV_PARSE_TRUNCATED},
      {"an extension header cut off", ethernet() + ipv6(60) + Bytes{6}, 0x86dd, CV_PARSE_TRUNCATED},
      {"four extension headers", ethernet() + ipv6(60) + Bytes(four.begin(), four.end() - 8) + extension(6) + tcp(kAck),
       0x86dd, CV_PARSE_TCP},
      {"five", ethernet() + ipv6(60) + four + extension(6) + tcp(kAck), 0x86dd, CV_PARSE_EXTENSIONS},
  };
  for (const auto& c : cases) {
    INFO(c.text);
    cv_tcp_packet out;
    CHECK(parse(c.frame, c.ethertype, out) == c.parsed);
  }
  // An IPv4 header that says it is shorter than a header can be.
  auto short_header = ethernet() + ipv4(6) + tcp(kAck);
  short_header[14] = 0x44;
  cv_tcp_packet out;
  CHECK(parse(short_header, 0x0800, out) == CV_PARSE_TRUNCATED);
}

TEST_CASE("a frame is judged by its own type, and dropped where its sender told another") {
  struct Case {
    const char* text;
    std::uint16_t in_frame, told;
    cv_parse parsed;
  };
  const Case cases[] = {
      {"IPv4 said to be ARP", 0x0800, 0x0806, CV_PARSE_ETHERTYPE},
      {"IPv4 said to be of any type", 0x0800, 0x0003, CV_PARSE_ETHERTYPE},
      {"IPv4 said to be IPv6", 0x0800, 0x86dd, CV_PARSE_ETHERTYPE},
      {"IPv6 said to be LLDP", 0x86dd, 0x88cc, CV_PARSE_ETHERTYPE},
      {"ARP said to be IPv4", 0x0806, 0x0800, CV_PARSE_ETHERTYPE},
      {"a VLAN tag said to be ARP", 0x8100, 0x0806, CV_PARSE_ETHERTYPE},
      {"a VLAN tag said to be IPv4", 0x8100, 0x0800, CV_PARSE_ETHERTYPE},
      {"a length said to be IPv4", 0x0026, 0x0800, CV_PARSE_ETHERTYPE},
      {"ARP", 0x0806, 0x0806, CV_PARSE_OTHER},
      {"a length, as a bridge sends it", 0x0026, 0x0004, CV_PARSE_OTHER},
      {"IPv4", 0x0800, 0x0800, CV_PARSE_TCP},
  };
  for (const auto& c : cases) {
    INFO(c.text);
    Bytes frame = ethernet() + ipv4(6) + tcp(kAck) + kPayload;
    frame[12] = static_cast<std::uint8_t>(c.in_frame >> 8), frame[13] = static_cast<std::uint8_t>(c.in_frame);
    cv_tcp_packet out{};
    CHECK(cv_parse_frame(&frame, static_cast<std::uint32_t>(frame.size()), c.told, &out) == c.parsed);
  }
  const Bytes stump(13, 0);
  cv_tcp_packet out{};
  CHECK(cv_parse_frame(&stump, 13, 0x0806, &out) == CV_PARSE_TRUNCATED);
}

TEST_CASE("no packet, however cut or bent, is read beyond its end") {
  // cv_load_bytes refuses; what is checked is that the parser believes it and ends.
  const Bytes whole = ethernet() + ipv6(0) + extension(43) + extension(60, 1) + extension(6) + tcp(kAck, 8) + kPayload;
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    cv_tcp_packet out;
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
    const auto parsed = parse(cut, 0x86dd, out);
    CHECK((parsed == CV_PARSE_TRUNCATED || bytes >= whole.size() - kPayload.size()));
  }
  for (std::size_t at = 14; at < whole.size(); ++at) {
    for (const unsigned value : {0x00U, 0x3cU, 0x7fU, 0xffU}) {
      Bytes bent = whole;
      bent[at] = static_cast<std::uint8_t>(value);
      cv_tcp_packet out;
      static_cast<void>(parse(bent, 0x86dd, out));
      static_cast<void>(parse(bent, 0x0800, out));
    }
  }
  SUCCEED();
}
