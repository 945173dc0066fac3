// SPDX-License-Identifier: Apache-2.0
// The keys of the configuration, declared once: name, kind, range, whether a change applies while the agent runs, and what it
// means. A FieldVisitor that is led over them reads a document, lists the keys, or compares two configurations. Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/config.hpp"
#include "control/config_values.hpp"

namespace culvert::control {

enum class Applies : std::uint8_t { Live, Restart };

struct Field {
  std::string_view key;
  Applies applies;
  std::string_view help;
  bool is_required = false;
};

class FieldVisitor {
 public:
  virtual ~FieldVisitor() = default;
  virtual void scalar(const Field& field, ScalarValue value) = 0;
  virtual void list(const Field& field, ListValue value) = 0;
  virtual void section(std::string_view key, std::string_view help,
                       const std::function<void(FieldVisitor&)>& visit) = 0;
  // A list of maps. `append` makes a new element and leads the visitor that it is given over the element's keys.
  struct Items {
    std::size_t size_max = 0;
    std::function<void()> clear;
    std::function<void(FieldVisitor&)> append;
  };
  virtual void items(const Field& field, const Items& items) = 0;
};

void visit_config(FieldVisitor& visitor, Config& config);

// One key as listed for people and for the schema. Paths are "tunnel.pool.idle_timeout" and "pods[].id".
struct KeyInfo {
  enum class Shape : std::uint8_t { Section, Scalar, List, Items };
  std::string path;
  Shape shape;
  std::string type;  // of a scalar or of a list's elements
  std::string range;
  std::vector<std::string> choices;
  std::string default_text;  // of a default Config
  Applies applies;
  std::string help;
  bool is_required;
  std::size_t size_max = 0;  // entries of a list
};
[[nodiscard]] std::vector<KeyInfo> config_keys();

// Keys that differ between the two and only apply after a restart.
[[nodiscard]] std::vector<std::string> restart_keys(const Config& running, const Config& wanted);
// What can be in force without a restart: `wanted` with the values of `running` where only a restart changes them.
[[nodiscard]] Config effective_config(const Config& running, Config wanted);

}  // namespace culvert::control
