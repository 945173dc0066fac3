// SPDX-License-Identifier: Apache-2.0
// TCP sockets as the agent needs them. All are CLOEXEC and NONBLOCK. Run inside a NetnsGuard when the socket belongs to
// a pod; the socket stays in the namespace in which it was made.
#pragma once

#include <cstdint>
#include <optional>

#include "base/address.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert {

struct ListenerOptions {
  int backlog = 4096;
  bool is_transparent = false;   // IP_TRANSPARENT: accept for foreign local addresses (needs CAP_NET_ADMIN)
  bool is_reuseport = true;      // one listener per worker on one port
  bool resets_on_close = false;  // SO_LINGER {1,0}, inherited by what is accepted: a dead agent resets, never FINs
  bool is_v6_only = true;
  bool has_keepalive = false;
};
// What it accepts inherits NODELAY, and linger and keepalive as asked for here.
[[nodiscard]] Result<UniqueFd> tcp_listener(const Endpoint& address, const ListenerOptions& options);
// The next waiting connection: a descriptor or -errno. -EAGAIN when none waits; connections that died in the queue are
// passed over; -EMFILE, -ENFILE, -ENOMEM and -ENOBUFS leave the connection waiting: accept again later.
[[nodiscard]] int tcp_accept(int listener_fd) noexcept;

// A TCP socket with NODELAY, not yet connected. Data path: gives the descriptor or -errno, no strings.
[[nodiscard]] int tcp_socket(int family) noexcept;
// Source address kept: IP_TRANSPARENT or IPV6_TRANSPARENT (CAP_NET_ADMIN), and bind to address:0 with the port chosen at
// connect, so that ports are shared between destinations. `source` is of the socket's family. 0 or an errno.
[[nodiscard]] int bind_transparent(int fd, const IpAddress& source) noexcept;
// 0 when connected, EINPROGRESS, or an errno.
[[nodiscard]] int start_connect(int fd, const Endpoint& destination) noexcept;
// SO_ERROR of a connect in progress: 0 or an errno.
[[nodiscard]] int connect_error(int fd) noexcept;
[[nodiscard]] int set_mark(int fd, std::uint32_t mark) noexcept;
// SO_BINDTOIFINDEX 1: lo, of whichever namespace the socket is in. A connect to one of the namespace's own addresses then really
// arrives on lo; without it the kernel names the device that has the address. 0 or an errno.
[[nodiscard]] int bind_to_loopback_device(int fd) noexcept;
// Linger {1,0} (close resets) or off (close delivers what is queued, then FIN).
void set_reset_on_close(int fd, bool resets) noexcept;
[[nodiscard]] std::optional<Endpoint> local_endpoint(int fd) noexcept;
// Where the connection was going before a REDIRECT rule of this namespace sent it here (SO_ORIGINAL_DST); the local address where none did.
[[nodiscard]] std::optional<Endpoint> original_destination(int fd) noexcept;
[[nodiscard]] std::optional<Endpoint> peer_endpoint(int fd) noexcept;
// TCP has had no acknowledgement for `ms`, and sent again what waits for one: packets or their acknowledgements are lost. False where that is not known.
[[nodiscard]] bool is_unacknowledged(int fd, std::uint32_t ms) noexcept;
// Keepalive: idle 180 s, interval 180 s, 9 probes, as the field's agents do.
void set_keepalive(int fd) noexcept;

}  // namespace culvert
