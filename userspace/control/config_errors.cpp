// SPDX-License-Identifier: Apache-2.0
// Paths and mistakes as text. Pure.
#include "control/config_errors.hpp"

#include "control/config.hpp"

namespace culvert::control {

std::string KeyPath::to_string() const {
  std::string text = parent == nullptr ? std::string() : parent->to_string();
  if (index != kNoIndex) return text + fmt::format("[{}]", index);
  if (!text.empty() && !key.empty()) text += '.';
  return text.append(key);
}

bool ConfigErrors::is_full() const noexcept { return lines_.size() >= kConfigErrorsMax; }

void ConfigErrors::add(const YAML::Mark& mark, std::string_view path, std::string_view text) {
  if (is_full()) return;
  std::string line = filename_;
  if (!mark.is_null()) line += fmt::format(":{}:{}", mark.line + 1, mark.column + 1);
  line += ": ";
  if (!path.empty()) line.append(path).append(": ");
  lines_.push_back(line.append(text));
}

Error ConfigErrors::to_error() const {
  std::string text = fmt::format("{}", fmt::join(lines_, "\n"));
  if (is_full()) text += fmt::format("\n{}: stopped after {} mistakes", filename_, kConfigErrorsMax);
  return {ErrorCode::InvalidArgument, std::move(text)};
}

}  // namespace culvert::control
