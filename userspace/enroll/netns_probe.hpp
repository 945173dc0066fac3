// SPDX-License-Identifier: Apache-2.0
// What a network namespace holds: its devices and their addresses; and finding a namespace whose path is gone. Control thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "core/netns.hpp"

namespace culvert::enroll {

struct NetnsContent {
  std::vector<std::string> devices;  // in the kernel's order, never lo, never the kernel's own idle tunnel devices
  std::vector<IpAddress> addresses;  // global ones on those devices, IPv4 first
};
[[nodiscard]] Result<NetnsContent> read_netns(int netns_fd, int home_netns_fd);

// The namespace {id, cookie} by its path, or, when the path is gone or names another, through a process that lives in it.
// NotFound when it is nowhere; another error when that could not be found out.
[[nodiscard]] Result<UniqueFd> find_netns(const std::string& path, const NetnsId& id, std::uint64_t cookie);

}  // namespace culvert::enroll
