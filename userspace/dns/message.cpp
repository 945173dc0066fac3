// SPDX-License-Identifier: Apache-2.0
#include "dns/message.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/text.hpp"

namespace culvert::dns {
namespace {

constexpr std::size_t kNameBytesMax = 255;
constexpr std::uint16_t kTypeCname = 5;
constexpr std::uint16_t kTypeOpt = 41;
constexpr std::uint8_t kResponse = 0x80;  // of the header's third byte
constexpr std::uint8_t kOpcode = 0x78;
constexpr std::uint8_t kAuthoritative = 0x04;
constexpr std::uint8_t kTruncated = 0x02;
constexpr std::uint8_t kRecursionDesired = 0x01;
constexpr std::uint8_t kRecursionAvailable = 0x80;  // of the fourth

std::uint16_t read_u16(ByteView bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
}
void put_u16(std::vector<std::uint8_t>& out, std::size_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8U));
  out.push_back(static_cast<std::uint8_t>(value));
}
void set_u16(std::vector<std::uint8_t>& out, std::size_t at, std::size_t value) noexcept {
  out[at] = static_cast<std::uint8_t>(value >> 8U);
  out[at + 1] = static_cast<std::uint8_t>(value);
}

bool is_plain_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '*';
}

// Behind the name at `at`; 0: it is none. Appends it to `query` where that is given. A question's name is never compressed.
std::size_t skip_name(ByteView packet, std::size_t at, Query* query, bool may_point) {
  const std::size_t start = at;
  while (at < packet.size()) {
    const std::size_t length = packet[at];
    if (length == 0) return at + 1;
    if ((length & 0xC0U) == 0xC0U) return may_point && at + 2 <= packet.size() ? at + 2 : 0;
    if (length > 63 || at + 1 + length > packet.size() || at + 2 + length - start > kNameBytesMax) return 0;
    if (query != nullptr) {
      if (!query->name.empty()) query->name += '.';
      for (std::size_t i = 0; i < length; ++i) {
        const char c = lower(static_cast<char>(packet[at + 1 + i]));
        query->is_plain = query->is_plain && is_plain_character(c);
        query->name += c;
      }
    }
    at += 1 + length;
  }
  return 0;
}

// Looks for OPT among `records` records from `at`. False: they are malformed.
bool read_edns(ByteView packet, std::size_t at, std::size_t records, Query& query) {
  for (std::size_t i = 0; i < records; ++i) {
    at = skip_name(packet, at, nullptr, true);
    if (at == 0 || at + 10 > packet.size()) return false;
    if (read_u16(packet, at) == kTypeOpt) {
      if (query.has_edns) return false;
      query.has_edns = true;
      query.udp_bytes_max = std::max<std::uint16_t>(512, read_u16(packet, at + 2));
    }
    at += 10 + std::size_t{read_u16(packet, at + 8)};
    if (at > packet.size()) return false;
  }
  return true;
}

std::vector<std::uint8_t> encode_name(std::string_view name) {
  std::vector<std::uint8_t> out;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    out.push_back(static_cast<std::uint8_t>(label.size()));
    out.insert(out.end(), label.begin(), label.end());
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  out.push_back(0);
  return out;
}

void put_record(std::vector<std::uint8_t>& out, std::size_t owner, std::uint16_t type, std::uint32_t ttl_s,
                ByteView data) {
  put_u16(out, 0xC000U | owner);
  put_u16(out, type);
  put_u16(out, kClassInternet);
  put_u16(out, ttl_s >> 16U);
  put_u16(out, ttl_s & 0xFFFFU);
  put_u16(out, data.size());
  out.insert(out.end(), data.begin(), data.end());
}

std::vector<std::uint8_t> start_reply(ByteView packet, Rcode code) {
  std::vector<std::uint8_t> out(kHeaderBytes, 0);
  std::copy_n(packet.begin(), 2, out.begin());
  out[2] = static_cast<std::uint8_t>(kResponse | (packet[2] & (kOpcode | kRecursionDesired)));
  out[3] = static_cast<std::uint8_t>(kRecursionAvailable | static_cast<std::uint8_t>(code));
  return out;
}

}  // namespace

std::string type_text(std::uint16_t type) {
  constexpr std::array<std::pair<std::uint16_t, std::string_view>, 13> kNames = {{{kTypeA, "A"},
                                                                                  {2, "NS"},
                                                                                  {kTypeCname, "CNAME"},
                                                                                  {6, "SOA"},
                                                                                  {12, "PTR"},
                                                                                  {15, "MX"},
                                                                                  {16, "TXT"},
                                                                                  {kTypeAaaa, "AAAA"},
                                                                                  {33, "SRV"},
                                                                                  {35, "NAPTR"},
                                                                                  {64, "SVCB"},
                                                                                  {65, "HTTPS"},
                                                                                  {255, "ANY"}}};
  const auto* const found = std::ranges::find(kNames, type, &std::pair<std::uint16_t, std::string_view>::first);
  return found == kNames.end() ? fmt::format("TYPE{}", type) : std::string(found->second);
}

std::size_t answer_count(ByteView message) noexcept {
  constexpr std::size_t kAnswerCount = 6;  // of the header
  return message.size() < kHeaderBytes ? 0 : read_u16(message, kAnswerCount);
}

ParsedQuery parse_query(ByteView packet) {
  ParsedQuery parsed;
  if (packet.size() < kHeaderBytes) return parsed;
  // Not even FORMERR, which is an answer too: two proxies, or one and itself, would answer each other without end.
  if ((packet[2] & kResponse) != 0) return parsed;
  parsed.state = QueryState::FormErr;
  Query& query = parsed.query;
  query.id = read_u16(packet, 0);
  if (packet.size() > kQueryBytesMax) return parsed;
  if ((packet[2] & kOpcode) != 0) {
    parsed.state = QueryState::NotImp;
    return parsed;
  }
  if (read_u16(packet, 4) != 1) return parsed;
  const std::size_t behind = skip_name(packet, kHeaderBytes, &query, false);
  if (behind == 0 || behind + 4 > packet.size()) return parsed;
  query.type = read_u16(packet, behind);
  query.class_code = read_u16(packet, behind + 2);
  query.question_bytes = behind + 4 - kHeaderBytes;
  const std::size_t records = std::size_t{read_u16(packet, 6)} + read_u16(packet, 8) + read_u16(packet, 10);
  if (!read_edns(packet, behind + 4, records, query)) return parsed;
  parsed.state = QueryState::Good;
  return parsed;
}

std::vector<std::uint8_t> make_refusal(ByteView packet, Rcode code) { return start_reply(packet, code); }

std::vector<std::uint8_t> make_answer(ByteView packet, const Query& query, const Answer& answer,
                                      std::size_t bytes_max) {
  constexpr std::size_t kEdnsBytes = 11;
  std::vector<std::uint8_t> out = start_reply(packet, answer.code);
  if (answer.is_authoritative) out[2] |= kAuthoritative;
  set_u16(out, 4, 1);
  const auto question = packet.subspan(kHeaderBytes, query.question_bytes);
  out.insert(out.end(), question.begin(), question.end());
  const std::size_t room = bytes_max - std::min(bytes_max, query.has_edns ? kEdnsBytes : 0);
  std::size_t owner = kHeaderBytes;
  std::size_t records = 0;
  const auto put = [&](std::uint16_t type, ByteView data) {
    if (out.size() + 12 + data.size() > room) {
      out[2] |= kTruncated;
      return false;
    }
    put_record(out, owner, type, answer.ttl_s, data);
    ++records;
    return true;
  };
  bool has_room = true;
  if (!answer.alias.empty() && !answer.addresses.empty()) {
    has_room = put(kTypeCname, encode_name(answer.alias));
    owner = out.size() - (answer.alias.size() + 2);
  }
  for (const IpAddress& address : answer.addresses) {
    if (!has_room) break;
    has_room = put(address.is_v4() ? kTypeA : kTypeAaaa, address.wire());
  }
  set_u16(out, 6, records);
  if (query.has_edns) {
    set_u16(out, 10, 1);
    out.push_back(0);
    put_u16(out, kTypeOpt);
    put_u16(out, query.udp_bytes_max);
    for (int i = 0; i < 3; ++i) put_u16(out, 0);
  }
  return out;
}

std::vector<std::uint8_t> pass_on(ByteView answer, std::uint16_t id, std::size_t bytes_max) {
  if (answer.size() < kHeaderBytes || (answer[2] & kResponse) == 0) return {};
  std::vector<std::uint8_t> out(answer.begin(), answer.end());
  if (out.size() > bytes_max) {
    const std::size_t behind = read_u16(answer, 4) == 1 ? skip_name(answer, kHeaderBytes, nullptr, false) : 0;
    out.resize(behind != 0 && behind + 4 <= out.size() ? behind + 4 : kHeaderBytes);
    if (out.size() == kHeaderBytes) set_u16(out, 4, 0);
    out[2] |= kTruncated;
    for (const std::size_t count : {6U, 8U, 10U}) set_u16(out, count, 0);
  }
  set_u16(out, 0, id);
  out[3] |= kRecursionAvailable;
  return out;
}

}  // namespace culvert::dns
