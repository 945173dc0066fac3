// SPDX-License-Identifier: Apache-2.0
// Preflight of the kernel: its version, and what must be built in or mounted for BPF programs.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ctl/preflight.hpp"

namespace culvert::ctl {
namespace {

constexpr KernelVersion kOldest{5, 15};
constexpr KernelVersion kTested{6, 1};

void probe_version(Checks& checks) {
  utsname name{};
  ::uname(&name);
  const KernelVersion version = parse_kernel_version(name.release);
  Check check{.id = "kernel", .title = "kernel", .verdict = Verdict::Ok, .found = name.release, .remedy = {}};
  if (version < kOldest) {
    check.verdict = Verdict::Missing;
    check.remedy = "Linux 6.1 or newer is needed.";
  } else if (version < kTested) {
    check.verdict = Verdict::Degraded;
    check.remedy = "Culvert is tested on 6.1, 6.12 and 7; older kernels may do, without promise.";
  }
  checks.push_back(std::move(check));
}

void probe_btf(Checks& checks) {
  const bool is_there = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  checks.push_back(
      {.id = "btf",
       .title = "kernel type information (BTF)",
       .verdict = is_there ? Verdict::Ok : Verdict::Missing,
       .found = is_there ? "/sys/kernel/btf/vmlinux" : "/sys/kernel/btf/vmlinux cannot be read",
       .remedy =
           is_there
               ? ""
               : "Use a kernel with CONFIG_DEBUG_INFO_BTF=y, as every distribution's is, and mount sysfs at /sys."});
}

void probe_jit(Checks& checks) {
  const std::string value = first_line("/proc/sys/net/core/bpf_jit_enable");
  Check check{.id = "bpf-jit", .title = "BPF JIT", .verdict = Verdict::Ok, .found = "on", .remedy = {}};
  if (value == "0") {
    check = {.id = check.id,
             .title = check.title,
             .verdict = Verdict::Degraded,
             .found = "off",
             .remedy = "Programs are interpreted, which costs CPU: sysctl net.core.bpf_jit_enable=1"};
  } else if (value.empty()) {
    check.verdict = Verdict::Degraded;
    check.found = "unknown: /proc/sys/net/core/bpf_jit_enable cannot be read";
    check.remedy = "In a network namespace of its own this is hidden; ask the host: sysctl net.core.bpf_jit_enable";
  }
  checks.push_back(std::move(check));
}

void probe_bpffs(Checks& checks) {
  struct statfs info{};
  const bool is_mounted = ::statfs("/sys/fs/bpf", &info) == 0 && info.f_type == BPF_FS_MAGIC;
  checks.push_back(
      {.id = "bpffs",
       .title = "bpffs",
       .verdict = is_mounted ? Verdict::Ok : Verdict::Missing,
       .found = is_mounted ? "/sys/fs/bpf" : "not mounted at /sys/fs/bpf",
       .remedy = is_mounted ? "" : "mount -t bpf bpf /sys/fs/bpf (hooks are pinned there, to outlive the agent)"});
}

void probe_cgroup(Checks& checks) {
  // The fifth field of a line is the mount point, the first behind " - " the file system (proc(5)).
  std::ifstream mounts("/proc/self/mountinfo");
  std::string where;
  for (std::string line; where.empty() && std::getline(mounts, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos || !line.substr(dash + 3).starts_with("cgroup2 ")) continue;
    std::istringstream fields(line);
    for (int i = 0; i < 5; ++i) fields >> where;
  }
  checks.push_back(
      {.id = "cgroup2",
       .title = "cgroup2",
       .verdict = where.empty() ? Verdict::Degraded : Verdict::Ok,
       .found = where.empty() ? "not mounted" : where,
       .remedy = where.empty()
                     ? "Connections are redirected packet by packet, and probes of the node are not told apart: "
                       "mount -t cgroup2 cgroup2 /sys/fs/cgroup (or below it, on a hybrid host)."
                     : ""});
}

void probe_ipv6(Checks& checks) {
  std::error_code ignored;
  const bool is_built_in = std::filesystem::exists("/proc/net/if_inet6", ignored);
  const bool is_off = is_built_in && first_line("/proc/sys/net/ipv6/conf/all/disable_ipv6") == "1";
  Check check{.id = "ipv6", .title = "IPv6", .verdict = Verdict::Ok, .found = "on", .remedy = {}};
  if (!is_built_in || is_off) {
    check.verdict = Verdict::Degraded;
    check.found = is_off ? "switched off" : "not in this kernel";
    check.remedy =
        "Only IPv4 pods can be served from here; sysctl net.ipv6.conf.all.disable_ipv6=0, or boot without "
        "ipv6.disable=1.";
  }
  checks.push_back(std::move(check));
}

std::string whole_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// For information: what the modules are for has checks of its own, which try it.
void probe_modules(Checks& checks) {
  utsname name{};
  ::uname(&name);
  const std::string directory = std::string("/lib/modules/") + name.release;
  const std::string loaded = whole_file("/proc/modules");
  const std::string built_in = whole_file(directory + "/modules.builtin");
  const std::string loadable = whole_file(directory + "/modules.dep");
  std::string found;
  for (const std::string_view module : {"tls", "sch_ingress", "cls_bpf"}) {
    std::string_view state = module_state(module, loaded, built_in, loadable);
    if (state == "not there" && built_in.empty() && loadable.empty()) state = "not loaded";
    found += fmt::format("{}{} {}", found.empty() ? "" : ", ", module, state);
  }
  if (built_in.empty() && loadable.empty()) found += fmt::format("; perhaps built in: {} has no list", directory);
  checks.push_back({.id = "modules", .title = "kernel modules", .verdict = Verdict::Ok, .found = found, .remedy = {}});
}

}  // namespace

std::string_view module_state(std::string_view name, std::string_view loaded, std::string_view built_in,
                              std::string_view loadable) {
  // "tls 155648 8 - Live 0x0"; "kernel/net/tls/tls.ko"; "kernel/net/tls/tls.ko.xz: ..." (the file may be compressed).
  if (("\n" + std::string(loaded)).find(fmt::format("\n{} ", name)) != std::string::npos) return "loaded";
  const std::string file = fmt::format("/{}.ko", name);
  if (built_in.find(file) != std::string_view::npos) return "built in";
  for (std::size_t at = loadable.find(file); at != std::string_view::npos; at = loadable.find(file, at + 1)) {
    // Only the name in front of the colon: behind it are the modules that a module needs.
    const std::string_view line = loadable.substr(0, at);
    const std::size_t start = line.rfind('\n') == std::string_view::npos ? 0 : line.rfind('\n') + 1;
    if (line.find(':', start) == std::string_view::npos) return "loadable";
  }
  return "not there";
}

void probe_kernel(Checks& checks) {
  probe_version(checks);
  probe_btf(checks);
  probe_jit(checks);
  probe_bpffs(checks);
  probe_cgroup(checks);
  probe_ipv6(checks);
  probe_modules(checks);
}

}  // namespace culvert::ctl
