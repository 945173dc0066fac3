// SPDX-License-Identifier: Apache-2.0
// What this kernel can do for the capture, found by trying. Control thread, at start.
#pragma once

#include <string>

#include "base/result.hpp"
#include "datapath/datapath.hpp"

namespace culvert::datapath {

// A tcx link on lo of the thread's namespace, with a program that does nothing, at once removed again.
[[nodiscard]] bool try_tcx() noexcept;
// What each pod's namespace is given at a join: a clsact qdisc with a filter, and a program at sk_lookup. Tried in a namespace that a
// thread makes for itself, with programs that do nothing; all of it is gone with the thread. Waits for that thread.
struct PodHookTrial {
  Result<void> clsact;
  Result<void> sk_lookup;
};
[[nodiscard]] PodHookTrial try_pod_hooks();
// Fills what the trial says, and notes what is missing. `has_tcx` is known.
void read_pod_hooks(Capabilities& capabilities, const PodHookTrial& trial);
// Fills the segment sizes from what the kernel says of its lo.
void read_segment_limits(Capabilities& capabilities);
// The mount point of cgroup2 that the process sees.
[[nodiscard]] Result<std::string> find_cgroup2();

}  // namespace culvert::datapath
