// SPDX-License-Identifier: Apache-2.0
// Preflight: what this kernel and machine offer to the agent, each thing tried or read, with what to do in words. Runs without
// an agent and leaves nothing behind. The probes are in preflight_*.cpp, by subject; the report is pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/table.hpp"
#include "datapath/datapath.hpp"

namespace culvert::ctl {

enum class Verdict : std::uint8_t {
  Ok,
  Degraded,  // Culvert runs without it, slower or with less
  Missing,   // Culvert does not run without it
};

struct Check {
  std::string id;     // stable, for scripts: "bpf-jit"
  std::string title;  // "BPF JIT"
  Verdict verdict = Verdict::Ok;
  std::string found;   // what there is
  std::string remedy;  // what to do about it; empty when all is well
};
using Checks = std::vector<Check>;

void probe_kernel(Checks& checks);  // version, BTF, JIT, bpffs, cgroup2, IPv6, modules
void probe_capture(
    Checks& checks);  // loads the programs: connect hook, sockops, tcx, clsact, sk_lookup, big segments on lo
void probe_tls(Checks& checks);      // kernel TLS by cipher and direction, rekey, user-space engines
void probe_process(Checks& checks);  // capabilities, limits, pipes, sysctls

[[nodiscard]] std::string view_preflight(const Checks& checks, const Look& look);
[[nodiscard]] std::string json_preflight(const Checks& checks);
[[nodiscard]] bool is_usable(const Checks& checks);

// "6.1.0-28-amd64" is {6, 1}; {0, 0} when it cannot be read.
struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const KernelVersion&) const = default;
};
[[nodiscard]] KernelVersion parse_kernel_version(std::string_view release);
// What a capture that could be opened says of its hooks.
void add_hooks(Checks& checks, const datapath::Capabilities& found);
// Whether a module is "loaded", "built in", "loadable" or "not there", by the text of /proc/modules, and of modules.builtin and
// modules.dep of the kernel's directory.
[[nodiscard]] std::string_view module_state(std::string_view name, std::string_view loaded, std::string_view built_in,
                                            std::string_view loadable);
// The first line of a small file, without its end; empty when it cannot be read.
[[nodiscard]] std::string first_line(const std::string& path);

}  // namespace culvert::ctl
