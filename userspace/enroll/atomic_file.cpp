// SPDX-License-Identifier: Apache-2.0
#include "enroll/atomic_file.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace culvert::enroll {
namespace {

// 0 or an errno. A disk that fills up gives a short count first and ENOSPC at the next call.
int write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

std::string temporary_name(const std::string& path) {
  const auto slash = path.rfind('/');
  const auto start = slash == std::string::npos ? 0 : slash + 1;
  return path.substr(0, start) + "." + path.substr(start) + ".new";
}

}  // namespace

Result<void> replace_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string temporary = temporary_name(path);
  const UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return fail_errno(errno, "cannot write {}", temporary);
  int error = write_all(fd.get(), text);
  if (error == 0 && ::fchmod(fd.get(), mode) != 0) error = errno;
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(temporary.c_str());
  return fail_errno(error, "cannot write {}", path);
}

Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return fail(ErrorCode::NotFound, "there is no {}", path);
  if (!fd) return fail_errno(errno, "cannot open {}", path);
  std::string text;
  for (;;) {
    constexpr std::size_t kStep = 4096;
    const std::size_t used = text.size();
    text.resize(used + kStep);
    const ssize_t got = ::read(fd.get(), text.data() + used, kStep);
    if (got < 0 && errno != EINTR) return fail_errno(errno, "cannot read {}", path);
    text.resize(used + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return text;
    if (text.size() > bytes_max) return fail(ErrorCode::InvalidArgument, "{} has more than {} bytes", path, bytes_max);
  }
}

Result<void> make_directory(const std::string& path, mode_t mode) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (::mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno(errno, "cannot make directory {}", parent);
  }
  if (::mkdir(path.c_str(), mode) == 0) return {};
  const int error = errno;
  struct stat status{};
  if (error == EEXIST && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
  return fail_errno(error, "cannot make directory {}", path);
}

}  // namespace culvert::enroll
