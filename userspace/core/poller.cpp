// SPDX-License-Identifier: Apache-2.0
#include "core/poller.hpp"

#include <cerrno>
#include <utility>

#include "base/assert.hpp"

namespace culvert {
namespace {

int control(int epoll_fd, int operation, int fd, std::uint32_t events, std::uint64_t token) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  return ::epoll_ctl(epoll_fd, operation, fd, &event) == 0 ? 0 : errno;
}

}  // namespace

Result<Poller> Poller::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_errno(errno, "cannot make an epoll instance");
  return Poller(std::move(epoll));
}

int Poller::add(int fd, std::uint32_t events, std::uint64_t token) noexcept {
  return control(epoll_.get(), EPOLL_CTL_ADD, fd, events, token);
}

int Poller::modify(int fd, std::uint32_t events, std::uint64_t token) noexcept {
  return control(epoll_.get(), EPOLL_CTL_MOD, fd, events, token);
}

void Poller::remove(int fd) noexcept { (void)control(epoll_.get(), EPOLL_CTL_DEL, fd, 0, 0); }

std::span<epoll_event> Poller::wait(std::span<epoll_event> space, int timeout_ms) noexcept {
  const int count = ::epoll_wait(epoll_.get(), space.data(), static_cast<int>(space.size()), timeout_ms);
  CV_ASSERT(count >= 0 || errno == EINTR);
  return count <= 0 ? std::span<epoll_event>{} : space.first(static_cast<std::size_t>(count));
}

}  // namespace culvert
