// SPDX-License-Identifier: Apache-2.0
#include "core/netns.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "base/assert.hpp"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace culvert {

Result<UniqueFd> open_netns(const std::string& path) {
  // NONBLOCK: the path may name a FIFO, which would hold this thread until somebody writes.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    const int saved_errno = errno;
    if (saved_errno == ENOENT) return fail(ErrorCode::NotFound, "there is no network namespace at {}", path);
    return fail_errno(saved_errno, "cannot open the network namespace {}", path);
  }
  // The file system first: the ioctl's number may mean something else to a device.
  struct statfs where{};
  if (::fstatfs(fd.get(), &where) != 0 || where.f_type != NSFS_MAGIC ||
      ::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return fail(ErrorCode::InvalidArgument, "{} is not a network namespace", path);
  }
  return fd;
}

Result<UniqueFd> open_current_netns() { return open_netns("/proc/thread-self/ns/net"); }

Result<NetnsId> netns_id(int netns_fd) {
  struct stat status{};
  if (::fstat(netns_fd, &status) != 0) return fail_errno(errno, "cannot tell which network namespace this is");
  return NetnsId{status.st_dev, status.st_ino};
}

Result<std::uint64_t> netns_cookie(int netns_fd) {
  const UniqueFd home = CV_TRY(open_current_netns());
  UniqueFd socket;
  {
    const NetnsGuard guard = CV_TRY(NetnsGuard::enter(netns_fd, home.get()));
    socket.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_errno(errno, "cannot make a socket to ask for the network namespace's cookie");
  }
  std::uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0) {
    return fail_errno(errno, "cannot read the network namespace's cookie (Linux 5.14 and later have it)");
  }
  return cookie;
}

Result<NetnsGuard> NetnsGuard::enter(int netns_fd, int home_fd) {
  if (::setns(netns_fd, CLONE_NEWNET) != 0) {
    return fail_errno(errno, "cannot enter the network namespace (CAP_SYS_ADMIN is needed)");
  }
  return NetnsGuard(home_fd);
}

NetnsGuard::NetnsGuard(NetnsGuard&& other) noexcept : home_fd_(std::exchange(other.home_fd_, -1)) {}

NetnsGuard::~NetnsGuard() {
  if (home_fd_ < 0) return;
  const int saved_errno = errno;
  const bool is_home = ::setns(home_fd_, CLONE_NEWNET) == 0;
  CV_ASSERT(is_home);
  errno = saved_errno;
}

}  // namespace culvert
