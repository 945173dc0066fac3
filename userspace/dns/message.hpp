// SPDX-License-Identifier: Apache-2.0
// DNS messages (RFC 1035, EDNS of RFC 6891) as far as a proxy must read and write them. Pure: bytes in, values out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/bytes.hpp"

namespace culvert::dns {

inline constexpr std::uint16_t kTypeA = 1;
inline constexpr std::uint16_t kTypeAaaa = 28;
inline constexpr std::uint16_t kClassInternet = 1;
inline constexpr std::size_t kQueryBytesMax = 4'096;    // larger ones are no questions of ours to forward
inline constexpr std::size_t kAnswerBytesMax = 65'535;  // over TCP

enum class Rcode : std::uint8_t { NoError = 0, FormErr = 1, ServFail = 2, NxDomain = 3, NotImp = 4, Refused = 5 };

struct Query {
  std::uint16_t id = 0;
  std::string name;      // lower case, without the last dot
  bool is_plain = true;  // its labels are of letters, digits, '-', '_' and '*': it may be a name of the mesh
  std::uint16_t type = 0;
  std::uint16_t class_code = 0;
  std::size_t question_bytes = 0;     // of the question, which begins at kHeaderBytes
  std::uint16_t udp_bytes_max = 512;  // that the client takes; what EDNS says, where it does
  bool has_edns = false;
};
inline constexpr std::size_t kHeaderBytes = 12;

// "A", "AAAA", "MX", ...; "TYPE65280" for those that are not common.
[[nodiscard]] std::string type_text(std::uint16_t type);
// How many records a message says that its answer has.
[[nodiscard]] std::size_t answer_count(ByteView message) noexcept;

enum class QueryState : std::uint8_t {
  Good,
  Drop,  // too short to be answered, or an answer itself
  FormErr,
  NotImp,
};
struct ParsedQuery {
  QueryState state = QueryState::Drop;
  Query query;
};
[[nodiscard]] ParsedQuery parse_query(ByteView packet);

struct Answer {
  Rcode code = Rcode::NoError;
  bool is_authoritative = false;
  std::string alias;  // not empty: a CNAME from the name that was asked to this one, which has the addresses
  std::vector<IpAddress> addresses;
  std::uint32_t ttl_s = 30;
};
// `packet` is what `query` was parsed from. Records that do not fit `bytes_max` are left out, with TC set.
[[nodiscard]] std::vector<std::uint8_t> make_answer(ByteView packet, const Query& query, const Answer& answer,
                                                    std::size_t bytes_max);
// To a packet that could not be parsed, of at least kHeaderBytes: the header alone.
[[nodiscard]] std::vector<std::uint8_t> make_refusal(ByteView packet, Rcode code);
// A server's answer, for the client that asked with `id`: cut to its question with TC set where it is larger than `bytes_max`. Empty: it is no answer.
[[nodiscard]] std::vector<std::uint8_t> pass_on(ByteView answer, std::uint16_t id, std::size_t bytes_max);

}  // namespace culvert::dns
