// SPDX-License-Identifier: Apache-2.0
// LogSink; see log_sink.hpp.
#include "telemetry/log_sink.hpp"

#include <algorithm>
#include <array>
#include <climits>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.hpp"

namespace culvert::telemetry {

Result<LogSink> LogSink::open(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail_errno(errno, "descriptor {} cannot take the log", fd);
  if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
    const auto path = fmt::format("/proc/self/fd/{}", fd);
    UniqueFd own(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
    if (own) return LogSink(std::move(own), Kind::NonBlocking);
  }
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno(errno, "cannot duplicate descriptor {} for the log", fd);
  if (S_ISSOCK(status.st_mode)) return LogSink(std::move(copy), Kind::Socket);
  if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) return LogSink(std::move(copy), Kind::Careful);
  return LogSink(std::move(copy), Kind::Blocking);
}

long LogSink::try_write(std::string_view* lines, std::size_t count) const {
  ssize_t written = 0;
  if (kind_ == Kind::Careful) {
    written = ::write(fd_.get(), lines->data(), std::min<std::size_t>(lines->size(), PIPE_BUF));
  } else {
    std::array<iovec, kLinesMax> parts;
    for (std::size_t i = 0; i < count; ++i) {
      parts[i] = {.iov_base = const_cast<char*>(lines[i].data()), .iov_len = lines[i].size()};
    }
    if (kind_ == Kind::Socket) {
      msghdr message{};
      message.msg_iov = parts.data();
      message.msg_iovlen = count;
      written = ::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
      written = ::writev(fd_.get(), parts.data(), static_cast<int>(count));
    }
  }
  return written < 0 ? -errno : written;
}

bool LogSink::wait_writable(const std::atomic<bool>& is_stopping, int wake_fd) {
  while (true) {
    const bool stopping = is_stopping.load(std::memory_order_acquire);
    int timeout_ms = -1;
    if (stopping) {
      const std::uint64_t now = monotonic_ms();
      if (give_up_ms_ == 0) give_up_ms_ = now + kFlushMs;
      if (now >= give_up_ms_) return false;
      timeout_ms = static_cast<int>(give_up_ms_ - now);
    }
    std::array<pollfd, 2> events{{{.fd = fd_.get(), .events = POLLOUT, .revents = 0},
                                  {.fd = stopping ? -1 : wake_fd, .events = POLLIN, .revents = 0}}};
    if (::poll(events.data(), events.size(), timeout_ms) < 0 && errno != EINTR) return false;
    if (events[0].revents != 0) return true;
    if (events[1].revents != 0 && !is_stopping.load(std::memory_order_acquire)) {
      std::uint64_t count = 0;  // a wake-up that was meant for new lines
      [[maybe_unused]] const auto got = ::read(wake_fd, &count, sizeof(count));
    }
  }
}

bool LogSink::write(std::span<const std::string_view> lines, const std::atomic<bool>& is_stopping, int wake_fd) {
  std::array<std::string_view, kLinesMax> left;
  std::copy(lines.begin(), lines.end(), left.begin());
  std::size_t first = 0;
  while (first < lines.size()) {
    if (kind_ == Kind::Careful && !wait_writable(is_stopping, wake_fd)) return false;
    long written = try_write(&left[first], lines.size() - first);
    if (written == -EINTR) continue;
    if (written == -EAGAIN) {
      if (!wait_writable(is_stopping, wake_fd)) return false;
      continue;
    }
    if (written < 0)
      return false;  // the reader is gone, or the disk is full: these lines are lost, the next are tried again
    while (first < lines.size() && static_cast<std::size_t>(written) >= left[first].size()) {
      written -= static_cast<long>(left[first].size());
      ++first;
    }
    if (first < lines.size()) left[first].remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace culvert::telemetry
