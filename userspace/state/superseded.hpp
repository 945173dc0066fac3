// SPDX-License-Identifier: Apache-2.0
// What is not worth showing of a mesh. Pure; any thread.
#pragma once

#include "state/snapshot.hpp"

namespace culvert::state {

// A pod that its own node knew first, and that the control plane has named since: what that says counts. `workload` is the snapshot's.
[[nodiscard]] bool is_superseded(const Snapshot& snapshot, const WorkloadEntry& workload) noexcept;

}  // namespace culvert::state
