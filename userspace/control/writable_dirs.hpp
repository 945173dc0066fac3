// SPDX-License-Identifier: Apache-2.0
// Where the agent's directories are in a container whose root is read-only: below /tmp (base/default_paths.hpp).
#pragma once

#include <functional>
#include <string>

#include "control/config.hpp"

namespace culvert::control {

// Moves run_dir and state_dir, and what is named after them, where they are the defaults and cannot be made. Only for an agent that takes its pods from
// istio-cni (zds.socket): what others keep there must outlive the container. `is_read_only`: of the file system that a path would be made on.
void place_directories(Config& config, const std::function<bool(const std::string&)>& is_read_only);
// Asks the kernel about the nearest parent that is there.
[[nodiscard]] bool is_on_read_only_file_system(const std::string& path);

}  // namespace culvert::control
