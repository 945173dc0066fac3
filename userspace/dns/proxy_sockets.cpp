// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.hpp"
#include "core/netns.hpp"
#include "core/socket.hpp"
#include "dns/proxy_state.hpp"

namespace culvert::dns {
namespace {

constexpr unsigned kPacketsPerTurn = 64;
constexpr std::size_t kLengthBytes = 2;  // in front of each message over TCP

}  // namespace

Proxy::State::~State() {
  forwarder.reset();  // its callbacks lead here
  for (const UniqueFd& fd : listeners) reactor.unwatch(fd.get());
  while (!clients.empty()) tcp_close(clients.begin()->first);
}

int Proxy::State::pod_socket(int family, int type) const {
  const auto guard = NetnsGuard::enter(options.netns.get(), home.get());
  if (!guard) return -guard.error().sys_errno();
  const int fd = ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int error = options.mark == 0 ? 0 : set_mark(fd, options.mark);
  if (error == 0 && options.claim) error = options.claim(fd);
  if (error != 0) {
    ::close(fd);
    return -error;
  }
  return fd;
}

Result<UniqueFd> Proxy::State::listening_socket(int family, int type) const {
  const IpAddress loopback =
      family == AF_INET ? IpAddress::v4({htonl(INADDR_LOOPBACK)}) : IpAddress::v6(in6addr_loopback);
  const Endpoint place{loopback, kPort};
  const int made = pod_socket(family, type);
  if (made < 0) return fail_errno(-made, "cannot make a socket for {}", place.to_string());
  UniqueFd fd(made);
  // Shared, so that one agent can replace another.
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
  sockaddr_storage storage{};
  const socklen_t size = place.to_sockaddr(storage, family == AF_INET6);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0 ||
      (type == SOCK_STREAM && ::listen(fd.get(), static_cast<int>(kTcpMax)) != 0)) {
    return fail_errno(errno, "cannot listen on {}", place.to_string());
  }
  return fd;
}

Result<void> Proxy::State::open_sockets() {
  for (const int family : {AF_INET, AF_INET6}) {
    for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
      auto opened = listening_socket(family, type);
      if (!opened) {
        // A pod without IPv6.
        const int error = opened.error().sys_errno();
        if (family == AF_INET6 && (error == EADDRNOTAVAIL || error == EAFNOSUPPORT)) continue;
        return std::unexpected(std::move(opened).error());
      }
      const int fd = opened->get();
      CV_TRY(reactor.watch(fd, EPOLLIN, [this, fd, type](std::uint32_t) {
        if (type == SOCK_DGRAM) {
          udp_readable(fd);
        } else {
          tcp_acceptable(fd);
        }
      }));
      listeners.push_back(std::move(*opened));
    }
  }
  return {};
}

void Proxy::State::udp_readable(int fd) {
  std::array<std::uint8_t, kQueryBytesMax + 1> packet;  // one more, so that what is too long is seen to be
  for (unsigned i = 0; i < kPacketsPerTurn; ++i) {
    sockaddr_storage from{};
    socklen_t from_size = sizeof(from);
    const ssize_t got =
        ::recvfrom(fd, packet.data(), packet.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (got < 0) return;
    take(ByteView(packet.data(), static_cast<std::size_t>(got)), false,
         [fd, from, from_size](std::vector<std::uint8_t> answer) {
           if (answer.empty()) return;
           // What does not go out now is lost, as packets are; the client asks again.
           (void)::sendto(fd, answer.data(), answer.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&from),
                          from_size);
         });
  }
}

void Proxy::State::tcp_acceptable(int fd) {
  UniqueFd accepted(::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!accepted || clients.size() >= kTcpMax) return;
  const std::uint64_t number = next_client++;
  const int client_fd = accepted.get();
  clients[number].fd = std::move(accepted);
  if (!reactor.watch(client_fd, EPOLLIN, [this, number](std::uint32_t events) { tcp_ready(number, events); })) {
    clients.erase(number);
    return;
  }
  tcp_limit(number);
}

void Proxy::State::tcp_limit(std::uint64_t number) {
  TcpClient& client = clients.at(number);
  if (client.timer != 0) reactor.cancel(client.timer);
  client.timer = reactor.after_ms(kTcpIdleMs, [this, number] {
    clients.at(number).timer = 0;
    tcp_close(number);
  });
}

void Proxy::State::tcp_close(std::uint64_t number) {
  const auto client = clients.extract(number);
  if (client.empty()) return;
  if (client.mapped().timer != 0) reactor.cancel(client.mapped().timer);
  reactor.unwatch(client.mapped().fd.get());
}

void Proxy::State::tcp_ready(std::uint64_t number, std::uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return tcp_close(number);
  if ((events & EPOLLOUT) != 0 && !tcp_write(number)) return;
  if ((events & EPOLLIN) != 0) static_cast<void>(tcp_read(number));
}

bool Proxy::State::tcp_read(std::uint64_t number) {
  for (;;) {
    const auto place = clients.find(number);
    if (place == clients.end()) return false;
    TcpClient& client = place->second;
    // The next question waits in the socket until this one is answered.
    if (client.is_asking || !client.out.empty()) return true;
    const std::size_t wanted =
        client.in.size() < kLengthBytes ? kLengthBytes : kLengthBytes + std::size_t{client.in[0]} * 256U + client.in[1];
    if (wanted > kLengthBytes + kQueryBytesMax) {
      tcp_close(number);
      return false;
    }
    if (client.in.size() >= kLengthBytes && client.in.size() == wanted) {
      const std::vector<std::uint8_t> packet = std::exchange(client.in, {});
      client.is_asking = true;
      // A question that is out keeps its connection; nothing else is read meanwhile.
      if (client.timer != 0) reactor.cancel(std::exchange(client.timer, 0));
      static_cast<void>(reactor.modify(client.fd.get(), 0));
      take(ByteView(packet).subspan(kLengthBytes), true,
           [this, number](std::vector<std::uint8_t> answer) { tcp_answer(number, std::move(answer)); });
      return clients.contains(number);  // what else is there comes in the loop's next turn
    }
    std::array<std::uint8_t, kQueryBytesMax> part;
    const ssize_t got =
        ::recv(client.fd.get(), part.data(), std::min(part.size(), wanted - client.in.size()), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      tcp_close(number);
      return false;
    }
    client.in.insert(client.in.end(), part.begin(), part.begin() + got);
  }
}

void Proxy::State::tcp_answer(std::uint64_t number, std::vector<std::uint8_t> answer) {
  const auto place = clients.find(number);
  if (place == clients.end()) return;
  if (answer.empty() || answer.size() > kAnswerBytesMax) return tcp_close(number);
  TcpClient& client = place->second;
  client.is_asking = false;
  client.out = {static_cast<std::uint8_t>(answer.size() >> 8U), static_cast<std::uint8_t>(answer.size())};
  client.out.insert(client.out.end(), answer.begin(), answer.end());
  client.sent = 0;
  tcp_limit(number);
  static_cast<void>(tcp_write(number));
}

bool Proxy::State::tcp_write(std::uint64_t number) {
  TcpClient& client = clients.at(number);
  if (client.out.empty()) return true;
  const ssize_t sent = ::send(client.fd.get(), client.out.data() + client.sent, client.out.size() - client.sent,
                              MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) {
    tcp_close(number);
    return false;
  }
  client.sent += sent < 0 ? 0 : static_cast<std::size_t>(sent);
  const bool is_done = client.sent == client.out.size();
  if (is_done) client.out.clear();
  static_cast<void>(reactor.modify(client.fd.get(), is_done ? EPOLLIN : EPOLLOUT));
  return true;
}

}  // namespace culvert::dns
