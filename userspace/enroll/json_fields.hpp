// SPDX-License-Identifier: Apache-2.0
// Fields: reads the members of one JSON object that somebody else wrote. As ByteReader does with bytes: after the first member
// that is missing or not as declared every read gives an empty value, and `finish` gives that first error. Pure.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.hpp"

namespace culvert::enroll {

enum class Need : std::uint8_t { Required, Optional };

class Fields {
 public:
  // `what` names the object in errors ("the request", "pod").
  Fields(const nlohmann::json& object, std::string what) : object_(object), what_(std::move(what)) {
    if (!object_.is_object()) error(fmt::format("{} is not a JSON object", what_));
  }

  [[nodiscard]] std::string text(const char* key, std::size_t bytes_max, Need need = Need::Required) {
    const nlohmann::json* value = find(key, need);
    if (value == nullptr) return {};
    if (!value->is_string()) return wrong(key, "a string"), std::string();
    const auto& text = value->get_ref<const std::string&>();
    if (text.size() > bytes_max)
      return wrong(key, fmt::format("a string of at most {} bytes", bytes_max)), std::string();
    // No field of ours may hold a NUL: most end as a path or a name in a C interface.
    if (text.find('\0') != std::string::npos) return wrong(key, "a string without NUL"), std::string();
    return text;
  }
  [[nodiscard]] std::uint64_t number(const char* key, std::uint64_t max, Need need = Need::Required,
                                     std::uint64_t otherwise = 0) {
    const nlohmann::json* value = find(key, need);
    if (value == nullptr) return otherwise;
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > max) {
      wrong(key, fmt::format("a whole number from 0 to {}", max));
      return otherwise;
    }
    return value->get<std::uint64_t>();
  }
  [[nodiscard]] bool boolean(const char* key, Need need = Need::Required, bool otherwise = false) {
    const nlohmann::json* value = find(key, need);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) return wrong(key, "true or false"), otherwise;
    return value->get<bool>();
  }
  // An array whose elements the caller reads; null when absent or wrong.
  [[nodiscard]] const nlohmann::json* array(const char* key, std::size_t count_max, Need need = Need::Required) {
    const nlohmann::json* value = find(key, need);
    if (value == nullptr) return nullptr;
    if (!value->is_array() || value->size() > count_max) {
      wrong(key, fmt::format("an array of at most {} elements", count_max));
      return nullptr;
    }
    return value;
  }
  [[nodiscard]] std::vector<std::string> texts(const char* key, std::size_t count_max, std::size_t bytes_max,
                                               Need need = Need::Required) {
    std::vector<std::string> result;
    const nlohmann::json* value = array(key, count_max, need);
    if (value == nullptr) return result;
    for (const nlohmann::json& element : *value) {
      if (!element.is_string() || element.get_ref<const std::string&>().size() > bytes_max) {
        return wrong(key, fmt::format("an array of strings of at most {} bytes", bytes_max)),
               std::vector<std::string>();
      }
      result.push_back(element.get<std::string>());
    }
    return result;
  }
  [[nodiscard]] const nlohmann::json* object(const char* key, Need need = Need::Required) {
    const nlohmann::json* value = find(key, need);
    if (value != nullptr && !value->is_object()) return wrong(key, "an object"), nullptr;
    return value;
  }

  // Records `message` unless something was wrong before.
  void error(std::string message) {
    if (!error_) error_ = std::move(message);
  }
  void wrong(const char* key, std::string_view expected) {
    error(fmt::format("\"{}\" in {} is not {}", key, what_, expected));
  }
  [[nodiscard]] bool ok() const noexcept { return !error_.has_value(); }
  [[nodiscard]] Result<void> finish(ErrorCode code) const {
    if (error_) return std::unexpected(Error(code, *error_));
    return {};
  }

 private:
  [[nodiscard]] const nlohmann::json* find(const char* key, Need need) {
    if (error_) return nullptr;
    const auto place = object_.find(key);
    if (place != object_.end()) return &*place;
    if (need == Need::Required) error(fmt::format("\"{}\" is missing in {}", key, what_));
    return nullptr;
  }

  const nlohmann::json& object_;
  std::string what_;
  std::optional<std::string> error_;
};

// Text of a document; invalid UTF-8 from outside (a path, an errno's text) is replaced, never thrown about.
[[nodiscard]] inline std::string dump(const nlohmann::json& document, int indent = -1) {
  return document.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace culvert::enroll
