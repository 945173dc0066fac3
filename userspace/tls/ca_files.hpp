// SPDX-License-Identifier: Apache-2.0
// Small files that must be there whole or not at all, and that two processes may make at one time: the embedded CA's key and
// certificate. Errors name the path and the remedy.
#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/result.hpp"

namespace culvert::tls {

inline constexpr std::size_t kCaFileBytesMax = 64 * 1024;

// Makes `directory` (0700) when it is absent.
[[nodiscard]] Result<void> ensure_directory(const std::string& directory);
// NotFound when there is none. With `is_secret` refuses a file that others than its owner may read, or that somebody else owns.
[[nodiscard]] Result<std::string> read_file(const std::string& path, bool is_secret);
// Writes a temporary file, syncs it and links it to `path`: AlreadyExists when somebody else was first.
[[nodiscard]] Result<void> create_file(const std::string& path, std::string_view content, mode_t mode);

}  // namespace culvert::tls
