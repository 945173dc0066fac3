// SPDX-License-Identifier: Apache-2.0
// Text helpers of telemetry; see text.hpp. Pure; any thread.
#include "telemetry/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include <arpa/inet.h>

namespace culvert::telemetry {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr std::string_view kHex = "0123456789abcdef";

void append_padded(std::string& out, std::uint64_t value, std::size_t width) {
  std::array<char, 20> digits;
  digits.fill('0');
  for (std::size_t i = width; i > 0; --i, value /= 10) digits[i - 1] = static_cast<char>('0' + value % 10);
  out.append(digits.data(), width);
}

struct Date {
  std::uint64_t year;
  std::uint64_t month;
  std::uint64_t day;
};

// Days since 1970-01-01 to a Gregorian date, by 400-year eras that begin on 1 March (H. Hinnant, chrono-compatible date
// algorithms): gmtime_r takes a lock for the time zone.
Date civil_date(std::uint64_t days_since_epoch) {
  const std::uint64_t days = days_since_epoch + 719'468;
  const std::uint64_t era = days / 146'097;
  const std::uint64_t day_of_era = days - era * 146'097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t shifted_month = (5 * day_of_year + 2) / 153;
  const std::uint64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  return {.year = year_of_era + era * 400 + (month <= 2 ? 1 : 0),
          .month = month,
          .day = day_of_year - (153 * shifted_month + 2) / 5 + 1};
}

bool needs_escape(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\' || c == 0x7f; }

void append_rust_escape(std::string& out, char c) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  const auto byte = static_cast<unsigned char>(c);
  out += "\\u{";
  if (byte >= 0x10) out += kHex[byte >> 4U];
  out += kHex[byte & 0xfU];
  out += '}';
}

// The length of the well-formed UTF-8 sequence at the start of `text` (Unicode 15, table 3-7), 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto is_tail = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned lead = byte(0);
  const unsigned second = byte(1);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return is_tail(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!is_tail(1) || !is_tail(2)) return 0;
    if (lead == 0xe0 && second < 0xa0) return 0;  // overlong
    if (lead == 0xed && second > 0x9f) return 0;  // surrogate
    return 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!is_tail(1) || !is_tail(2) || !is_tail(3)) return 0;
    if (lead == 0xf0 && second < 0x90) return 0;  // overlong
    if (lead == 0xf4 && second > 0x8f) return 0;  // beyond U+10FFFF
    return 4;
  }
  return 0;
}

// U+0080 to U+009F, CSI among them: to a terminal they are what the escape character begins.
bool is_c1(std::string_view utf8) { return utf8.size() == 2 && utf8[0] == '\xc2' && utf8[1] < '\xa0'; }

// As text for a terminal or a file of lines: control characters escaped, what is no UTF-8 replaced.
void append_printable(std::string& out, std::string_view text, bool escapes_quotes) {
  const auto is_plain = [escapes_quotes](char c) {
    if (c == '"' || c == '\\') return !escapes_quotes;
    return static_cast<unsigned char>(c) < 0x80 && !needs_escape(c);
  };
  while (!text.empty()) {
    const auto plain = static_cast<std::size_t>(std::ranges::find_if_not(text, is_plain) - text.begin());
    out.append(text, 0, plain);
    text.remove_prefix(plain);
    if (text.empty()) return;
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += kReplacement;
    } else if (length == 1) {
      append_rust_escape(out, text[0]);
    } else if (is_c1(text.substr(0, length))) {
      append_rust_escape(out, text[1]);  // the code point is the second byte's value
    } else {
      out.append(text, 0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

void append_json_escape(std::string& out, char c) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    default: break;
  }
  const auto byte = static_cast<unsigned char>(c);
  out += "\\u00";
  out += kHex[byte >> 4U];
  out += kHex[byte & 0xfU];
}

}  // namespace

void append_number(std::string& out, std::uint64_t value) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

void append_time(std::string& out, std::uint64_t wall_us) {
  const std::uint64_t seconds = wall_us / 1'000'000;
  const Date date = civil_date(seconds / 86'400);
  const std::uint64_t second_of_day = seconds % 86'400;
  append_padded(out, date.year, 4);
  out += '-';
  append_padded(out, date.month, 2);
  out += '-';
  append_padded(out, date.day, 2);
  out += 'T';
  append_padded(out, second_of_day / 3'600, 2);
  out += ':';
  append_padded(out, second_of_day / 60 % 60, 2);
  out += ':';
  append_padded(out, second_of_day % 60, 2);
  out += '.';
  append_padded(out, wall_us % 1'000'000, 6);
  out += 'Z';
}

void append_endpoint(std::string& out, const Endpoint& endpoint) {
  const auto& bytes = endpoint.address.mapped();
  if (endpoint.address.is_v4()) {
    for (std::size_t i = 12; i < 16; ++i) {
      append_number(out, bytes[i]);
      out += i < 15 ? '.' : ':';
    }
  } else {
    std::array<char, INET6_ADDRSTRLEN> name{};
    ::inet_ntop(AF_INET6, bytes.data(), name.data(), name.size());
    out += '[';
    out += name.data();
    out += "]:";
  }
  append_number(out, endpoint.port);
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  append_printable(out, text, true);
  out += '"';
}

void append_one_line(std::string& out, std::string_view text) { append_printable(out, text, false); }

void append_label_value(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += kReplacement;
    } else if (text[0] == '\n') {
      out += "\\n";
    } else {
      if (text[0] == '\\' || text[0] == '"') out += '\\';
      out.append(text, 0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

void append_help(std::string& out, std::string_view text, bool escapes_quotes) {
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || (c == '"' && escapes_quotes)) out += '\\';
    out += c;
  }
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  std::size_t start = 0;
  std::size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) < 0x80 && !needs_escape(c)) {
      ++i;
      continue;
    }
    const std::size_t length = utf8_length(text.substr(i));
    if (length > 1) {
      i += length;
      continue;
    }
    out.append(text, start, i - start);
    if (length == 1) {
      append_json_escape(out, c);
    } else {
      out += "\\ufffd";
    }
    start = ++i;
  }
  out.append(text, start);
  out += '"';
}

}  // namespace culvert::telemetry
