// SPDX-License-Identifier: Apache-2.0
// Where a key stands, and the list of mistakes that parsing has found so far. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "base/result.hpp"

namespace culvert::control {

// One step of a key's path; the whole is written out only when there is something to say. Parents outlive their children.
struct KeyPath {
  static constexpr std::size_t kNoIndex = static_cast<std::size_t>(-1);

  const KeyPath* parent = nullptr;
  std::string_view key;
  std::size_t index = kNoIndex;

  // "mesh.workloads[3].addresses"
  [[nodiscard]] std::string to_string() const;
};

class ConfigErrors {
 public:
  explicit ConfigErrors(std::string_view filename) : filename_(filename) {}

  // True when no more are wanted: parsing stops.
  [[nodiscard]] bool is_full() const noexcept;
  [[nodiscard]] bool is_empty() const noexcept { return lines_.empty(); }
  void add(const YAML::Mark& mark, std::string_view path, std::string_view text);
  // All of them, as one error.
  [[nodiscard]] Error to_error() const;

 private:
  std::string filename_;
  std::vector<std::string> lines_;
};

}  // namespace culvert::control
