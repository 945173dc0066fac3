// SPDX-License-Identifier: Apache-2.0
// Prepares a pod's namespace so that marked packets go over lo, and puts everything back: sysctls, one rule and one local route
// for each family, segment sizes of lo. Called with the thread inside the pod's namespace. All of it is idempotent.
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "culvert/abi/maps.h"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {

struct LoopbackPlan {
  std::uint32_t mark = 0;
  std::uint32_t route_table = 0;
  std::uint32_t rule_priority = 0;
  bool allow_big_segments = true;
  std::vector<IpAddress> addresses;  // the first of each family is the source of steered connections
};

// The largest segment that Linux lets a device have: GSO_MAX_SIZE, 8 * 65535.
inline constexpr std::uint32_t kSegmentBytesMax = 524280;

// Fills `undo` with what was there, unless it says that the namespace is prepared already.
[[nodiscard]] Result<void> read_loopback(RtNetlink& netlink, cv_pod_undo& undo);
[[nodiscard]] Result<void> prepare_loopback(RtNetlink& netlink, const LoopbackPlan& plan);
// The error says what of it is missing.
[[nodiscard]] Result<void> verify_loopback(RtNetlink& netlink, const LoopbackPlan& plan);
// Does as much as it can; the first error is the answer.
[[nodiscard]] Result<void> restore_loopback(RtNetlink& netlink, const LoopbackPlan& plan, const cv_pod_undo& undo);

}  // namespace culvert::datapath
