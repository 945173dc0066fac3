// SPDX-License-Identifier: Apache-2.0
// Small files that are replaced whole: a reader sees the old text or the new one. Control thread; blocks on the disk.
#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/result.hpp"

namespace culvert::enroll {

// Writes `text` beside `path` and renames it there. There is no fsync, which costs some 10 ms of each ADD: what these files describe (namespaces,
// hooks, a running agent's rule) ends with the kernel, and StateDir removes what another boot has left without reading it.
[[nodiscard]] Result<void> replace_file(const std::string& path, std::string_view text, mode_t mode);
// At most `bytes_max` bytes; NotFound when there is no such file.
[[nodiscard]] Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max);
// The directory and its parents (0755), like mkdir -p; the last one gets `mode` when it is made here.
[[nodiscard]] Result<void> make_directory(const std::string& path, mode_t mode);

}  // namespace culvert::enroll
