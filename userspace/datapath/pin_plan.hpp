// SPDX-License-Identifier: Apache-2.0
// The one table of what is pinned where, below an agent's pin directory. Names hold no dot: bpffs refuses them.
//
//   maps/NAME              every map of the object
//   links/connect4|connect6|sockops|setsockopt|sendmsg4|sendmsg6|recvmsg4|recvmsg6    the cgroup hooks; the last four where DNS is captured
//   pods/SLOT/lookup       the pod's sk_lookup link
//   pods/SLOT/egress_IFINDEX           its tcx links, by the index of the device in the pod (none with clsact)
#pragma once

#include <cstdint>
#include <string>

#include <fmt/format.h>

namespace culvert::datapath {

struct PinPlan {
  std::string root;

  [[nodiscard]] std::string maps() const { return root + "/maps"; }
  [[nodiscard]] std::string map(const char* name) const { return fmt::format("{}/maps/{}", root, name); }
  [[nodiscard]] std::string links() const { return root + "/links"; }
  [[nodiscard]] std::string link(const char* name) const { return fmt::format("{}/links/{}", root, name); }
  [[nodiscard]] std::string pods() const { return root + "/pods"; }
  [[nodiscard]] std::string pod(std::uint32_t slot) const { return fmt::format("{}/pods/{}", root, slot); }
  [[nodiscard]] std::string pod_lookup(std::uint32_t slot) const { return pod(slot) + "/lookup"; }
  [[nodiscard]] std::string pod_egress(std::uint32_t slot, std::uint32_t ifindex) const {
    return fmt::format("{}/egress_{}", pod(slot), ifindex);
  }
};

}  // namespace culvert::datapath
