// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"

#include <cerrno>

#include <unistd.h>

namespace culvert {

void UniqueFd::reset(int fd) noexcept {
  const int saved_errno = errno;
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  errno = saved_errno;
}

}  // namespace culvert
