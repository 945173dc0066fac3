// SPDX-License-Identifier: Apache-2.0
// Where an agent has its directories when its configuration names none.
#pragma once

namespace culvert {

inline constexpr const char* kDefaultRunDir = "/run/culvert";
inline constexpr const char* kDefaultStateDir = "/var/lib/culvert";
inline constexpr const char* kAdminSocketName = "/admin.sock";  // below the run directory
// In a container whose root is read-only, as the one that ztunnel's chart makes: below /tmp, which is a volume of its own there (control/writable_dirs.hpp).
inline constexpr const char* kReadOnlyRootRunDir = "/tmp/culvert";
inline constexpr const char* kReadOnlyRootStateDir = "/tmp/culvert/state";

}  // namespace culvert
