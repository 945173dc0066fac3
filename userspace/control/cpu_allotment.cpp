// SPDX-License-Identifier: Apache-2.0
// Reads the affinity mask and the quotas of this process's cgroup and of those above it.
#include "control/cpu_allotment.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>

#include <sched.h>

namespace culvert::control {
namespace {

constexpr std::uint32_t kWorkersMax = 256;
// Where cgroup2 is mounted: unified hosts and containers, and hybrid hosts.
constexpr std::array<const char*, 2> kMounts = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

std::string read_text(const std::string& path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : std::string();
}

// The least of the quotas of this process's cgroup and of those above it; null: none has one.
std::optional<std::uint32_t> cgroup_cpus() {
  const std::string membership = read_text("/proc/self/cgroup");
  std::string group(unified_cgroup(membership));
  std::optional<std::uint32_t> least;
  while (!group.empty()) {
    for (const char* mount : kMounts) {
      const auto cpus = quota_cpus(read_text(std::string(mount) + (group == "/" ? "" : group) + "/cpu.max"));
      if (cpus && (!least || *cpus < *least)) least = cpus;
    }
    if (group == "/") break;
    group.resize(group.rfind('/'));
    if (group.empty()) group = "/";
  }
  return least;
}

}  // namespace

std::optional<std::uint32_t> quota_cpus(std::string_view cpu_max) {
  std::uint64_t quota = 0;
  std::uint64_t period = 0;
  const char* const end = cpu_max.data() + cpu_max.size();
  const auto first = std::from_chars(cpu_max.data(), end, quota);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ' ') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || period == 0) return std::nullopt;
  const std::uint64_t cpus = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(cpus, 1, kWorkersMax));
}

std::string_view unified_cgroup(std::string_view text) {
  constexpr std::string_view kUnified = "0::";
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(kUnified)) return line.substr(kUnified.size());
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

std::uint32_t allotted_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // More than 1,024 CPUs: the mask does not fit, and the cap below applies.
  const bool has_mask = ::sched_getaffinity(0, sizeof(set), &set) == 0;
  const std::uint32_t cpus = has_mask ? static_cast<std::uint32_t>(CPU_COUNT(&set)) : kWorkersMax;
  return std::clamp<std::uint32_t>(std::min(cpus, cgroup_cpus().value_or(cpus)), 1, kWorkersMax);
}

bool has_cpu_quota() { return cgroup_cpus().has_value(); }

}  // namespace culvert::control
