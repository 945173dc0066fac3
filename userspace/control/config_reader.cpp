// SPDX-License-Identifier: Apache-2.0
// Reading one map. Pure; exceptions of yaml-cpp are caught by the parser that owns the document.
#include "control/config_reader.hpp"

#include <algorithm>

namespace culvert::control {
namespace {

std::string_view kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return node.IsScalar() ? "a single value" : "nothing";
}

bool has_control_character(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

Result<void> set_from(const YAML::Node& node, const std::function<Result<void>(std::string_view)>& set,
                      std::string_view type) {
  if (!node.IsScalar()) {
    return fail(ErrorCode::InvalidArgument, "{} was found; write one value ({})", kind_of(node), type);
  }
  const std::string& text = node.Scalar();
  if (has_control_character(text)) {
    return fail(ErrorCode::InvalidArgument, "{} holds control characters; remove them", quoted(text));
  }
  return set(text);
}

}  // namespace

ConfigReader::ConfigReader(const YAML::Node& node, const KeyPath& path, ConfigErrors& errors)
    : mark_(node.Mark()), path_(path), errors_(errors) {
  if (!node.IsDefined() || node.IsNull()) return;
  if (!node.IsMap()) {
    report(node, path_, fmt::format("{} was found; write a map of keys and values", kind_of(node)));
    return;
  }
  entries_.reserve(node.size());
  for (const auto& pair : node) {
    if (!pair.first.IsScalar()) {
      report(pair.first, path_, fmt::format("{} was found as a key; a key is a word", kind_of(pair.first)));
      continue;
    }
    const std::string& key = pair.first.Scalar();
    const auto earlier = std::ranges::find(entries_, key, &Entry::key);
    if (earlier != entries_.end()) {
      const KeyPath place{&path_, earlier->key};
      report(pair.first, place,
             fmt::format("stands twice, first in line {}; remove one", earlier->key_node.Mark().line + 1));
      if (errors_.is_full()) return;
      continue;
    }
    entries_.push_back({key, pair.first, pair.second});
  }
}

void ConfigReader::report(const YAML::Node& node, const KeyPath& path, std::string_view text) {
  errors_.add(node.Mark(), path.to_string(), text);
}

const YAML::Node* ConfigReader::take(std::string_view key) {
  known_.push_back(key);
  const auto found = std::ranges::find(entries_, key, &Entry::key);
  if (found == entries_.end()) return nullptr;
  found->is_known = true;
  return found->value.IsNull() || errors_.is_full() ? nullptr : &found->value;
}

const YAML::Node* ConfigReader::take(const Field& field) {
  const YAML::Node* node = take(field.key);
  if (node == nullptr && field.is_required) {
    const KeyPath path{&path_, field.key};
    errors_.add(mark_, path.to_string(), "is missing; it must be given here");
  }
  return node;
}

void ConfigReader::scalar(const Field& field, ScalarValue value) {
  const YAML::Node* node = take(field);
  if (node == nullptr) return;
  const Result<void> done = set_from(*node, value.set, value.type);
  if (!done) report(*node, {&path_, field.key}, done.error().message());
}

void ConfigReader::list(const Field& field, ListValue value) {
  const YAML::Node* node = take(field);
  if (node == nullptr) return;
  const KeyPath path{&path_, field.key};
  if (!node->IsSequence()) {
    report(*node, path,
           fmt::format("{} was found; write a list, such as [a, b] ({})", kind_of(*node), value.element_type));
    return;
  }
  if (node->size() > value.size_max) {
    report(*node, path, fmt::format("{} entries were found; at most {} are allowed", node->size(), value.size_max));
    return;
  }
  value.clear();
  std::size_t index = 0;
  for (const YAML::Node& element : *node) {
    const KeyPath element_path{&path, {}, index++};
    const Result<void> done = set_from(element, value.add, value.element_type);
    if (!done) report(element, element_path, done.error().message());
    if (errors_.is_full()) return;
  }
}

void ConfigReader::section(std::string_view key, std::string_view, const std::function<void(FieldVisitor&)>& visit) {
  const YAML::Node* node = take(key);
  if (node == nullptr) return;
  const KeyPath path{&path_, key};
  ConfigReader inner(*node, path, errors_);
  visit(inner);
  inner.finish();
}

void ConfigReader::items(const Field& field, const Items& items) {
  const YAML::Node* node = take(field);
  if (node == nullptr) return;
  const KeyPath path{&path_, field.key};
  if (!node->IsSequence()) {
    report(*node, path, fmt::format("{} was found; write a list of maps, each beginning with \"- \"", kind_of(*node)));
    return;
  }
  if (node->size() > items.size_max) {
    report(*node, path, fmt::format("{} entries were found; at most {} are allowed", node->size(), items.size_max));
    return;
  }
  items.clear();
  std::size_t index = 0;
  for (const YAML::Node& element : *node) {
    const KeyPath element_path{&path, {}, index++};
    if (!element.IsMap()) {
      report(element, element_path, fmt::format("{} was found; write a map of keys and values", kind_of(element)));
    } else {
      ConfigReader inner(element, element_path, errors_);
      items.append(inner);
      inner.finish();
    }
    if (errors_.is_full()) return;
  }
}

void ConfigReader::finish() {
  for (const Entry& entry : entries_) {
    if (entry.is_known) continue;
    const std::string_view suggestion = nearest(entry.key, known_);
    const std::string remedy = suggestion.empty() ? fmt::format("known here: {}", fmt::join(known_, ", "))
                                                  : fmt::format("did you mean {}?", suggestion);
    report(entry.key_node, path_, fmt::format("unknown key {}; {}", quoted(entry.key), remedy));
  }
}

}  // namespace culvert::control
