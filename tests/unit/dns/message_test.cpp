// SPDX-License-Identifier: Apache-2.0
#include "dns/message.hpp"

#include <string_view>

#include <catch2/catch.hpp>

namespace culvert::dns {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes query_of(std::string_view name, std::uint16_t type, bool has_edns = false, std::uint16_t size = 1'232) {
  Bytes out = {0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(has_edns ? 1 : 0)};
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    out.push_back(static_cast<std::uint8_t>(label.size()));
    out.insert(out.end(), label.begin(), label.end());
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  for (const int byte : {0, type >> 8, type & 0xff, 0, 1}) out.push_back(static_cast<std::uint8_t>(byte));
  if (has_edns) {
    for (const int byte : {0, 0, 41, size >> 8, size & 0xff, 0, 0, 0, 0, 0, 0})
      out.push_back(static_cast<std::uint8_t>(byte));
  }
  return out;
}

unsigned u16(const Bytes& bytes, std::size_t at) { return bytes[at] * 256U + bytes[at + 1]; }

}  // namespace

TEST_CASE("a question's name is read in lower case, with its type and what EDNS says of sizes") {
  const Bytes packet = query_of("Web.Shop", kTypeAaaa, true, 4'000);
  const ParsedQuery parsed = parse_query(packet);
  REQUIRE(parsed.state == QueryState::Good);
  CHECK(parsed.query.id == 0x1234);
  CHECK(parsed.query.name == "web.shop");
  CHECK(parsed.query.is_plain);
  CHECK(parsed.query.type == kTypeAaaa);
  CHECK(parsed.query.udp_bytes_max == 4'000);
  CHECK(parse_query(query_of("a", kTypeA)).query.udp_bytes_max == 512);
  CHECK(parse_query(query_of("a", kTypeA, true, 100)).query.udp_bytes_max == 512);
  CHECK(parse_query(query_of("", kTypeA)).state == QueryState::Good);
}

TEST_CASE("what is no question is refused; what is too short to answer, or is an answer itself, is dropped") {
  Bytes packet = query_of("web", kTypeA);
  CHECK(parse_query(Bytes(11, 0)).state == QueryState::Drop);
  packet[2] |= 0x80;
  CHECK(parse_query(packet).state == QueryState::Drop);
  packet[2] = 0x10;
  CHECK(parse_query(packet).state == QueryState::NotImp);
  packet = query_of("web", kTypeA);
  for (std::size_t size = kHeaderBytes; size < packet.size(); ++size) {
    CHECK(parse_query(ByteView(packet).first(size)).state == QueryState::FormErr);
  }
  packet[kHeaderBytes] = 0xC0;  // a compressed question
  CHECK(parse_query(packet).state == QueryState::FormErr);
  packet = query_of("web", kTypeA);
  packet[5] = 2;  // two questions
  CHECK(parse_query(packet).state == QueryState::FormErr);
  CHECK(parse_query(query_of("a b", kTypeA)).query.is_plain == false);
  CHECK(make_refusal(packet, Rcode::NotImp).size() == kHeaderBytes);
}

TEST_CASE("an answer has the question, the alias, the addresses under it, and OPT where the client had one") {
  const Bytes packet = query_of("web.x", kTypeA, true);
  const Query query = parse_query(packet).query;
  Answer answer;
  answer.is_authoritative = true;
  answer.alias = "web";
  answer.addresses = {IpAddress::parse("10.0.0.1").value(), IpAddress::parse("10.0.0.2").value()};
  const Bytes out = make_answer(packet, query, answer, 512);
  CHECK(u16(out, 0) == 0x1234);
  CHECK(u16(out, 2) == 0x8580);  // response, authoritative, recursion desired and available
  CHECK(u16(out, 4) == 1);
  CHECK(u16(out, 6) == 3);
  CHECK(u16(out, 10) == 1);
  const std::size_t alias = kHeaderBytes + query.question_bytes;
  CHECK(u16(out, alias) == (0xC000U | kHeaderBytes));
  CHECK(u16(out, alias + 2) == 5);
  CHECK(Bytes(out.begin() + static_cast<std::ptrdiff_t>(alias) + 12,
              out.begin() + static_cast<std::ptrdiff_t>(alias) + 17) == Bytes{3, 'w', 'e', 'b', 0});
  const std::size_t first = alias + 17;
  CHECK(u16(out, first) == (0xC000U | (alias + 12)));
  CHECK(u16(out, first + 2) == kTypeA);
  CHECK(u16(out, first + 8) == 30);
  CHECK(Bytes(out.begin() + static_cast<std::ptrdiff_t>(first) + 12,
              out.begin() + static_cast<std::ptrdiff_t>(first) + 16) == Bytes{10, 0, 0, 1});
  CHECK(out.size() == first + 32 + 11);
}

TEST_CASE("records that do not fit are left out, and the client is told that it should ask over TCP") {
  const Bytes packet = query_of("web", kTypeA);
  const Query query = parse_query(packet).query;
  Answer answer;
  for (int i = 0; i < 100; ++i) answer.addresses.push_back(IpAddress::parse("10.0.0.1").value());
  const Bytes udp = make_answer(packet, query, answer, 512);
  CHECK(udp.size() <= 512);
  CHECK((udp[2] & 0x02) != 0);
  CHECK(u16(udp, 6) == (512 - kHeaderBytes - query.question_bytes) / 16);
  const Bytes tcp = make_answer(packet, query, answer, kAnswerBytesMax);
  CHECK((tcp[2] & 0x02) == 0);
  CHECK(u16(tcp, 6) == 100);
}

TEST_CASE("a server's answer goes on with the client's id, cut to its question where it is too large") {
  const Bytes packet = query_of("web", kTypeA);
  Answer answer;
  for (int i = 0; i < 100; ++i) answer.addresses.push_back(IpAddress::parse("10.0.0.1").value());
  const Bytes full = make_answer(packet, parse_query(packet).query, answer, kAnswerBytesMax);
  CHECK(pass_on(packet, 7, 512).empty());  // a question is no answer
  CHECK(pass_on(Bytes(5, 0), 7, 512).empty());
  const Bytes whole = pass_on(full, 7, kAnswerBytesMax);
  CHECK(whole.size() == full.size());
  CHECK(u16(whole, 0) == 7);
  const Bytes cut = pass_on(full, 7, 512);
  CHECK(cut.size() == packet.size());
  CHECK((cut[2] & 0x02) != 0);
  CHECK(u16(cut, 6) == 0);
}

}  // namespace culvert::dns
