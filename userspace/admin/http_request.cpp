// SPDX-License-Identifier: Apache-2.0
// Request parsing; see http_request.hpp. Not spoken, and refused: chunked requests (501), folded header lines, bare line
// feeds, absolute and authority forms of the target, anything but HTTP/1.0 and 1.1.
#include "admin/http_request.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

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

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Whether the comma-separated list has `word`.
bool list_has(std::string_view list, std::string_view word) {
  while (true) {
    const std::size_t comma = list.find(',');
    if (equals_ignoring_case(trim(list.substr(0, comma)), word)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return std::nullopt;
}

// Nothing for a broken escape, and for %00.
std::optional<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const auto high = hex_digit(text[i + 1]);
    const auto low = hex_digit(text[i + 2]);
    if (!high || !low || (*high == 0 && *low == 0)) return std::nullopt;
    decoded += static_cast<char>(*high * 16 + *low);
    i += 2;
  }
  return decoded;
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

ParsedHead parse_field(std::string_view line, std::size_t body_bytes_max, HttpRequest& request, Seen& seen) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return bad(400, "a header field is malformed");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  const bool is_clean = std::all_of(value.begin(), value.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  });
  if (!is_clean) return bad(400, "a header field has a control character");

  if (equals_ignoring_case(name, "Host")) {
    if (seen.host) return bad(400, "more than one Host");
    seen.host = true;
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

std::string HttpRequest::parameter(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    const std::size_t equals = pair.find('=');
    if (pair.substr(0, equals) == name) {
      if (equals == std::string_view::npos) return {};
      return percent_decode(pair.substr(equals + 1)).value_or(std::string());
    }
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return {};
}

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
  request.keeps_alive = is_http_11 ? !seen.closes : seen.keeps_alive && !seen.closes;
  request.expects_continue = request.expects_continue && is_http_11 && request.content_length > 0;
  return {.state = ParsedHead::State::Done, .head_bytes = end + 4, .status = 200, .reason = {}};
}

}  // namespace culvert::admin
