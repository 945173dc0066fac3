// SPDX-License-Identifier: Apache-2.0
// Reads a file that somebody else writes. Blocks on the disk; control thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace culvert::control {

// `what` names it in errors ("the configuration"). Only regular files; a larger one than `bytes_max` is an error, and no more of it is read.
[[nodiscard]] Result<std::string> read_text_file(const std::string& path, std::string_view what, std::size_t bytes_max);

// Nothing but white space.
[[nodiscard]] inline bool is_blank(std::string_view text) noexcept {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace culvert::control
