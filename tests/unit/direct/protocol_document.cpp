// SPDX-License-Identifier: Apache-2.0
#include "protocol_document.hpp"

#include <fstream>
#include <sstream>

#include <catch2/catch.hpp>

namespace culvert::direct::test {
namespace {

std::vector<std::string> lines() {
  std::ifstream stream(CULVERT_PROTOCOL_MD);
  INFO("reading " CULVERT_PROTOCOL_MD);
  REQUIRE(stream.good());
  std::vector<std::string> all;
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::vector<std::string> cells(const std::string& line) {
  std::vector<std::string> found;
  std::istringstream stream(line.substr(1));
  for (std::string cell; std::getline(stream, cell, '|');) found.push_back(trimmed(cell));
  return found;
}

}  // namespace

std::map<std::string, std::vector<std::uint8_t>> document_vectors() {
  const std::string opening = "```vector ";
  std::map<std::string, std::vector<std::uint8_t>> vectors;
  std::vector<std::uint8_t>* open = nullptr;
  for (const std::string& line : lines()) {
    if (line.starts_with(opening)) {
      open = &vectors[line.substr(opening.size())];
    } else if (line.starts_with("```")) {
      open = nullptr;
    } else if (open != nullptr) {
      std::istringstream words(line);
      for (std::string word; words >> word;) open->push_back(static_cast<std::uint8_t>(std::stoul(word, nullptr, 16)));
    }
  }
  return vectors;
}

std::vector<TableCell> document_table(const std::string& name) {
  std::vector<TableCell> table;
  std::vector<std::string> heading;
  bool is_inside = false;
  for (const std::string& line : lines()) {
    if (line == "<!-- table: " + name + " -->") {
      is_inside = true;
    } else if (is_inside && line.empty()) {
      break;
    } else if (is_inside && heading.empty()) {
      heading = cells(line);
    } else if (is_inside && !line.starts_with("| ---")) {
      const std::vector<std::string> row = cells(line);
      INFO(line);
      REQUIRE(row.size() == heading.size());
      for (std::size_t i = 1; i < row.size(); ++i) table.push_back({row[0], heading[i], row[i]});
    }
  }
  return table;
}

}  // namespace culvert::direct::test
