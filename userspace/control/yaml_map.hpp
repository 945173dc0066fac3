// SPDX-License-Identifier: Apache-2.0
// YamlMap: one map of a YAML document that somebody else's schema describes. Keys are asked for one by one; what is not understood, and every
// key that nobody asked for, is a mistake. The first mistake of the document is kept, and everything after it reads as if it were not there. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "base/result.hpp"
#include "control/config_values.hpp"

namespace culvert::control {

class YamlMap {
 public:
  // `where` names the map in mistakes ("workloads[2]"); empty: the document. `error` outlives it.
  YamlMap(const YAML::Node& node, std::string where, std::string& error);

  [[nodiscard]] bool has(const std::string& key);
  [[nodiscard]] std::string text(const std::string& key, std::string_view otherwise = {});
  [[nodiscard]] std::uint32_t number(const std::string& key, std::uint32_t max, std::uint32_t otherwise = 0);
  [[nodiscard]] bool flag(const std::string& key, bool otherwise = false);
  template <typename Enum>
  [[nodiscard]] Enum choice(const std::string& key, const Words<Enum>& words, Enum otherwise) {
    const std::string word = text(key);
    if (word.empty()) return otherwise;
    const auto found = std::ranges::find(words, word, &std::pair<std::string, Enum>::first);
    if (found != words.end()) return found->second;
    mistake(key, fmt::format("is {}; one of {} is wanted", quoted(word), fmt::join(words_of(words), ", ")));
    return otherwise;
  }
  // Each element of a list, with what names it in mistakes; none where the key is not there.
  void each(const std::string& key, const std::function<void(const YAML::Node&, const std::string&)>& visit);
  [[nodiscard]] std::vector<std::string> texts(const std::string& key);
  // Each entry of a map, by its key.
  void entries(const std::string& key, const std::function<void(const std::string&, const YAML::Node&)>& visit);
  // The map under this key; empty where it is not there.
  [[nodiscard]] YamlMap map(const std::string& key);
  // What `parse` makes of the text under this key, or of each of a list.
  template <typename T, typename Parse>
  [[nodiscard]] std::vector<T> list(const std::string& key, Parse&& parse) {
    std::vector<T> made;
    for (const std::string& one : texts(key)) {
      if (auto value = parse(one)) {
        made.push_back(*std::move(value));
      } else {
        mistake(key, fmt::format("has {}, which means nothing there", quoted(one)));
      }
    }
    return made;
  }
  void mistake(const std::string& key, std::string_view what);
  // Behind the last key that is asked for.
  void finish();

 private:
  [[nodiscard]] YAML::Node find(const std::string& key);
  [[nodiscard]] std::string place(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }

  YAML::Node node_;
  std::string where_;
  std::string& error_;
  std::vector<std::string> known_;
};

}  // namespace culvert::control
