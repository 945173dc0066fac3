// SPDX-License-Identifier: Apache-2.0
#include "raw_json.hpp"

#include <cstddef>

#include <nlohmann/json.hpp>

namespace culvert::cni_plugin {
namespace {

// Walks over a valid document; past its end every step stands still.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // a byte order mark, which the parser skips too
  }

  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void step() {
    if (at_ < text_.size()) ++at_;
  }
  void skip_space() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') step();
  }
  std::string_view take_string() {
    const std::size_t start = at_;
    step();
    while (at_ < text_.size() && peek() != '"') {
      if (peek() == '\\') step();
      step();
    }
    step();
    return text_.substr(start, at_ - start);
  }
  std::string_view take_value() {
    const std::size_t start = at_;
    if (peek() == '"') return take_string();
    std::size_t depth = 0;
    while (at_ < text_.size()) {
      const char byte = peek();
      if (byte == '"') {
        take_string();
        continue;
      }
      if (byte == '{' || byte == '[') ++depth;
      if (byte == '}' || byte == ']') {
        if (depth == 0) break;  // the end of the object around a number or a word
        --depth;
        step();
        if (depth == 0) break;
        continue;
      }
      const bool is_separator = byte == ',' || byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
      if (depth == 0 && is_separator) break;
      step();
    }
    return text_.substr(start, at_ - start);
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<std::string_view> raw_member(std::string_view document, std::string_view key) {
  std::optional<std::string_view> found;
  Scanner scanner(document);
  scanner.skip_space();
  if (scanner.peek() != '{') return found;
  scanner.step();
  for (;;) {
    scanner.skip_space();
    if (scanner.peek() != '"') return found;
    const auto name = nlohmann::json::parse(scanner.take_string(), nullptr, false);
    scanner.skip_space();
    scanner.step();  // the colon
    scanner.skip_space();
    const std::string_view value = scanner.take_value();
    if (name.is_string() && name.get_ref<const std::string&>() == key) found = value;
    scanner.skip_space();
    if (scanner.peek() != ',') return found;
    scanner.step();
  }
}

}  // namespace culvert::cni_plugin
