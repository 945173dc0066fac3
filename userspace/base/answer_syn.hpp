// SPDX-License-Identifier: Apache-2.0
// AnswerSyn: when the agent answers the SYN of a pod's connection; of the node, or of one pod. Plain value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace culvert {

enum class AnswerSyn : std::uint8_t {
  AtOnce,        // before the far end is asked: one that fails is reset
  AfterConnect,  // when the far end has answered: connect() fails where the far end refuses
};

// As the configuration, the state directory and the admin socket call them.
inline constexpr std::array<std::pair<std::string_view, AnswerSyn>, 2> kAnswerSynWords = {
    {{"at_once", AnswerSyn::AtOnce}, {"after_connect", AnswerSyn::AfterConnect}}};

[[nodiscard]] constexpr std::string_view to_string(AnswerSyn when) noexcept {
  return kAnswerSynWords[static_cast<std::size_t>(when)].first;
}
[[nodiscard]] constexpr std::optional<AnswerSyn> parse_answer_syn(std::string_view word) noexcept {
  for (const auto& [text, when] : kAnswerSynWords) {
    if (text == word) return when;
  }
  return std::nullopt;
}

}  // namespace culvert
