// SPDX-License-Identifier: Apache-2.0
// The hooks of one pod: sk_lookup on its namespace, egress on each of its devices. Control thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "datapath/bpf_object.hpp"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {

// Egress is attached in two steps where the kernel has tcx. A tcx link cannot be taken away from within the pod, but making one holds
// the kernel's rtnl lock for a grace period (10 ms and more), a clsact filter does not. So a join attaches a filter, which
// captures just as well, and `settle_pod_hooks` replaces it by links when nobody waits. But the kernel drops what a device sends while a
// qdisc of it comes or goes: a pod that runs gets its links at once, and a qdisc that has done its part stays until the pod leaves.
struct PodHooks {
  std::uint32_t slot = 0;
  int netns_fd = -1;
  bool has_tcx = false;
  bool has_clsact = true;          // false, with tcx: links at once
  bool is_running = false;         // packets may be on their way
  std::vector<NetDevice> devices;  // as found in the pod
};

// The named devices; refuses what is not Ethernet (the programs read an Ethernet header). Inside the pod's namespace.
[[nodiscard]] Result<std::vector<NetDevice>> find_devices(RtNetlink& netlink, const std::vector<std::string>& names);

// Attaches or replaces, links that are there as links; devices that are no longer named are let go. True: clsact qdiscs were
// made. Inside the pod's namespace.
[[nodiscard]] Result<bool> attach_pod_hooks(const BpfObject& object, const PinPlan& pins, const PodHooks& hooks);
// Links instead of filters, where the kernel has them. Filters stay until every link is there. Inside the pod's namespace.
[[nodiscard]] Result<void> settle_pod_hooks(const BpfObject& object, const PinPlan& pins, const PodHooks& hooks);
// A link or a filter on each device. Inside the pod's namespace.
[[nodiscard]] Result<void> verify_pod_hooks(const PinPlan& pins, const PodHooks& hooks);

}  // namespace culvert::datapath
