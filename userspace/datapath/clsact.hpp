// SPDX-License-Identifier: Apache-2.0
// tc egress where the kernel has no tcx (before 6.6), and until there is a tcx link (pod_hooks.hpp): a clsact qdisc and one cls_bpf filter at our own handle and priority. The filter lives
// with the device, not with a descriptor, so it is removed by hand; qdiscs and filters of others are never touched. Called with
// the thread inside the pod's namespace.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {

// Replaces our filter, if there is one, in one step. True: the qdisc was not there and was made.
[[nodiscard]] Result<bool> attach_clsact_egress(std::uint32_t ifindex, int program_fd);
[[nodiscard]] Result<void> verify_clsact_egress(std::uint32_t ifindex);
// Removes our filter; with `owns_qdisc`, also the qdisc if nobody else's filter hangs on it.
void detach_clsact_egress(RtNetlink& netlink, std::uint32_t ifindex, bool owns_qdisc) noexcept;

}  // namespace culvert::datapath
