// SPDX-License-Identifier: Apache-2.0
// The policies of a LocalMesh.
#pragma once

#include <string>

#include "control/yaml_map.hpp"
#include "state/authorization.hpp"

namespace culvert::control {

// One entry of `policies`; mistakes go to `error`.
[[nodiscard]] state::Authorization local_policy(const YAML::Node& node, const std::string& where, std::string& error);

}  // namespace culvert::control
