// SPDX-License-Identifier: Apache-2.0
#include "core/socket.hpp"

#include <cerrno>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <linux/netfilter_ipv4.h>

namespace culvert {
namespace {

constexpr int kKeepaliveIdleS = 180;
constexpr int kKeepaliveIntervalS = 180;
constexpr int kKeepaliveProbes = 9;

// 0 or an errno.
int set_option(int fd, int level, int name, int value) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : errno;
}

int set_transparent(int fd, int family) noexcept {
  return family == AF_INET6 ? set_option(fd, SOL_IPV6, IPV6_TRANSPARENT, 1) : set_option(fd, SOL_IP, IP_TRANSPARENT, 1);
}

std::optional<Endpoint> name_of(int fd, int (*ask)(int, sockaddr*, socklen_t*)) noexcept {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (ask(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return std::nullopt;
  if (storage.ss_family != AF_INET && storage.ss_family != AF_INET6) return std::nullopt;
  return Endpoint::from_sockaddr(storage);
}

// Everything between socket() and bind(); 0 or the errno of `failed_option`.
int prepare_listener(int fd, int family, const ListenerOptions& options, const char*& failed_option) noexcept {
  const auto set = [&](const char* name, int error) {
    failed_option = name;
    return error;
  };
  if (const int error = set("SO_REUSEADDR", set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1))) return error;
  if (const int error = set("TCP_NODELAY", set_option(fd, SOL_TCP, TCP_NODELAY, 1))) return error;
  if (options.is_reuseport) {
    if (const int error = set("SO_REUSEPORT", set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1))) return error;
  }
  if (family == AF_INET6) {
    const int value = options.is_v6_only ? 1 : 0;
    if (const int error = set("IPV6_V6ONLY", set_option(fd, SOL_IPV6, IPV6_V6ONLY, value))) return error;
  }
  if (options.is_transparent) {
    if (const int error = set("IP_TRANSPARENT (needs CAP_NET_ADMIN)", set_transparent(fd, family))) return error;
  }
  if (options.resets_on_close) set_reset_on_close(fd, true);
  if (options.has_keepalive) set_keepalive(fd);
  return 0;
}

}  // namespace

Result<UniqueFd> tcp_listener(const Endpoint& address, const ListenerOptions& options) {
  const int family = address.address.family();
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!fd) return fail_errno(errno, "cannot make a socket to listen on {}", address.to_string());
  const char* failed_option = nullptr;
  if (const int error = prepare_listener(fd.get(), family, options, failed_option); error != 0) {
    return fail_errno(error, "cannot set {} on the listener for {}", failed_option, address.to_string());
  }
  sockaddr_storage storage;
  const socklen_t length = address.to_sockaddr(storage);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) {
    return fail_errno(errno, "cannot bind to {}", address.to_string());
  }
  if (::listen(fd.get(), options.backlog) != 0) {
    return fail_errno(errno, "cannot listen on {}", address.to_string());
  }
  return fd;
}

int tcp_accept(int listener_fd) noexcept {
  for (;;) {
    const int fd = ::accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) return fd;
    switch (errno) {
      // accept(2): Linux passes on errors of the connection that waited; it is gone from the queue, so this ends.
      case EINTR:
      case ECONNABORTED:
      case EPROTO:
      case ENETDOWN:
      case ENOPROTOOPT:
      case EHOSTDOWN:
      case ENONET:
      case EHOSTUNREACH:
      case ENETUNREACH: continue;
      default: return -errno;
    }
  }
}

int tcp_socket(int family) noexcept {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return -errno;
  (void)set_option(fd, SOL_TCP, TCP_NODELAY, 1);  // cannot fail on a TCP socket
  return fd;
}

int bind_transparent(int fd, const IpAddress& source) noexcept {
  if (const int error = set_transparent(fd, source.family()); error != 0) return error;
  // A socket option of SOL_IP for both families.
  if (const int error = set_option(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1); error != 0) return error;
  sockaddr_storage storage;
  const socklen_t length = Endpoint{source, 0}.to_sockaddr(storage);
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&storage), length) == 0 ? 0 : errno;
}

int start_connect(int fd, const Endpoint& destination) noexcept {
  sockaddr_storage storage;
  const socklen_t length = destination.to_sockaddr(storage);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&storage), length) == 0) return 0;
  return errno == EINTR ? EINPROGRESS : errno;  // an interrupted connect goes on by itself
}

int connect_error(int fd) noexcept {
  int error = 0;
  socklen_t length = sizeof(error);
  return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

int bind_to_loopback_device(int fd) noexcept {
  const int lo_ifindex = 1;
  return ::setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &lo_ifindex, sizeof(lo_ifindex)) == 0 ? 0 : errno;
}

int set_mark(int fd, std::uint32_t mark) noexcept {
  return ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0 ? 0 : errno;
}

void set_reset_on_close(int fd, bool resets) noexcept {
  const linger value{.l_onoff = resets ? 1 : 0, .l_linger = 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof(value));
}

std::optional<Endpoint> local_endpoint(int fd) noexcept { return name_of(fd, ::getsockname); }
std::optional<Endpoint> original_destination(int fd) noexcept {
  // IP6T_SO_ORIGINAL_DST has the same number; its header does not go together with the C library's.
  constexpr int kOriginalV6 = SO_ORIGINAL_DST;
  const std::optional<Endpoint> local = local_endpoint(fd);
  if (!local) return local;
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  const bool is_v6 = local->address.family() == AF_INET6;
  if (::getsockopt(fd, is_v6 ? SOL_IPV6 : SOL_IP, is_v6 ? kOriginalV6 : SO_ORIGINAL_DST, &storage, &length) != 0)
    return local;
  return Endpoint::from_sockaddr(storage);
}
std::optional<Endpoint> peer_endpoint(int fd) noexcept { return name_of(fd, ::getpeername); }

bool is_unacknowledged(int fd, std::uint32_t ms) noexcept {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, SOL_TCP, TCP_INFO, &info, &size) != 0) return false;
  return info.tcpi_unacked > 0 && info.tcpi_retransmits > 0 && info.tcpi_last_ack_recv >= ms;
}

void set_keepalive(int fd) noexcept {
  (void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  (void)set_option(fd, SOL_TCP, TCP_KEEPIDLE, kKeepaliveIdleS);
  (void)set_option(fd, SOL_TCP, TCP_KEEPINTVL, kKeepaliveIntervalS);
  (void)set_option(fd, SOL_TCP, TCP_KEEPCNT, kKeepaliveProbes);
}

}  // namespace culvert
