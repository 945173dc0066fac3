// SPDX-License-Identifier: Apache-2.0
// JsonWriter: one JSON value, appended piece by piece to strings that the caller may change between two calls; for answers that a tree in memory
// would make many times larger. On one line, or indented by two spaces. Keys and values are escaped. It knows how deep it is and whether a
// comma is due, nothing of what was written. Pure.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "telemetry/text.hpp"

namespace culvert::admin {

class JsonWriter {
 public:
  enum class Layout : std::uint8_t { Compact, Indented };

  explicit JsonWriter(std::string& out, Layout layout = Layout::Compact) : out_(&out), layout_(layout) {}
  // `write_to` comes first.
  explicit JsonWriter(Layout layout) : layout_(layout) {}
  // Where the next bytes go; stays the caller's.
  void write_to(std::string& out) noexcept { out_ = &out; }

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name) {
    separate();
    telemetry::append_json_string(*out_, name);
    *out_ += layout_ == Layout::Indented ? ": " : ":";
    follows_key_ = true;
    return *this;
  }
  JsonWriter& value(std::string_view text) {
    separate();
    telemetry::append_json_string(*out_, text);
    return *this;
  }
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool is_true) { return literal(is_true ? "true" : "false"); }
  JsonWriter& null() { return literal("null"); }
  template <std::integral Number>
    requires(!std::same_as<Number, bool>)
  JsonWriter& value(Number number) {
    separate();
    auto magnitude = static_cast<std::uint64_t>(number);
    if (number < 0) {
      *out_ += '-';
      magnitude = ~magnitude + 1;
    }
    telemetry::append_number(*out_, magnitude);
    return *this;
  }
  template <typename Value>
  JsonWriter& field(std::string_view name, const Value& content) {
    return key(name).value(content);
  }
  // Nothing when `text` is empty.
  JsonWriter& field_unless_empty(std::string_view name, std::string_view text) {
    return text.empty() ? *this : field(name, text);
  }
  // A list of texts under a key.
  template <typename Texts>
  JsonWriter& texts(std::string_view name, const Texts& list) {
    key(name).begin_array();
    for (const auto& text : list) value(std::string_view(text));
    return end_array();
  }

 private:
  JsonWriter& literal(std::string_view word) {
    separate();
    *out_ += word;
    return *this;
  }
  // Before a key, or a value of an array: the comma and the new line.
  void separate() {
    if (follows_key_) {
      follows_key_ = false;
      return;
    }
    if (has_members_.empty()) return;
    if (has_members_.back()) *out_ += ',';
    has_members_.back() = true;
    break_line();
  }
  JsonWriter& open(char bracket) {
    separate();
    *out_ += bracket;
    has_members_.push_back(false);
    return *this;
  }
  JsonWriter& close(char bracket) {
    const bool had_members = has_members_.back();
    has_members_.pop_back();
    if (had_members) break_line();
    *out_ += bracket;
    return *this;
  }
  void break_line() {
    if (layout_ == Layout::Compact) return;
    *out_ += '\n';
    out_->append(2 * has_members_.size(), ' ');
  }

  std::string* out_ = nullptr;
  std::vector<bool> has_members_;  // of each open object and array
  Layout layout_;
  bool follows_key_ = false;
};

}  // namespace culvert::admin
