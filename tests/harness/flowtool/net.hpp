// SPDX-License-Identifier: Apache-2.0
// Small blocking-socket helpers of flowtool. It stands for an application: it shares no code with the agent that it tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>

namespace flowtool {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// Exits with a message when the text is no address.
[[nodiscard]] Address parse_address(const std::string& host, std::uint16_t port);
// "10.0.0.1:80" or "[fd00::1]:80"; v4-mapped addresses as IPv4.
[[nodiscard]] std::string peer_name(int fd);
// A listening socket for both families, or the end of the program. `backlog_extra` listeners may share the port.
[[nodiscard]] int listen_on(std::uint16_t port, bool is_shared);
// A connected blocking socket with TCP_NODELAY, or -1 with errno. `source` is bound to when given.
[[nodiscard]] int connect_to(const Address& to, const std::optional<Address>& source, int timeout_ms);
// All bytes, or false with errno.
[[nodiscard]] bool send_all(int fd, std::span<const std::uint8_t> bytes);
// Fills the span; the count that arrived before EOF, or -1 with errno.
[[nodiscard]] ssize_t receive_all(int fd, std::span<std::uint8_t> bytes);
// Makes close() send RST.
void arm_reset(int fd);
// As many descriptors as the hard limit allows.
void raise_descriptor_limit();
[[nodiscard]] std::string error_name(int error);

using Clock = std::chrono::steady_clock;
[[nodiscard]] inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace flowtool
