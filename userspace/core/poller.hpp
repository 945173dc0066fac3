// SPDX-License-Identifier: Apache-2.0
// Poller: one epoll instance. It carries 64-bit tokens, never pointers, so that a stale event finds nothing to touch.
// Used by exactly one thread.
#pragma once

#include <cstdint>
#include <span>

#include <sys/epoll.h>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert {

class Poller {
 public:
  [[nodiscard]] static Result<Poller> create();

  // `events` are EPOLL* bits; level-triggered unless EPOLLET is among them. These return 0 or an errno.
  [[nodiscard]] int add(int fd, std::uint32_t events, std::uint64_t token) noexcept;
  [[nodiscard]] int modify(int fd, std::uint32_t events, std::uint64_t token) noexcept;
  void remove(int fd) noexcept;  // before the descriptor is closed, when it may have been duplicated
  // Waits up to `timeout_ms` (-1: for ever) and gives the events that happened; empty on time-out and on EINTR.
  [[nodiscard]] std::span<epoll_event> wait(std::span<epoll_event> space, int timeout_ms) noexcept;
  [[nodiscard]] int fd() const noexcept { return epoll_.get(); }

 private:
  explicit Poller(UniqueFd epoll) noexcept : epoll_(std::move(epoll)) {}
  UniqueFd epoll_;
};

}  // namespace culvert
