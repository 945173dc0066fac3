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

struct PodHooks {
  std::uint32_t slot = 0;
  int netns_fd = -1;
  bool has_tcx = false;
  std::vector<NetDevice> devices;  // as found in the pod
};

// The named devices; refuses what is not Ethernet (the programs read an Ethernet header). Inside the pod's namespace.
[[nodiscard]] Result<std::vector<NetDevice>> find_devices(RtNetlink& netlink, const std::vector<std::string>& names);

// Attaches or replaces; devices that are no longer named are let go. True: clsact qdiscs were made. Inside the pod's namespace.
[[nodiscard]] Result<bool> attach_pod_hooks(const BpfObject& object, const PinPlan& pins, const PodHooks& hooks);
// Inside the pod's namespace.
[[nodiscard]] Result<void> verify_pod_hooks(const PinPlan& pins, const PodHooks& hooks);

}  // namespace culvert::datapath
