// SPDX-License-Identifier: Apache-2.0
#include "core/seqpacket.hpp"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace culvert {
namespace {

constexpr std::size_t kFdRoom = 4;  // more than the protocol allows, so that a second one is seen and refused

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::InvalidArgument, "socket path \"{}\" must have 1 to {} bytes", path,
                sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> unix_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "cannot make a unix socket");
  return fd;
}

// Removes a socket that nobody answers on.
Result<void> clear_stale(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode)) return fail(ErrorCode::AlreadyExists, "{} is there and is no socket; remove it", path);
  const UniqueFd probe = CV_TRY(unix_socket());
  const int answered = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (answered == 0 || errno == EAGAIN) {
    return fail(ErrorCode::AlreadyExists, "an agent answers on {} already; stop it, or give this one another socket",
                path);
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno(errno, "cannot remove the stale socket {}", path);
  return {};
}

void take_fds(msghdr& message, Packet& packet) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      packet.fds.emplace_back(fd);
    }
  }
}

}  // namespace

ReceiveStatus receive_packet(int fd, std::size_t bytes_max, Packet& packet) {
  packet = {};
  packet.text.resize(bytes_max);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdRoom)];
  iovec span{.iov_base = packet.text.data(), .iov_len = packet.text.size()};
  msghdr message{};
  message.msg_iov = &span;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = 0;
  do {
    got = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == EAGAIN ? ReceiveStatus::WouldBlock : ReceiveStatus::Closed;
  take_fds(message, packet);
  // An empty packet and the end of the connection look alike here; neither is a message.
  if (got == 0) return ReceiveStatus::Closed;
  packet.text.resize(static_cast<std::size_t>(got));
  packet.is_truncated = (message.msg_flags & MSG_TRUNC) != 0;
  packet.has_lost_fds = (message.msg_flags & MSG_CTRUNC) != 0;
  return ReceiveStatus::Packet;
}

bool send_packet(int fd, std::string_view text) noexcept {
  ssize_t sent = 0;
  do {
    sent = ::send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(text.size());
}

Result<UniqueFd> connect_seqpacket(const std::string& path) {
  const sockaddr_un address = CV_TRY(unix_address(path));
  UniqueFd fd = CV_TRY(unix_socket());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno(errno, "cannot connect to {}", path);
  }
  return fd;
}

Result<UniqueFd> listen_seqpacket(const std::string& path, int backlog) {
  const sockaddr_un address = CV_TRY(unix_address(path));
  CV_TRY(clear_stale(path, address));
  UniqueFd fd = CV_TRY(unix_socket());
  // The mode of the socket file comes from the descriptor's, so that there is no moment at which others could connect.
  if (::fchmod(fd.get(), 0600) != 0) return fail_errno(errno, "cannot set the mode of {}", path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno(errno, "cannot bind {}", path);
  }
  if (::listen(fd.get(), backlog) != 0) return fail_errno(errno, "cannot listen on {}", path);
  return fd;
}

}  // namespace culvert
