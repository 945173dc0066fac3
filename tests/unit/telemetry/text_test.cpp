// SPDX-License-Identifier: Apache-2.0
// Numbers, times, addresses and quoting.
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "telemetry/text.hpp"

namespace culvert::telemetry {
namespace {

template <typename Append, typename Value>
std::string made(Append append, const Value& value) {
  std::string out;
  append(out, value);
  return out;
}

}  // namespace

TEST_CASE("a time is RFC 3339 in UTC with microseconds") {
  const struct {
    std::uint64_t us;
    const char* text;
  } cases[] = {
      {0, "1970-01-01T00:00:00.000000Z"},
      {951'782'399'999'999, "2000-02-28T23:59:59.999999Z"},
      {951'782'400'000'000, "2000-02-29T00:00:00.000000Z"},
      {951'868'800'000'001, "2000-03-01T00:00:00.000001Z"},
      {1'709'210'096'123'456, "2024-02-29T12:34:56.123456Z"},
      {1'767'225'599'000'000, "2025-12-31T23:59:59.000000Z"},
      {4'107'542'400'000'000, "2100-03-01T00:00:00.000000Z"},
  };
  for (const auto& one : cases) CHECK(made(append_time, one.us) == one.text);
}

TEST_CASE("endpoints of both families are written as they are dialled") {
  for (const char* text :
       {"10.0.0.1:80", "255.255.255.255:65535", "0.0.0.0:0", "[2001:db8::1]:15008", "[::]:1", "[::1]:443"}) {
    const auto endpoint = Endpoint::parse(text);
    REQUIRE(endpoint);
    CHECK(made(append_endpoint, *endpoint) == text);
  }
}

TEST_CASE("quoted text follows Rust's Debug") {
  CHECK(made(append_quoted, std::string_view("plain")) == R"("plain")");
  CHECK(made(append_quoted, std::string_view("a\"b\\c\n\r\t")) == R"("a\"b\\c\n\r\t")");
  CHECK(made(append_quoted, std::string_view("\x01\x1b\x7f")) == R"("\u{1}\u{1b}\u{7f}")");
  CHECK(made(append_quoted, std::string_view("caf\xc3\xa9")) == "\"caf\xc3\xa9\"");
  // CSI as one code point, and as the byte that it is to a terminal without UTF-8.
  CHECK(made(append_quoted, std::string_view("\xc2\x9b\x32J\xc2\xa0")) == "\"\\u{9b}2J\xc2\xa0\"");
  CHECK(made(append_quoted, std::string_view("\x9b\x32J")) == "\"\xef\xbf\xbd\x32J\"");
}

TEST_CASE("a message cannot break its line") {
  CHECK(made(append_one_line, std::string_view("a \"b\"\nforged\tline")) == R"(a "b"\nforged\tline)");
}

TEST_CASE("JSON strings are valid for any bytes") {
  const struct {
    std::string_view raw;
    const char* read_back;
  } cases[] = {
      {"plain", "plain"},
      {"a\"b\\c\n\x01\x7f", "a\"b\\c\n\x01\x7f"},
      {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x99", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x99"},
      {"\xff", "\xef\xbf\xbd"},
      {"\xc3", "\xef\xbf\xbd"},                                  // cut short
      {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                  // overlong
      {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // surrogate
      {"\xf4\x90\x80\x80z", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"},
  };
  for (const auto& one : cases) {
    const auto json = nlohmann::json::parse(made(append_json_string, one.raw));
    CHECK(json.get<std::string>() == one.read_back);
  }
}

}  // namespace culvert::telemetry
