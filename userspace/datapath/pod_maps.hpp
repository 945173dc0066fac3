// SPDX-License-Identifier: Apache-2.0
// A pod's entries in the maps: translated from a PodPlan, written so that no moment lacks an entry that stays, and removed.
// Control thread only. Knows no hook and no namespace.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/result.hpp"
#include "datapath/bpf_object.hpp"
#include "datapath/datapath.hpp"

namespace culvert::datapath {

// What one pod has in the maps.
struct PodEntries {
  cv_pod pod{};
  std::vector<cv_addr> addresses;
  std::vector<cv_port_key> ports;
  std::vector<cv_cidr_key> cidrs;
};

[[nodiscard]] cv_addr to_abi(const IpAddress& address) noexcept;
[[nodiscard]] IpAddress from_abi(const cv_addr& address) noexcept;
[[nodiscard]] PodEntries entries_of(const PodPlan& plan);

class PodMaps {
 public:
  explicit PodMaps(const MapFds& fds) : fds_(fds) {}

  // Everything that is in the maps, by slot: what an earlier agent left.
  [[nodiscard]] Result<std::map<std::uint32_t, PodEntries>> read_all() const;
  // Adds what is new, switches the pod's flags over, then removes what `before` had and `now` has not.
  [[nodiscard]] Result<void> write(std::uint32_t slot, const PodEntries& now, const PodEntries& before) const;
  [[nodiscard]] Result<void> set_flags(std::uint32_t slot, PodEntries& entries, std::uint32_t flags) const;
  // Steering at connect starts and ends here.
  [[nodiscard]] Result<void> enable_steering(std::uint32_t slot, std::uint64_t netns_cookie) const;
  void disable_steering(std::uint32_t slot, std::uint64_t netns_cookie) const noexcept;
  void clear(std::uint32_t slot, const PodEntries& entries) const noexcept;
  // The error names the entry that is missing.
  [[nodiscard]] Result<void> verify(std::uint32_t slot, const PodEntries& wanted) const;

  [[nodiscard]] Result<cv_pod_undo> undo(std::uint32_t slot) const;
  [[nodiscard]] Result<void> set_undo(std::uint32_t slot, const cv_pod_undo& undo) const;

  [[nodiscard]] Result<void> set_listener(std::uint32_t slot, ListenerRole role, int family, int listener_fd) const;
  [[nodiscard]] bool has_listener(std::uint32_t slot, ListenerRole role, int family) const noexcept;

  [[nodiscard]] Result<cv_pod_counters> counters(std::uint32_t slot) const;
  void zero_counters(std::uint32_t slot) const noexcept;

 private:
  [[nodiscard]] Result<void> write_all(std::uint32_t slot, const PodEntries& now) const;
  void remove_stale(std::uint32_t slot, const PodEntries& old, const PodEntries& kept) const noexcept;
  MapFds fds_;
};

}  // namespace culvert::datapath
