// SPDX-License-Identifier: Apache-2.0
// How many CPUs this process may use: its affinity mask, bounded by its cgroup's quota (cpu.max of cgroup v2). Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace culvert::control {

// At least 1, at most 256.
[[nodiscard]] std::uint32_t allotted_cpus();
// Pure. CPUs that a cpu.max line grants, rounded up; null for "max" and for what is not such a line.
[[nodiscard]] std::optional<std::uint32_t> quota_cpus(std::string_view cpu_max);
// Pure. The path of the unified hierarchy in /proc/self/cgroup; empty when there is none.
[[nodiscard]] std::string_view unified_cgroup(std::string_view proc_self_cgroup);

}  // namespace culvert::control
