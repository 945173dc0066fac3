// SPDX-License-Identifier: Apache-2.0
// The hooks that a node has once: connect, sockops and setsockopt on the root of the cgroup2 tree. Control thread, at start.
#pragma once

#include "datapath/bpf_object.hpp"
#include "datapath/datapath.hpp"

namespace culvert::datapath {

// Attaches what can be attached, or replaces the programs of an earlier agent; what is missing is noted with its remedy.
// Steering that is not allowed is taken away if an earlier agent had it.
void attach_node_hooks(const BpfObject& object, const PinPlan& pins, const Datapath::Options& options,
                       Capabilities& capabilities);

}  // namespace culvert::datapath
