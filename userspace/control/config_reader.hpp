// SPDX-License-Identifier: Apache-2.0
// ConfigReader: leads the declared keys over one map of a YAML document, sets what is there, and reports unknown and repeated
// keys, wrong kinds and missing keys with their place. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "control/config_errors.hpp"
#include "control/config_fields.hpp"

namespace culvert::control {

class ConfigReader final : public FieldVisitor {
 public:
  // `node` is a map, or null for "nothing given". `path` and `errors` outlive the reader.
  ConfigReader(const YAML::Node& node, const KeyPath& path, ConfigErrors& errors);

  void scalar(const Field& field, ScalarValue value) override;
  void list(const Field& field, ListValue value) override;
  void section(std::string_view key, std::string_view help, const std::function<void(FieldVisitor&)>& visit) override;
  void items(const Field& field, const Items& items) override;
  // Reports the keys that nobody asked for. Called last.
  void finish();

 private:
  struct Entry {
    std::string key;
    YAML::Node key_node;
    YAML::Node value;
    bool is_known = false;
  };
  // The value of a key that is given and not null.
  const YAML::Node* take(std::string_view key);
  const YAML::Node* take(const Field& field);
  void report(const YAML::Node& node, const KeyPath& path, std::string_view text);

  std::vector<Entry> entries_;
  std::vector<std::string_view> known_;  // the keys asked for, literals of the declaration
  YAML::Mark mark_;
  const KeyPath& path_;
  ConfigErrors& errors_;
};

}  // namespace culvert::control
