// SPDX-License-Identifier: Apache-2.0
// The kinds of value that a configuration key can have: each binds one variable, sets it from text and gives it back as text. Pure.
// Errors name the value and the remedy; where it stands is the reader's business.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "base/address.hpp"
#include "base/answer_syn.hpp"
#include "base/result.hpp"

namespace culvert::control {

// The bound variable itself, so that one configuration's value can be copied into another.
struct Variable {
  void* address = nullptr;
  void (*copy)(void* to, const void* from) = nullptr;
};
template <typename T>
[[nodiscard]] Variable variable_of(T& target) {
  return {&target, [](void* to, const void* from) { *static_cast<T*>(to) = *static_cast<const T*>(from); }};
}

// A scalar bound to a variable that outlives it.
struct ScalarValue {
  std::string type;   // as docs/operations.md calls it: string, integer, duration, size, boolean, address, ...
  std::string range;  // what is allowed, for a person; may be empty
  std::vector<std::string> choices;  // of a choice; else empty
  std::function<Result<void>(std::string_view)> set;
  std::function<std::string()> get;  // in the form that `set` accepts; empty text when unset
  Variable variable;
};

// A list of scalars. `add` appends one element.
struct ListValue {
  std::string element_type;
  std::string range;
  std::vector<std::string> choices;
  std::size_t size_max = 0;
  std::function<void()> clear;
  std::function<Result<void>(std::string_view)> add;
  std::function<std::string()> get;  // "[a, b]"
  Variable variable;
};

// "250ms", "30s", "5m", "24h": one whole number and one unit.
[[nodiscard]] Result<std::uint64_t> parse_duration_ms(std::string_view text);
[[nodiscard]] std::string format_duration_ms(std::uint64_t value_ms);
// "64MiB", "4KiB", "1GiB", "512B".
[[nodiscard]] Result<std::uint64_t> parse_size_bytes(std::string_view text);
[[nodiscard]] std::string format_size_bytes(std::uint64_t bytes);
// Decimal, or hexadecimal after 0x.
[[nodiscard]] Result<std::uint64_t> parse_integer(std::string_view text);
// Text for an error message: quoted, control characters escaped, shortened.
[[nodiscard]] std::string quoted(std::string_view text);
// The candidate that `word` was probably meant to be, or empty.
[[nodiscard]] std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);

// The checks of names and numbers, for other kinds of value.
[[nodiscard]] Result<void> check_name(std::string_view text, std::size_t size_max, bool may_be_empty);
[[nodiscard]] Result<void> check_range(std::string_view text, std::uint64_t value, std::uint64_t min, std::uint64_t max,
                                       std::string_view range);

[[nodiscard]] ScalarValue duration_value(std::uint64_t& target_ms, std::uint64_t min_ms, std::uint64_t max_ms);
[[nodiscard]] ScalarValue size_value(std::uint64_t& target, std::uint64_t min, std::uint64_t max);
[[nodiscard]] ScalarValue integer_value(std::uint32_t& target, std::uint32_t min, std::uint32_t max);
[[nodiscard]] ScalarValue integer_value(std::optional<std::uint32_t>& target, std::uint32_t min, std::uint32_t max);
[[nodiscard]] ScalarValue boolean_value(bool& target);
[[nodiscard]] ScalarValue boolean_value(std::optional<bool>& target);
// An address and a port, or `off`.
[[nodiscard]] ScalarValue listen_value(std::optional<Endpoint>& target);
[[nodiscard]] ScalarValue path_value(std::string& target, std::size_t size_max = 4'095);
// [A-Za-z0-9._-], 1 to `size_max` characters, a letter or digit first; empty only where `may_be_empty`.
[[nodiscard]] ScalarValue name_value(std::string& target, std::size_t size_max, bool may_be_empty = false);
[[nodiscard]] ScalarValue name_value(std::optional<std::string>& target, std::size_t size_max, bool may_be_empty);
// Up to `size_max` printable characters; may be empty.
[[nodiscard]] ScalarValue text_value(std::string& target, std::size_t size_max);
// Lower-case letters, digits, '.', '-', '_'.
[[nodiscard]] ScalarValue trust_domain_value(std::string& target);

[[nodiscard]] ListValue trust_domain_list(std::vector<std::string>& target, std::size_t size_max);
[[nodiscard]] ListValue port_list(std::vector<std::uint16_t>& target);
[[nodiscard]] ListValue cidr_list(std::vector<Cidr>& target);
[[nodiscard]] ListValue address_list(std::vector<IpAddress>& target, std::size_t size_max);

template <typename Enum>
using Words = std::vector<std::pair<std::string, Enum>>;

inline const Words<AnswerSyn> kAnswerSynChoices(kAnswerSynWords.begin(), kAnswerSynWords.end());

[[nodiscard]] Result<std::size_t> find_word(std::string_view text, const std::vector<std::string>& words);

template <typename Enum>
[[nodiscard]] std::vector<std::string> words_of(const Words<Enum>& words) {
  std::vector<std::string> texts;
  texts.reserve(words.size());
  for (const auto& word : words) texts.push_back(word.first);
  return texts;
}

template <typename Enum>
[[nodiscard]] std::string word_for(const Words<Enum>& words, Enum value) {
  for (const auto& [text, meaning] : words) {
    if (meaning == value) return text;
  }
  return {};
}

// One word of a fixed list. `target` is an Enum or an optional of it; `words` outlives the value.
template <typename Enum>
[[nodiscard]] ScalarValue choice_value(Enum& target, const Words<Enum>& words) {
  return {"choice",
          {},
          words_of(words),
          [&target, &words](std::string_view text) -> Result<void> {
            target = words[CV_TRY(find_word(text, words_of(words)))].second;
            return {};
          },
          [&target, &words] { return word_for(words, target); },
          variable_of(target)};
}

template <typename Enum>
[[nodiscard]] ScalarValue choice_value(std::optional<Enum>& target, const Words<Enum>& words) {
  return {"choice",
          {},
          words_of(words),
          [&target, &words](std::string_view text) -> Result<void> {
            target = words[CV_TRY(find_word(text, words_of(words)))].second;
            return {};
          },
          [&target, &words] { return target ? word_for(words, *target) : std::string(); },
          variable_of(target)};
}

// A list of what `parse` (text to Result<T>) makes and `write` (T to text or a number) gives back, each once.
template <typename T, typename Parse, typename Write>
[[nodiscard]] ListValue list_of(std::vector<T>& target, std::string type, std::size_t size_max, Parse parse,
                                Write write) {
  return {std::move(type),
          {},
          {},
          size_max,
          [&target] { target.clear(); },
          [&target, parse](std::string_view text) -> Result<void> {
            T value = CV_TRY(parse(text));
            if (std::ranges::find(target, value) != target.end()) {
              return fail(ErrorCode::AlreadyExists, "{} stands twice in this list; remove one", quoted(text));
            }
            target.push_back(std::move(value));
            return {};
          },
          [&target, write] {
            std::vector<std::string> texts;
            for (const T& value : target) texts.push_back(fmt::format("{}", write(value)));
            return fmt::format("[{}]", fmt::join(texts, ", "));
          },
          variable_of(target)};
}

// A list of such words, each once.
template <typename Enum>
[[nodiscard]] ListValue choice_list(std::vector<Enum>& target, const Words<Enum>& words) {
  ListValue list = list_of(
      target, "choice", words.size(),
      [&words](std::string_view text) -> Result<Enum> {
        return words[CV_TRY(find_word(text, words_of(words)))].second;
      },
      [&words](Enum value) { return word_for(words, value); });
  list.choices = words_of(words);
  return list;
}

}  // namespace culvert::control
