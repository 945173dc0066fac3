// SPDX-License-Identifier: Apache-2.0
// Preflight of what a process gets here: capabilities, limits, writable sysctls. As root on the node these are the agent's;
// its own limits may differ (systemd unit, pod).
#include <array>
#include <charconv>
#include <fstream>

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "core/netns.hpp"
#include "ctl/preflight.hpp"
#include "ctl/units.hpp"

namespace culvert::ctl {
namespace {

struct Capability {
  unsigned bit;
  const char* name;
};
// Numbers of linux/capability.h; Debian 12's headers know them all.
constexpr std::array<Capability, 7> kNeeded{{{1, "CAP_DAC_OVERRIDE"},
                                             {12, "CAP_NET_ADMIN"},
                                             {13, "CAP_NET_RAW"},
                                             {19, "CAP_SYS_PTRACE"},
                                             {21, "CAP_SYS_ADMIN"},
                                             {38, "CAP_PERFMON"},
                                             {39, "CAP_BPF"}}};
constexpr std::uint64_t kPipeBytes = 1'048'576;
constexpr rlim_t kFilesWanted = 65'536;

std::uint64_t effective_capabilities() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("CapEff:")) continue;
    const std::size_t digits = line.find_first_of("0123456789abcdef", 7);
    std::uint64_t set = 0;
    if (digits != std::string::npos) std::from_chars(line.data() + digits, line.data() + line.size(), set, 16);
    return set;
  }
  return 0;
}

void probe_capabilities(Checks& checks) {
  const std::uint64_t set = effective_capabilities();
  std::string absent;
  for (const Capability& capability : kNeeded) {
    if ((set >> capability.bit & 1U) == 0) absent += (absent.empty() ? "" : ", ") + std::string(capability.name);
  }
  checks.push_back({.id = "capabilities",
                    .title = "capabilities",
                    .verdict = absent.empty() ? Verdict::Ok : Verdict::Missing,
                    .found = absent.empty() ? "all that the agent needs" : "without " + absent,
                    .remedy = absent.empty()
                                  ? ""
                                  : "Run as root, and in a container as privileged or with these capabilities added."});
}

void probe_pipes(Checks& checks) {
  const std::string text = first_line("/proc/sys/fs/pipe-max-size");
  std::uint64_t bytes = 0;
  std::from_chars(text.data(), text.data() + text.size(), bytes);
  const bool is_enough = bytes >= kPipeBytes;
  checks.push_back({.id = "pipe-size",
                    .title = "pipe size limit",
                    .verdict = is_enough ? Verdict::Ok : Verdict::Degraded,
                    .found = bytes == 0 ? "unknown" : human_bytes(bytes),
                    .remedy = is_enough ? "" : "Splicing into kernel TLS gains less: sysctl fs.pipe-max-size=1048576"});
}

void probe_limits(Checks& checks) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const bool is_enough = files.rlim_max >= kFilesWanted;
  checks.push_back(
      {.id = "open-files",
       .title = "open files limit",
       .verdict = is_enough ? Verdict::Ok : Verdict::Degraded,
       .found = files.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(files.rlim_max),
       .remedy =
           is_enough
               ? ""
               : "A connection takes two or more descriptors; LimitNOFILE=1048576 in the unit raises the limit."});
  // From 5.11 on BPF memory is charged to the cgroup, and this limit counts for nothing.
  rlimit memory{};
  ::getrlimit(RLIMIT_MEMLOCK, &memory);
  checks.push_back({.id = "memlock",
                    .title = "locked memory limit",
                    .verdict = Verdict::Ok,
                    .found = memory.rlim_max == RLIM_INFINITY
                                 ? "unlimited"
                                 : human_bytes(memory.rlim_max) + ", which BPF no longer counts",
                    .remedy = {}});
}

void probe_namespaces(Checks& checks) {
  const auto here = open_current_netns();
  bool is_able = false;
  std::string why;
  if (here) {
    const auto guard = NetnsGuard::enter(here->get(), here->get());
    is_able = guard.has_value();
    if (!guard) why = guard.error().message();
  } else {
    why = here.error().message();
  }
  checks.push_back(
      {.id = "netns",
       .title = "entering network namespaces",
       .verdict = is_able ? Verdict::Ok : Verdict::Missing,
       .found = is_able ? "allowed" : "not allowed",
       .remedy = is_able ? "" : why + ". CAP_SYS_ADMIN is needed, and a seccomp profile that allows setns."});
}

void probe_sysctls(Checks& checks) {
  const bool is_writable = ::access("/proc/sys/net/ipv4/conf/lo/accept_local", W_OK) == 0;
  checks.push_back(
      {.id = "sysctl",
       .title = "writable /proc/sys/net",
       .verdict = is_writable ? Verdict::Ok : Verdict::Missing,
       .found = is_writable ? "yes" : "read-only",
       .remedy =
           is_writable
               ? ""
               : "The agent sets accept_local on lo inside each pod: run as root, in a container as privileged."});
}

}  // namespace

void probe_process(Checks& checks) {
  probe_capabilities(checks);
  probe_namespaces(checks);
  probe_sysctls(checks);
  probe_pipes(checks);
  probe_limits(checks);
}

}  // namespace culvert::ctl
