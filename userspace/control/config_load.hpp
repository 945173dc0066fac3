// SPDX-License-Identifier: Apache-2.0
// The two steps of load_config, for the file source, which compares what it read before it parses. Control thread.
#pragma once

#include <string>
#include <string_view>

#include "control/config.hpp"

namespace culvert::control {

// Up to kConfigBytesMax.
[[nodiscard]] Result<std::string> read_config_text(const std::string& path);
// Up to LocalMesh::kBytesMax. An empty file is an error: of one that is being written, or was lost, nothing must be concluded.
[[nodiscard]] Result<std::string> read_local_text(const std::string& path);
// parse_config, then what depends on this machine: the environment and the files that it names.
[[nodiscard]] Result<Config> config_from_text(std::string_view text, std::string_view filename);

}  // namespace culvert::control
