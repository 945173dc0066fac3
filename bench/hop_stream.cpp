// SPDX-License-Identifier: Apache-2.0
#include "hop_stream.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace culvert::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kReadBytes = 256UL * 1024;

int complain(const char* what) {
  fmt::print(stderr, "bench_hop: {}: {}\n", what, std::strerror(errno));
  return 1;
}

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void drain(int connection, std::vector<char>& buffer, const volatile bool& should_end) {
  while (!should_end) {
    const ssize_t got = ::recv(connection, buffer.data(), buffer.size(), 0);
    if (got == 0 || (got < 0 && errno != EINTR)) return;
  }
}

}  // namespace

int send_stream(const SendOptions& options) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(options.port);
  if (::inet_pton(AF_INET, options.host.c_str(), &to.sin_addr) != 1) {
    fmt::print(stderr, "bench_hop: '{}' is no IPv4 address\n", options.host);
    return 2;
  }
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return complain("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return complain("connect");
  const std::vector<char> data(options.write_bytes, 'x');
  std::uint64_t sent = 0;
  const auto start = Clock::now();
  while (seconds_since(start) < options.seconds) {
    const ssize_t part = ::send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (part < 0) return complain("send");
    sent += static_cast<std::uint64_t>(part);
  }
  fmt::print("{{\"bytes\":{},\"seconds\":{:.4f}}}\n", sent, seconds_since(start));
  return 0;
}

int sink_streams(std::uint16_t port) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  if (!listener.is_open() || ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 ||
      ::listen(listener.get(), 16) != 0) {
    return complain("cannot listen");
  }
  fmt::print("ready\n");
  static_cast<void>(std::fflush(stdout));
  const bool never = false;
  read_connections(listener.get(), -1, never);
  return 0;
}

void read_connections(int listener_v4, int listener_v6, const volatile bool& should_end) {
  std::vector<char> buffer(kReadBytes);
  std::array<pollfd, 2> waiting{pollfd{listener_v4, POLLIN, 0}, pollfd{listener_v6, POLLIN, 0}};
  while (!should_end) {
    if (::poll(waiting.data(), waiting.size(), -1) <= 0) continue;
    for (const pollfd& entry : waiting) {
      if ((entry.revents & POLLIN) == 0) continue;
      const UniqueFd connection(::accept4(entry.fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.is_open()) drain(connection.get(), buffer, should_end);
    }
  }
}

}  // namespace culvert::bench
