// SPDX-License-Identifier: Apache-2.0
// Privileges: what the agent gives up at start: capabilities it does not need, core dumps, new privileges, and every system
// call outside a list. Called once each, before and after the worker threads exist as the comments say.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace culvert::app {

// The capabilities that the agent works with, and why (docs/operations.md has the same table).
//   CAP_NET_ADMIN  marks, transparent sockets, attaching programs, routes in pods
//   CAP_NET_RAW    packet sockets over the lo of pods whose SYNs are held; transparent sockets on kernels that ask for it
//   CAP_SYS_ADMIN  entering a pod's network namespace, kernels before CAP_BPF semantics for sk_storage
//   CAP_BPF, CAP_PERFMON  maps and programs
//   CAP_DAC_OVERRIDE  state and socket directories that belong to another user
//   CAP_SYS_PTRACE  namespaces by /proc/PID/ns/net
//   CAP_NET_BIND_SERVICE  binding a client's low source port is never needed; listeners are above 1024 (not kept)
// Before any thread is made: no core dumps (keys are in memory), not dumpable, no_new_privs, the descriptor limit, and everything but
// the list dropped from all sets, the bounding set included. A capability of the list that is missing is reported in
// `missing`, not an error: preflight and the parts that need it say so.
[[nodiscard]] Result<void> drop_privileges(std::uint32_t open_files_wanted, std::vector<std::string>& missing);

// Of the limit in force: descriptors of connections stay below it. Without the rest, enough for two pods to join at a time, no metrics,
// no CNI call and no new stream to the control plane would get through when connections have used up all others.
[[nodiscard]] int descriptors_for_connections(std::uint32_t workers) noexcept;

// After everything is set up and the threads run (TSYNC covers them all): calls outside the list fail with EPERM and the dangerous ones
// (execve, ptrace, module loading, mount, kexec, ...) kill the process.
[[nodiscard]] Result<void> install_seccomp_filter();

}  // namespace culvert::app
