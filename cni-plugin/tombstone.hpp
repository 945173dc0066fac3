// SPDX-License-Identifier: Apache-2.0
// A note for an agent that is away: this pod has left. The agent reads the notes at its start, before it adopts pods.
#pragma once

#include <string>

namespace culvert::cni_plugin {

// STATE_DIR/tombstones/ID, empty. A failure is nothing that the runtime could act on (the agent also finds that the namespace is gone).
void leave_tombstone(const std::string& state_dir, const std::string& id) noexcept;

}  // namespace culvert::cni_plugin
