// SPDX-License-Identifier: Apache-2.0
// The requests that the agent's small HTTP/1.1 server reads (RFC 9112), as a pure function of bytes. It is strict: what is
// not plainly well-formed is refused with the status that fits, so that no two readers can disagree about it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace culvert::admin {

inline constexpr std::size_t kHeadBytesMax = 8'192;  // request line and header fields
inline constexpr std::size_t kHeaderFieldsMax = 64;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // "/v1/pods/a", percent-decoded
  std::string query;   // "level=debug", as it came
  std::string body;
  std::string host;    // the Host field, "localhost:15000"; empty: none
  std::string origin;  // the Origin field, which browsers send; empty: none
  std::string accept;  // lists of several fields of one name are joined
  std::string accept_encoding;
  std::size_t content_length = 0;
  bool is_http_11 = true;
  bool keeps_alive = true;
  bool expects_continue = false;

  // The value of `name` in the query, percent-decoded; empty when absent.
  [[nodiscard]] std::string parameter(std::string_view name) const;
  // Whether the query has `name`, with or without a value.
  [[nodiscard]] bool has_parameter(std::string_view name) const;
};

struct ParsedHead {
  enum class State : std::uint8_t { NeedMore, Done, Bad };
  State state = State::NeedMore;
  std::size_t head_bytes = 0;  // Done: how much of `data` the head took; the body follows
  int status = 400;            // Bad: what to answer
  std::string_view reason;     // Bad: for a person
};

// Reads the head at the start of `data` into `request` (not its body). `body_bytes_max` bounds Content-Length.
[[nodiscard]] ParsedHead parse_head(std::string_view data, std::size_t body_bytes_max, HttpRequest& request);

}  // namespace culvert::admin
