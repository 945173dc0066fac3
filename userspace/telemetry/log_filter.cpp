// SPDX-License-Identifier: Apache-2.0
// LogFilter; see log_filter.hpp.
#include "telemetry/log_filter.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace culvert::telemetry {
namespace {

constexpr std::array<std::pair<std::string_view, Level>, 13> kWords{{{"off", Level::Off},
                                                                     {"error", Level::Error},
                                                                     {"warn", Level::Warn},
                                                                     {"warning", Level::Warn},
                                                                     {"info", Level::Info},
                                                                     {"debug", Level::Debug},
                                                                     {"trace", Level::Debug},
                                                                     {"0", Level::Off},
                                                                     {"1", Level::Error},
                                                                     {"2", Level::Warn},
                                                                     {"3", Level::Info},
                                                                     {"4", Level::Debug},
                                                                     {"5", Level::Debug}}};

std::optional<Level> level_of_word(std::string_view word) {
  const auto equals = [word](const auto& known) {
    return std::ranges::equal(word, known.first,
                              [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; });
  };
  const auto* const found = std::ranges::find_if(kWords, equals);
  return found == kWords.end() ? std::nullopt : std::optional(found->second);
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

bool is_scope(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           c == '-';
  });
}

Result<void> apply_one(LogFilter& filter, std::string_view directive) {
  const std::size_t equals = directive.find('=');
  const bool has_scope = equals != std::string_view::npos;
  const std::string_view scope = has_scope ? trim(directive.substr(0, equals)) : std::string_view();
  const std::optional<Level> level = level_of_word(trim(has_scope ? directive.substr(equals + 1) : directive));
  if (!level || (has_scope && !is_scope(scope))) {
    return fail(ErrorCode::InvalidArgument,
                "{:?} is not LEVEL or SCOPE=LEVEL; levels are off, error, warn, info, debug, trace", directive);
  }
  if (!has_scope) filter.level = *level;
  if (scope == "culvert" || scope == "ztunnel") filter.messages = *level;
  if (scope == "access" || scope == "ztunnel::access") filter.access = *level;
  if (scope == "dns" || scope == "ztunnel::dns") filter.dns = *level;
  return {};
}

}  // namespace

std::string to_string(const LogFilter& filter) {
  std::string text(to_string(filter.level));
  if (filter.messages) text += fmt::format(",culvert={}", to_string(*filter.messages));
  if (filter.access) text += fmt::format(",access={}", to_string(*filter.access));
  if (filter.dns) text += fmt::format(",dns={}", to_string(*filter.dns));
  return text;
}

Result<LogFilter> apply_directives(LogFilter filter, std::string_view directives) {
  while (!directives.empty()) {
    const std::size_t comma = std::min(directives.find(','), directives.size());
    const std::string_view one = trim(directives.substr(0, comma));
    directives.remove_prefix(std::min(comma + 1, directives.size()));
    if (!one.empty()) CV_TRY(apply_one(filter, one));
  }
  return filter;
}

}  // namespace culvert::telemetry
