// SPDX-License-Identifier: Apache-2.0
// What can be said without the agent about whether a pod is in the mesh. `Outside` is said only for certain.
#pragma once

#include "culvert/cni/messages.hpp"
#include "net_config.hpp"

namespace culvert::cni_plugin {

// By our own configuration: Outside when nothing is enrolled or the namespace is excluded, Inside with "all", else Unknown.
[[nodiscard]] cni::Membership membership_by_config(const NetConfig& config, const cni::PodName& pod);
// The same, and where that is not enough the mesh file which the agent keeps beside its socket.
[[nodiscard]] cni::Membership membership_without_agent(const NetConfig& config, const cni::PodName& pod);

}  // namespace culvert::cni_plugin
