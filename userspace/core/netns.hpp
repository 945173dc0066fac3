// SPDX-License-Identifier: Apache-2.0
// Network namespaces: opening, telling apart, and the scoped switch of the calling thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert {

// Opens a namespace file such as /run/netns/NAME; refuses a path that is not a network namespace.
[[nodiscard]] Result<UniqueFd> open_netns(const std::string& path);
// The calling thread's own namespace.
[[nodiscard]] Result<UniqueFd> open_current_netns();

// {device, inode}: equal for two descriptors of one namespace, while it lives.
struct NetnsId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const NetnsId&) const noexcept = default;
};
[[nodiscard]] Result<NetnsId> netns_id(int netns_fd);
// SO_NETNS_COOKIE (5.14): unique for the life of the machine. Enters the namespace to ask.
[[nodiscard]] Result<std::uint64_t> netns_cookie(int netns_fd);

// Puts the calling thread into a namespace until the end of the scope, to create sockets there and nothing else.
// When the way back fails the process ends: it must never go on in a pod's namespace.
class NetnsGuard {
 public:
  // `home_fd` is the namespace to come back to; both descriptors outlive the guard.
  [[nodiscard]] static Result<NetnsGuard> enter(int netns_fd, int home_fd);
  NetnsGuard(NetnsGuard&& other) noexcept;
  NetnsGuard& operator=(NetnsGuard&&) = delete;
  NetnsGuard(const NetnsGuard&) = delete;
  NetnsGuard& operator=(const NetnsGuard&) = delete;
  ~NetnsGuard();

 private:
  explicit NetnsGuard(int home_fd) noexcept : home_fd_(home_fd) {}
  int home_fd_;
};

}  // namespace culvert
