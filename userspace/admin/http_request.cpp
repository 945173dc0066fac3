// SPDX-License-Identifier: Apache-2.0
// Request parsing; see http_request.hpp. Not spoken, and refused: chunked requests (501), folded header lines, bare line
// feeds, absolute and authority forms of the target, anything but HTTP/1.0 and 1.1.
#include "admin/http_request.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/text.hpp"

namespace culvert::admin {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::size_t kMethodBytesMax = 16;
constexpr std::size_t kTargetBytesMax = 2'048;

ParsedHead bad(int status, std::string_view reason) {
  return {.state = ParsedHead::State::Bad, .head_bytes = 0, .status = status, .reason = reason};
}

bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char); }

// Whether the comma-separated list has `word`.
bool list_has(std::string_view list, std::string_view word) {
  while (true) {
    const std::size_t comma = list.find(',');
    if (equals_ignoring_case(trimmed(list.substr(0, comma)), word)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

// "GET /path?query HTTP/1.1" into `request`; the state is NeedMore when it was good.
ParsedHead parse_request_line(std::string_view line, HttpRequest& request, bool& is_http_11) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return bad(400, "the request line is malformed");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > kMethodBytesMax) return bad(400, "the method is malformed");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return version.starts_with("HTTP/") ? bad(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
                                        : bad(400, "the request line is malformed");
  }
  if (target.size() > kTargetBytesMax) return bad(414, "the request target is too long");
  const bool is_visible = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (target.empty() || target.front() != '/' || !is_visible) return bad(400, "the request target is malformed");
  const std::size_t question = target.find('?');
  auto path = percent_decode(target.substr(0, question));
  if (!path) return bad(400, "the request target has a broken escape");
  request.method = method;
  request.path = std::move(*path);
  request.query = question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  is_http_11 = version == "HTTP/1.1";
  return {};
}

struct Seen {
  bool host = false;
  bool content_length = false;
  bool closes = false;
  bool keeps_alive = false;
};

void join(std::string& list, std::string_view more) {
  if (!list.empty()) list += ',';
  list += more;
}

ParsedHead parse_field(std::string_view line, std::size_t body_bytes_max, HttpRequest& request, Seen& seen) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return bad(400, "a header field is malformed");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  const bool is_clean = std::all_of(value.begin(), value.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  });
  if (!is_clean) return bad(400, "a header field has a control character");

  if (equals_ignoring_case(name, "Host")) {
    if (seen.host) return bad(400, "more than one Host");
    seen.host = true;
    request.host = value;
  } else if (equals_ignoring_case(name, "Origin")) {
    request.origin = value;
  } else if (equals_ignoring_case(name, "Content-Length")) {
    std::size_t length = 0;
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), length);
    if (seen.content_length) return bad(400, "more than one Content-Length");
    if (parsed.ec == std::errc::result_out_of_range) return bad(413, "the body is too large");
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size())
      return bad(400, "Content-Length is not a number");
    if (length > body_bytes_max) return bad(413, "the body is too large");
    seen.content_length = true;
    request.content_length = length;
  } else if (equals_ignoring_case(name, "Accept")) {
    join(request.accept, value);
  } else if (equals_ignoring_case(name, "Accept-Encoding")) {
    join(request.accept_encoding, value);
  } else if (equals_ignoring_case(name, "Transfer-Encoding")) {
    return bad(501, "transfer encodings are not supported: send Content-Length");
  } else if (equals_ignoring_case(name, "Connection")) {
    seen.closes = seen.closes || list_has(value, "close");
    seen.keeps_alive = seen.keeps_alive || list_has(value, "keep-alive");
  } else if (equals_ignoring_case(name, "Expect")) {
    if (!equals_ignoring_case(value, "100-continue")) return bad(417, "the expectation is not supported");
    request.expects_continue = true;
  }
  return {};
}

}  // namespace

namespace {

// What follows `name` in the first pair of that name: "=VALUE" or "".
std::optional<std::string_view> find_parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name) return pair.substr(equals);
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return std::nullopt;
}

}  // namespace

std::string HttpRequest::parameter(std::string_view name) const {
  const auto found = find_parameter(query, name);
  if (!found || found->empty()) return {};
  return percent_decode(found->substr(1)).value_or(std::string());
}

bool HttpRequest::has_parameter(std::string_view name) const { return find_parameter(query, name).has_value(); }

ParsedHead parse_head(std::string_view data, std::size_t body_bytes_max, HttpRequest& request) {
  const std::size_t end = data.substr(0, kHeadBytesMax).find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (data.size() >= kHeadBytesMax) return bad(431, "the request's head is too large");
    return {};
  }
  std::string_view head = data.substr(0, end + kLineEnd.size());
  request = {};
  Seen seen;
  bool is_http_11 = false;
  for (std::size_t lines = 0; !head.empty(); ++lines) {
    const std::size_t line_end = head.find(kLineEnd);
    const std::string_view line = head.substr(0, line_end);
    head.remove_prefix(line_end + kLineEnd.size());
    if (line.find_first_of("\r\n") != std::string_view::npos) return bad(400, "a line ends in a bare CR or LF");
    if (lines > kHeaderFieldsMax) return bad(431, "too many header fields");
    const ParsedHead parsed =
        lines == 0 ? parse_request_line(line, request, is_http_11) : parse_field(line, body_bytes_max, request, seen);
    if (parsed.state == ParsedHead::State::Bad) return parsed;
  }
  if (is_http_11 && !seen.host) return bad(400, "Host is missing");
  request.is_http_11 = is_http_11;
  request.keeps_alive = is_http_11 ? !seen.closes : seen.keeps_alive && !seen.closes;
  request.expects_continue = request.expects_continue && is_http_11 && request.content_length > 0;
  return {.state = ParsedHead::State::Done, .head_bytes = end + 4, .status = 200, .reason = {}};
}

}  // namespace culvert::admin
