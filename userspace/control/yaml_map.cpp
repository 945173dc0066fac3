// SPDX-License-Identifier: Apache-2.0
#include "control/yaml_map.hpp"

#include <algorithm>

namespace culvert::control {

YamlMap::YamlMap(const YAML::Node& node, std::string where, std::string& error)
    : node_(node), where_(std::move(where)), error_(error) {
  if (node_.IsDefined() && !node_.IsNull() && !node_.IsMap()) mistake({}, "must be a map");
}

void YamlMap::mistake(const std::string& key, std::string_view what) {
  if (!error_.empty()) return;
  const std::string at = key.empty() ? where_ : place(key);
  error_ = fmt::format("{}{}{}", at, at.empty() ? "it " : " ", what);
}

// A node that is not there must not be asked: yaml-cpp would make it.
YAML::Node YamlMap::find(const std::string& key) {
  known_.push_back(key);
  if (!error_.empty() || !node_.IsDefined() || !node_.IsMap()) return YAML::Node(YAML::NodeType::Null);
  const YAML::Node& map = node_;
  const YAML::Node value = map[key];
  return value.IsDefined() ? value : YAML::Node(YAML::NodeType::Null);
}

bool YamlMap::has(const std::string& key) { return !find(key).IsNull(); }

std::string YamlMap::text(const std::string& key, std::string_view otherwise) {
  const YAML::Node value = find(key);
  if (value.IsNull()) return std::string(otherwise);
  if (value.IsScalar()) return value.Scalar();
  mistake(key, "must be one value");
  return std::string(otherwise);
}

std::uint32_t YamlMap::number(const std::string& key, std::uint32_t max, std::uint32_t otherwise) {
  const std::string word = text(key);
  if (word.empty()) return otherwise;
  const auto value = parse_integer(word);
  if (value && *value <= max) return static_cast<std::uint32_t>(*value);
  mistake(key, fmt::format("is {}; a number from 0 to {} is wanted", quoted(word), max));
  return otherwise;
}

bool YamlMap::flag(const std::string& key, bool otherwise) {
  static const Words<bool> kWords = {{"true", true}, {"false", false}};
  return choice(key, kWords, otherwise);
}

void YamlMap::each(const std::string& key, const std::function<void(const YAML::Node&, const std::string&)>& visit) {
  const YAML::Node list = find(key);
  if (list.IsNull()) return;
  if (!list.IsSequence()) return mistake(key, "must be a list");
  for (std::size_t i = 0; i < list.size() && error_.empty(); ++i) visit(list[i], fmt::format("{}[{}]", place(key), i));
}

std::vector<std::string> YamlMap::texts(const std::string& key) {
  std::vector<std::string> made;
  each(key, [&](const YAML::Node& one, const std::string&) {
    if (!one.IsScalar()) return mistake(key, "must be a list of texts");
    made.push_back(one.Scalar());
  });
  return made;
}

void YamlMap::entries(const std::string& key, const std::function<void(const std::string&, const YAML::Node&)>& visit) {
  const YAML::Node map = find(key);
  if (map.IsNull()) return;
  if (!map.IsMap()) return mistake(key, "must be a map");
  for (const auto& entry : map) {
    if (!error_.empty()) return;
    if (!entry.first.IsScalar()) return mistake(key, "has a key that is no text");
    visit(entry.first.Scalar(), entry.second);
  }
}

YamlMap YamlMap::map(const std::string& key) { return YamlMap(find(key), place(key), error_); }

void YamlMap::finish() {
  if (!error_.empty() || !node_.IsDefined() || !node_.IsMap()) return;
  for (const auto& entry : node_) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : std::string("?");
    if (std::ranges::find(known_, key) == known_.end()) return mistake(key, "is not a key that is known there");
  }
}

}  // namespace culvert::control
