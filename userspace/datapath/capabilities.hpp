// SPDX-License-Identifier: Apache-2.0
// What this kernel can do for the capture, found by trying. Control thread, at start.
#pragma once

#include <string>

#include "base/result.hpp"
#include "datapath/datapath.hpp"

namespace culvert::datapath {

// A tcx link on lo of the thread's namespace, with a program that does nothing, at once removed again.
[[nodiscard]] bool try_tcx() noexcept;
// Fills the segment sizes from what the kernel says of its lo.
void read_segment_limits(Capabilities& capabilities);
// The mount point of cgroup2 that the process sees.
[[nodiscard]] Result<std::string> find_cgroup2();

}  // namespace culvert::datapath
