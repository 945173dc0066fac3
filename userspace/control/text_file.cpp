// SPDX-License-Identifier: Apache-2.0
#include "control/text_file.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace culvert::control {

Result<std::string> read_text_file(const std::string& path, std::string_view what, std::size_t bytes_max) {
  // Not blocking: a FIFO would wait for its writer.
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(errno, "cannot open {} {}", what, path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return fail_errno(errno, "cannot examine {} {}", what, path);
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::InvalidArgument, "{} {} is not a regular file; name the file itself", what, path);
  }
  std::string text;
  char buffer[16'384];
  while (text.size() <= bytes_max) {
    const ssize_t count = ::read(file.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, "cannot read {} {}", what, path);
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return fail(ErrorCode::InvalidArgument, "{} {} is larger than {} bytes", what, path, bytes_max);
}

}  // namespace culvert::control
