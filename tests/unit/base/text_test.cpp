// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <catch2/catch.hpp>

namespace culvert {

TEST_CASE("letters are compared in either case, and ASCII's alone") {
  CHECK(equals_ignoring_case("True", "tRUE"));
  CHECK_FALSE(equals_ignoring_case("true", "tru"));
  CHECK_FALSE(equals_ignoring_case("[", "{"));
  CHECK_FALSE(equals_ignoring_case("\xC4", "\xE4"));
  std::string text = "X-Az09_\xC4";
  make_lower(text);
  CHECK(text == "x-az09_\xC4");
}

TEST_CASE("blanks at the ends go, and no others") {
  CHECK(trimmed(" \ta b\t ") == "a b");
  CHECK(trimmed(" \t ").empty());
  CHECK(trimmed("").empty());
  CHECK(trimmed("\na") == "\na");
}

TEST_CASE("percent signs are decoded, and broken ones refused") {
  CHECK(percent_decode("a%2Cb%2f%41") == "a,b/A");
  CHECK(percent_decode("") == "");
  for (const char* text : {"%", "%4", "a%4", "%4g", "%-1", "%00", "%%41"}) CHECK_FALSE(percent_decode(text));
}

}  // namespace culvert
