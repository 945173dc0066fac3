// SPDX-License-Identifier: Apache-2.0
// Numbers with units, and suggestions.
#include "control/config_values.hpp"

#include <catch2/catch.hpp>

namespace culvert::control {
namespace {

TEST_CASE("a duration is a whole number and a unit") {
  CHECK(parse_duration_ms("250ms").value() == 250);
  CHECK(parse_duration_ms("30s").value() == 30'000);
  CHECK(parse_duration_ms("5m").value() == 300'000);
  CHECK(parse_duration_ms("24h").value() == 86'400'000);
  CHECK(parse_duration_ms("0").value() == 0);
  for (const char* text :
       {"", "s", "30", "-1s", "1 s", "1.5s", "1d", "1m30s", "99999999999999999999s", "6000000000000000h"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_duration_ms(text));
  }
}

TEST_CASE("a size is a whole number and a binary unit") {
  CHECK(parse_size_bytes("512B").value() == 512);
  CHECK(parse_size_bytes("4KiB").value() == 4'096);
  CHECK(parse_size_bytes("64MiB").value() == 64ULL << 20U);
  CHECK(parse_size_bytes("2GiB").value() == 2ULL << 30U);
  for (const char* text : {"", "64", "64MB", "64M", "64 MiB", "18446744073709551615GiB"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size_bytes(text));
  }
}

TEST_CASE("what is formatted parses to the same value") {
  for (const std::uint64_t value : {0ULL, 1ULL, 999ULL, 1'000ULL, 90'000ULL, 3'600'000ULL, 3'600'001ULL}) {
    CHECK(parse_duration_ms(format_duration_ms(value)).value() == value);
    CHECK(parse_size_bytes(format_size_bytes(value)).value() == value);
  }
  CHECK(format_duration_ms(90'000) == "90s");
  CHECK(format_size_bytes(128ULL << 20U) == "128MiB");
}

TEST_CASE("an integer is decimal, or hexadecimal after 0x") {
  CHECK(parse_integer("1337").value() == 1337);
  CHECK(parse_integer("0x539").value() == 1337);
  for (const char* text : {"", "0x", "12x", "+1", " 1", "1e3"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_integer(text));
  }
}

TEST_CASE("the nearest word is suggested, and nothing that is far") {
  const std::vector<std::string_view> words = {"level", "format", "access"};
  CHECK(nearest("levle", words) == "level");
  CHECK(nearest("Format", words) == "format");
  CHECK(nearest("accesses", words) == "access");
  CHECK(nearest("colour", words).empty());
  CHECK(nearest(std::string(1'000, 'x'), words).empty());
}

}  // namespace
}  // namespace culvert::control
