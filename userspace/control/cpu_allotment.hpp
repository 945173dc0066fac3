// SPDX-License-Identifier: Apache-2.0
// How many CPUs this process may use: its affinity mask, bounded by its cgroup's quota (cpu.max of cgroup v2). Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace culvert::control {

inline constexpr std::uint32_t kBusyWaitUs = 75;

// At least 1, at most 256.
[[nodiscard]] std::uint32_t allotted_cpus();
// A quota (cpu.max of cgroup v2) bounds its CPU time.
[[nodiscard]] bool has_cpu_quota();
// Pure. Of busy_wait_us. What looks under a quota is missing for work, and on the only CPU it is in the way of what it waits for.
[[nodiscard]] constexpr std::uint32_t default_busy_wait_us(bool has_quota, std::uint32_t cpus) noexcept {
  return has_quota || cpus < 2 ? 0 : kBusyWaitUs;
}
// Pure. CPUs that a cpu.max line grants, rounded up; null for "max" and for what is not such a line.
[[nodiscard]] std::optional<std::uint32_t> quota_cpus(std::string_view cpu_max);
// Pure. The path of the unified hierarchy in /proc/self/cgroup; empty when there is none.
[[nodiscard]] std::string_view unified_cgroup(std::string_view proc_self_cgroup);

}  // namespace culvert::control
