// SPDX-License-Identifier: Apache-2.0
#include "tls/ca_files.hpp"

#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace culvert::tls {
namespace {

std::string_view remedy(int error) {
  switch (error) {
    case EROFS: return "; the file system is read-only: give the agent a state directory that it can write";
    case ENOSPC:
    case EDQUOT: return "; the disk is full: make room and start again, nothing was left half-written";
    case EACCES:
    case EPERM: return "; run as the directory's owner";
    default: return "";
  }
}

std::unexpected<Error> file_error(int error, std::string_view what, const std::string& path) {
  return fail_errno(error, "cannot {} {}{}", what, path, remedy(error));
}

int write_all(int fd, std::string_view content) noexcept {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  const UniqueFd fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return file_error(errno, "sync the directory of", path);
  return {};
}

}  // namespace

Result<void> ensure_directory(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) == 0) return sync_directory_of(directory);
  if (errno != EEXIST) return file_error(errno, "make the directory", directory);
  struct stat status{};
  if (::stat(directory.c_str(), &status) != 0) return file_error(errno, "look at", directory);
  if (!S_ISDIR(status.st_mode)) return fail(ErrorCode::InvalidArgument, "{} is not a directory", directory);
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(ErrorCode::PermissionDenied, "others may write in {}, where the CA's key lives: chmod go-w {}",
                directory, directory);
  }
  return {};
}

Result<std::string> read_file(const std::string& path, bool is_secret) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT) return fail(ErrorCode::NotFound, "{} does not exist", path);
    return file_error(errno, "open", path);
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return file_error(errno, "look at", path);
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::InvalidArgument, "{} is not a file", path);
  if (is_secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return fail(ErrorCode::PermissionDenied,
                "others may use {} (mode {:04o}): chmod 600 {}, and if they may have read it, "
                "remove it and its certificate so that a new CA is made",
                path, status.st_mode & 07777U, path);
  }
  if (is_secret && status.st_uid != ::geteuid() && status.st_uid != 0) {
    return fail(ErrorCode::PermissionDenied, "{} belongs to user {}: chown it to user {}", path, status.st_uid,
                ::geteuid());
  }
  if (static_cast<std::size_t>(status.st_size) > kCaFileBytesMax) {
    return fail(ErrorCode::InvalidArgument, "{} has {} bytes, {} at most are expected", path, status.st_size,
                kCaFileBytesMax);
  }
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t used = 0;
  while (used < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(errno, "read", path);
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  content.resize(used);
  return content;
}

Result<void> create_file(const std::string& path, std::string_view content, mode_t mode) {
  std::string temporary = path + ".XXXXXX";
  const UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return file_error(errno, "make a temporary file beside", path);
  int error = ::fchmod(fd.get(), mode) == 0 ? write_all(fd.get(), content) : errno;
  // Not rename(): it would put our file over that of another agent that started at the same moment.
  if (error == 0 && ::link(temporary.c_str(), path.c_str()) != 0) error = errno;
  ::unlink(temporary.c_str());
  if (error == EEXIST) return fail(ErrorCode::AlreadyExists, "{} was made by somebody else meanwhile", path);
  if (error != 0) return file_error(error, "write", path);
  return sync_directory_of(path);
}

}  // namespace culvert::tls
