// SPDX-License-Identifier: Apache-2.0
// These are not made with core's tcp_listener because a socket must carry the agent's mark before it listens: a connection that
// it accepts inherits what the listener has at that moment.
#include "enroll/pod_sockets.hpp"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.hpp"
#include "core/netns.hpp"
#include "core/socket.hpp"

namespace culvert::enroll {
namespace {

constexpr int kBacklog = 4096;  // the namespace's net.core.somaxconn cuts it further

struct Place {
  std::uint16_t port = 0;
  bool is_tunnel = false;
  bool is_wildcard = false;
  std::uint32_t mark = 0;  // 0: none
};

std::array<Place, 3> places_of(const PodSocketsPlan& plan) noexcept {
  // A REDIRECT rule rewrites the destination to the receiving device's address or to 127.0.0.1, so those listeners take any address.
  const bool is_wildcard = plan.capture == Capture::Rules;
  return {{{kPortOutbound, false, is_wildcard, plan.mark},
           {kPortInboundPlaintext, false, is_wildcard, plan.mark},
           {kPortTunnel, true, true, plan.mark}}};
}

Endpoint endpoint_of(const Place& place, int family) {
  IpAddress address;  // ::
  if (family == AF_INET) {
    address = IpAddress::v4({place.is_wildcard ? htonl(INADDR_ANY) : htonl(INADDR_LOOPBACK)});
  } else if (!place.is_wildcard) {
    address = IpAddress::v6(in6addr_loopback);
  }
  return {address, place.port};
}

int set_flag(int fd, int level, int name, int value = 1) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : errno;
}

// Closing resets: when the agent dies, what it accepted in clear text ends with RST, never with a FIN that looks like the peer's.
int set_reset_on_close(int fd) noexcept {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  return ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0 ? 0 : errno;
}

// What accepted sockets inherit, so that the workers need not set it on each: no Nagle delay, and keepalive as the field's agents do.
int set_inherited(int fd) noexcept {
  if (const int error = set_flag(fd, IPPROTO_TCP, TCP_NODELAY); error != 0) return error;
  if (const int error = set_flag(fd, SOL_SOCKET, SO_KEEPALIVE); error != 0) return error;
  if (const int error = set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, 180); error != 0) return error;
  if (const int error = set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, 180); error != 0) return error;
  return set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
}

int set_options(int fd, const Place& place, int family) noexcept {
  if (const int error = set_flag(fd, SOL_SOCKET, SO_REUSEADDR); error != 0) return error;
  if (const int error = set_flag(fd, SOL_SOCKET, SO_REUSEPORT); error != 0) return error;
  if (family == AF_INET6) {
    if (const int error = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY); error != 0) return error;
  }
  if (place.mark != 0) {
    // What a listener accepts has its mark, so the answers are exempt from the rules, too.
    if (const int error = set_mark(fd, place.mark); error != 0) return error;
  }
  if (const int error = set_inherited(fd); error != 0) return error;
  if (place.is_tunnel) return 0;
  if (const int error = set_reset_on_close(fd); error != 0) return error;
  // Before bind: it also lets the socket have ::1 or 127.0.0.1 while lo is still down.
  return family == AF_INET6 ? set_flag(fd, IPPROTO_IPV6, IPV6_TRANSPARENT) : set_flag(fd, IPPROTO_IP, IP_TRANSPARENT);
}

std::unexpected<Error> bind_failed(int error, const Endpoint& endpoint) {
  if (error != EADDRINUSE)
    return fail_errno(error, "cannot bind {} in the pod's network namespace", endpoint.to_string());
  return fail(ErrorCode::AlreadyExists,
              "port {} is taken by a program of the pod (bind {}: address in use); the mesh needs ports {}, {} and {} "
              "in every pod: "
              "have the program listen elsewhere, or leave the pod out of the mesh",
              endpoint.port, endpoint.to_string(), kPortOutbound, kPortInboundPlaintext, kPortTunnel);
}

Result<UniqueFd> bound_socket(const Place& place, int family, bool is_shared) {
  const Endpoint endpoint = endpoint_of(place, family);
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!fd) return fail_errno(errno, "cannot make a socket for {} in the pod's network namespace", endpoint.to_string());
  int error = set_options(fd.get(), place, family);
  if (error == 0 && !is_shared) error = set_flag(fd.get(), SOL_SOCKET, SO_REUSEPORT, 0);
  if (error != 0) {
    return fail_errno(error, "cannot prepare the socket for {} (culvertd needs CAP_NET_ADMIN in the pod's namespace)",
                      endpoint.to_string());
  }
  sockaddr_storage storage{};
  const socklen_t length = endpoint.to_sockaddr(storage, family == AF_INET6);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return bind_failed(errno, endpoint);
  return fd;
}

Result<UniqueFd> listener(const Place& place, int family, const datapath::SocketMarker& marker) {
  UniqueFd fd = CV_TRY(bound_socket(place, family, true));
  if (const int error = marker.mark_agent(fd.get()); error != 0) {
    return fail_errno(error, "cannot mark the listener on port {} as the agent's", place.port);
  }
  if (::listen(fd.get(), kBacklog) != 0) {
    const int error = errno;
    if (error == EADDRINUSE) return bind_failed(error, endpoint_of(place, family));
    return fail_errno(error, "cannot listen on port {} in the pod's network namespace", place.port);
  }
  return fd;
}

Result<PodListeners::Family> open_family(const PodSocketsPlan& plan, int family, const datapath::SocketMarker& marker) {
  const auto [outbound, inbound, tunnel] = places_of(plan);
  PodListeners::Family sockets;
  sockets.outbound = CV_TRY(listener(outbound, family, marker));
  sockets.inbound_plaintext = CV_TRY(listener(inbound, family, marker));
  sockets.tunnel = CV_TRY(listener(tunnel, family, marker));
  return sockets;
}

// A bind that shares nothing finds every listener that is there; those of the agent come after it.
Result<void> refuse_taken_ports(const PodSocketsPlan& plan, int family) {
  for (const Place& place : places_of(plan)) CV_TRY(bound_socket(place, family, false));
  return {};
}

// When a listener closes, the connections that wait at it, established or half open, go to another agent's that shares the port (5.14), as while
// one replaces the other. A container whose /proc/sys cannot be written does without: what is established was taken before, what is not is reset.
void keep_waiting_connections() noexcept {
  const UniqueFd file(::open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC));
  if (file) [[maybe_unused]]
    const ssize_t written = ::write(file.get(), "1", 1);
}

}  // namespace

Result<std::vector<PodListeners>> open_pod_sockets(const PodSocketsPlan& plan, const datapath::SocketMarker& marker,
                                                   int netns_fd, int home_netns_fd) {
  const NetnsGuard guard = CV_TRY(NetnsGuard::enter(netns_fd, home_netns_fd));
  if (plan.capture == Capture::Rules) keep_waiting_connections();
  if (plan.refuses_taken_ports) {
    if (plan.has_v4) CV_TRY(refuse_taken_ports(plan, AF_INET));
    if (plan.has_v6) CV_TRY(refuse_taken_ports(plan, AF_INET6));
  }
  std::vector<PodListeners> workers(plan.workers);
  for (PodListeners& worker : workers) {
    if (plan.has_v4) worker.v4 = CV_TRY(open_family(plan, AF_INET, marker));
    if (plan.has_v6) worker.v6 = CV_TRY(open_family(plan, AF_INET6, marker));
  }
  return workers;
}

}  // namespace culvert::enroll
