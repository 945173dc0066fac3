// SPDX-License-Identifier: Apache-2.0
// The environment variables that ztunnel has, so that a DaemonSet made for it needs another image and nothing else (docs/operations.md has the
// table: which are used, which are accepted and mean nothing here). What the environment says comes before what the file says. Pure.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "control/config.hpp"
#include "control/proxy_config.hpp"

namespace culvert::control {

using Environment = std::map<std::string, std::string, std::less<>>;

// This process's.
[[nodiscard]] Environment process_environment();

// In the order of ztunnel: a variable that is wrong is an error "invalid env var NAME=VALUE (WHY)". `exists` says whether a path names a
// file. `mesh`: what the mesh file says; PROXY_CONFIG comes before it, and single variables come before both. Nothing is taken over after
// an error.
[[nodiscard]] Result<void> apply_environment(Config& config, const Environment& environment,
                                             const std::function<bool(const std::string&)>& exists,
                                             const MeshSettings& mesh = {});

// "180s", "1h30m", "5m + 10s", "250ms", "2w", "90" (seconds), as ztunnel's variables write a duration; in milliseconds, rounded up. Of ztunnel's
// syntax only the multiplication ("2m * 3") is refused. At most 100 years.
[[nodiscard]] Result<std::uint64_t> parse_environment_duration_ms(std::string_view text);

}  // namespace culvert::control
