// SPDX-License-Identifier: Apache-2.0
// Reads docs/protocol.md: its hex examples and its state tables are the expectations of the tests here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace culvert::direct::test {

// The blocks ```vector NAME, as bytes.
std::map<std::string, std::vector<std::uint8_t>> document_vectors();

struct TableCell {
  std::string row;     // first column
  std::string column;  // heading
  std::string text;
};
// Every cell of the table that follows <!-- table: NAME -->.
std::vector<TableCell> document_table(const std::string& name);

}  // namespace culvert::direct::test
