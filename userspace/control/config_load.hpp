// SPDX-License-Identifier: Apache-2.0
// The two steps of load_config, for the file source, which compares what it read before it parses. Control thread.
#pragma once

#include <string>
#include <string_view>

#include "control/config.hpp"

namespace culvert::control {

// At most one byte more than kConfigBytesMax is read.
[[nodiscard]] Result<std::string> read_config_text(const std::string& path);
// parse_config, then what depends on this machine.
[[nodiscard]] Result<Config> config_from_text(std::string_view text, std::string_view filename);

}  // namespace culvert::control
