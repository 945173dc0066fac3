// SPDX-License-Identifier: Apache-2.0
// Tables as a terminal shows them.
#include <catch2/catch.hpp>

#include "ctl/table.hpp"

namespace culvert::ctl {
namespace {

Table people() {
  Table table({{.title = "NAME", .width_min = 6},
               {.title = "N", .is_right = true},
               {.title = "NOTE", .width_min = 4, .drop_order = 1}});
  table.row({"anna", "1", "first note"});
  table.row({"bartholomew", "12345", ""});
  return table;
}

}  // namespace

TEST_CASE("columns are as wide as their widest cell, numbers stand right, and no line ends in blanks") {
  CHECK(people().render({}) ==
        "NAME             N  NOTE\n"
        "anna             1  first note\n"
        "bartholomew  12345\n");
}

TEST_CASE("where the terminal is narrow the widest columns are cut first") {
  CHECK(people().render({.width = 24}) ==
        "NAME         N  NOTE\n"
        "anna         1  first n…\n"
        "bartho…  12345\n");
}

TEST_CASE("what does not fit at all is left out by order, and said so") {
  CHECK(people().render({.width = 14}) ==
        "NAME         N\n"
        "anna         1\n"
        "bartho…  12345\n"
        "(left out to fit: NOTE)\n");
}

TEST_CASE("no line is wider than the terminal while something can be cut") {
  for (unsigned width = 13; width < 40; ++width) {
    const std::string text = people().render({.width = width});
    std::size_t start = 0;
    while (start < text.size()) {
      const std::size_t end = text.find('\n', start);
      const std::string_view line = std::string_view(text).substr(start, end - start);
      if (!line.starts_with('(')) CHECK(display_width(line) <= width);
      start = end + 1;
    }
  }
}

TEST_CASE("a cell of several lines makes its row higher") {
  Table table({{.title = "A"}, {.title = "B"}});
  table.row({"one\ntwo", "x"});
  table.row({"three", "y"});
  CHECK(table.render({}) ==
        "A      B\n"
        "one    x\n"
        "two\n"
        "three  y\n");
}

TEST_CASE("colours do not change the alignment and appear only when wanted") {
  Table table({{.title = "A"}, {.title = "B"}});
  table.row({{"x", Tone::Good}, {"bad", Tone::Bad}});
  CHECK(table.render({.width = 0, .has_colour = true}) ==
        "\033[1mA\033[0m  \033[1mB\033[0m\n"
        "\033[32mx\033[0m  \033[31mbad\033[0m\n");
  CHECK(table.render({}).find('\033') == std::string::npos);
}

TEST_CASE("control characters of others do not reach the terminal") {
  CHECK(printable("a\xC2\x9B"
                  "31mb") == "a?31mb");  // CSI in one character
  CHECK(printable("\xC3\xA9\xC2\xA9") == "\xC3\xA9\xC2\xA9");
  Table table({{.title = "A"}});
  table.row({"evil\033[2Jname\r"});
  CHECK(table.render({}) == "A\nevil?[2Jname?\n");
}

TEST_CASE("long words keep their beginning, identities their end as well") {
  CHECK(shortened("abcdefghij", 10) == "abcdefghij");
  CHECK(shortened("abcdefghij", 5) == "abcd…");
  CHECK(shortened("spiffe://cluster.local/ns/shop/sa/cart", 20) == "spiffe…/shop/sa/cart");
  CHECK(display_width(shortened("spiffe://cluster.local/ns/shop/sa/cart", 20)) <= 20);
  CHECK(shortened("caf\xc3\xa9 au lait", 5) == "caf\xc3\xa9…");
  CHECK(shortened("ab", 1) == "…");
  CHECK(shortened("ab", 0).empty());
}

}  // namespace culvert::ctl
