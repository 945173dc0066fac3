// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "raw_json.hpp"

using culvert::cni_plugin::raw_member;

TEST_CASE("a member's text comes back byte for byte") {
  struct Case {
    const char* document;
    const char* expected;  // null: not there
  };
  const Case cases[] = {
      {R"({"k":{"b":1,"a":[ 1.0, 1e3 ,"x\"}]"]}})", R"({"b":1,"a":[ 1.0, 1e3 ,"x\"}]"]})"},
      {"{ \"a\" : 1 ,\n\t\"k\" : [ {} , [] ] }", "[ {} , [] ]"},
      {R"({"k":12345678901234567890123})", "12345678901234567890123"},
      {R"({"k":true,"z":0})", "true"},
      {R"({"k":null})", "null"},
      {R"({"k":"a\\"})", R"("a\\")"},
      {R"({"k":"}{"})", R"("}{")"},
      {R"({"k":1,"k":2})", "2"},      // the last one counts
      {R"({"\u006b":3})", "3"},       // a key may be written with escapes
      {R"({"a":{"k":1}})", nullptr},  // only at the top
      {R"({"a":"k"})", nullptr},
      {"{}", nullptr},
      {"[1]", nullptr},
      {"\xef\xbb\xbf{\"k\":1}", "1"},
      {R"({"a":-1.5e-3,"b":false , "k":{}})", "{}"},
  };
  for (const Case& item : cases) {
    CAPTURE(item.document);
    const auto found = raw_member(item.document, "k");
    REQUIRE(found.has_value() == (item.expected != nullptr));
    if (found) CHECK(*found == item.expected);
  }
}

TEST_CASE("text that is no document ends the search") {
  for (const char* text :
       {"", "{", "{\"", "{\"k", "{\"k\"", "{\"k\":", "{\"k\":{", "{\"k\":\"", "{\"k\":\"\\", "\xef\xbb\xbf"}) {
    CAPTURE(text);
    CHECK_NOTHROW(raw_member(text, "k"));
  }
}
