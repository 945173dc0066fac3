// SPDX-License-Identifier: Apache-2.0
// One epoll loop a thread, level-triggered. A connection whose peer does not read is not read from either: what could not be
// echoed yet waits in its own buffer.
#include "echo.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net.hpp"

namespace flowtool {
namespace {

class EchoLoop {
 public:
  EchoLoop(std::uint16_t port, bool tells_peer)
      : epoll_(::epoll_create1(EPOLL_CLOEXEC)), listener_(listen_on(port, true)), tells_peer_(tells_peer) {
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
  }

  [[noreturn]] void run() {
    std::array<epoll_event, 256> events{};
    while (true) {
      const int count = ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_) {
          accept_one();
        } else {
          serve(fd, events[static_cast<std::size_t>(i)].events);
        }
      }
    }
  }

 private:
  void watch(int operation, int fd, std::uint32_t events) const {
    epoll_event event{.events = events, .data = {.fd = fd}};
    (void)::epoll_ctl(epoll_, operation, fd, &event);
  }

  void accept_one() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    const int on = 1;
    (void)::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (tells_peer_) {
      const std::string line = peer_name(fd) + "\n";
      (void)::send(fd, line.data(), line.size(), MSG_NOSIGNAL);
    }
    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
  }

  void drop(int fd) {
    pending_.erase(fd);
    ::close(fd);
  }

  // False once the connection is gone.
  bool flush(int fd) {
    const auto found = pending_.find(fd);
    if (found == pending_.end()) return true;
    std::vector<char>& bytes = found->second;
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN) return true;
      drop(fd);
      return false;
    }
    bytes.erase(bytes.begin(), bytes.begin() + sent);
    if (bytes.empty()) {
      pending_.erase(found);
      watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    }
    return true;
  }

  void serve(int fd, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0 && !flush(fd)) return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || pending_.contains(fd)) return;
    const ssize_t got = ::recv(fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      drop(fd);
      return;
    }
    const ssize_t sent = ::send(fd, buffer_.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      drop(fd);
    } else if (sent < got) {
      pending_[fd] = std::vector<char>(buffer_.begin() + std::max<ssize_t>(sent, 0), buffer_.begin() + got);
      watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    }
  }

  int epoll_;
  int listener_;
  bool tells_peer_;
  std::unordered_map<int, std::vector<char>> pending_;
  std::array<char, 65536> buffer_{};
};

}  // namespace

void serve_echo(std::uint16_t port, unsigned threads, bool tells_peer) {
  raise_descriptor_limit();
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads; ++i) {
    helpers.emplace_back([port, tells_peer] { EchoLoop(port, tells_peer).run(); });
  }
  EchoLoop(port, tells_peer).run();
}

}  // namespace flowtool
