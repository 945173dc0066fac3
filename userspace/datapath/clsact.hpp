// SPDX-License-Identifier: Apache-2.0
// tc egress where the kernel has no tcx (before 6.6), and until there is a tcx link (pod_hooks.hpp): a clsact qdisc and one
// cls_bpf filter at our own handle and priority. The filter lives with the device, not with a descriptor, so it is removed by
// hand; qdiscs and filters of others are never touched. Called with the thread inside the pod's namespace.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {

// Replaces our filter, if there is one, in one step. True: the qdisc was not there and was made.
[[nodiscard]] Result<bool> attach_clsact_egress(std::uint32_t ifindex, int program_fd);
[[nodiscard]] Result<void> verify_clsact_egress(std::uint32_t ifindex);
// Removes our filter, if it is there. No packet is lost.
void remove_clsact_filter(std::uint32_t ifindex) noexcept;
// Removes the qdisc, unless a filter hangs on it. As when it is made, the kernel drops what the device sends meanwhile
// (qdisc_graft deactivates the device), a millisecond or so: not for a pod that goes on.
void remove_clsact_qdisc(RtNetlink& netlink, std::uint32_t ifindex) noexcept;

}  // namespace culvert::datapath
