// SPDX-License-Identifier: Apache-2.0
// What a configuration must fulfil beyond each key by itself: names and addresses that stand once, values that fit together. Pure.
#pragma once

#include <functional>
#include <string>

#include "control/config.hpp"

namespace culvert::control {

// Calls `report(path, text)` for each mistake; `path` is "mesh.workloads[3].addresses[0]" and names a key of the document where
// there is one. It gives false when no more are wanted.
using ReportMistake = std::function<bool(const std::string& path, const std::string& text)>;
void check_config(const Config& config, const ReportMistake& report);

}  // namespace culvert::control
