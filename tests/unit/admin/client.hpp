// SPDX-License-Identifier: Apache-2.0
// A raw HTTP client that shares the test's thread with the server: it turns the reactor while it waits.
#pragma once

#include <array>
#include <cstring>
#include <string>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/address.hpp"
#include "base/clock.hpp"
#include "base/unique_fd.hpp"
#include "core/reactor.hpp"

namespace culvert::admin {

class Client {
 public:
  Client(Reactor& reactor, const std::string& path)
      : reactor_(reactor), fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    REQUIRE(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  Client(Reactor& reactor, std::uint16_t port)
      : reactor_(reactor), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage storage{};
    const socklen_t size = Endpoint{IpAddress::parse("127.0.0.1").value(), port}.to_sockaddr(storage);
    REQUIRE(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&storage), size) == 0);
  }

  // False when the server had closed.
  bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
      if (sent < 0 && errno != EAGAIN) return false;
      reactor_.turn(sent < 0 ? 10 : 0);
    }
    return true;
  }
  // One answer with its head; or what came until the server closed, or until `limit_ms`.
  std::string read_answer(std::uint64_t limit_ms = 10'000, bool has_body = true) {
    const std::uint64_t until = monotonic_ms() + limit_ms;
    while (monotonic_ms() < until) {
      const std::size_t head = received_.find("\r\n\r\n");
      if (head != std::string::npos) {
        const std::size_t at = received_.find("Content-Length: ");
        const std::size_t total = head + 4 + (has_body && at < head ? std::stoul(received_.substr(at + 16)) : 0);
        if (received_.size() >= total) {
          std::string answer = received_.substr(0, total);
          received_.erase(0, total);
          return answer;
        }
      }
      if (!read_some(10)) break;
    }
    return std::exchange(received_, {});
  }
  // A chunked answer, its body joined (RFC 9112, section 7.1); what came where it is not one.
  std::string read_chunked(std::uint64_t limit_ms = 30'000) {
    const std::uint64_t until = monotonic_ms() + limit_ms;
    while (received_.find("\r\n\r\n") == std::string::npos && monotonic_ms() < until && read_some(10)) {}
    const std::size_t head = received_.find("\r\n\r\n");
    if (head == std::string::npos) return std::exchange(received_, {});
    std::string answer = received_.substr(0, head + 4);
    if (answer.find("chunked") == std::string::npos) return std::exchange(received_, {});
    std::size_t at = head + 4;
    while (monotonic_ms() < until) {
      const std::size_t line_end = received_.find("\r\n", at);
      const std::size_t size =
          line_end == std::string::npos ? 0 : std::stoul(received_.substr(at, line_end - at), nullptr, 16);
      if (line_end == std::string::npos || received_.size() < line_end + 2 + size + 2) {
        REQUIRE(read_some(10));
        continue;
      }
      answer += received_.substr(line_end + 2, size);
      at = line_end + 2 + size + 2;
      if (size == 0) break;
    }
    received_.erase(0, at);
    return answer;
  }
  // What comes until the server closes.
  std::string read_to_end() {
    while (read_some(10)) {}
    return std::exchange(received_, {});
  }
  std::string ask(std::string_view request) {
    write(request);
    return read_answer();
  }
  std::string get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  // Whether the server closes within `limit_ms`.
  bool is_closed_within(std::uint64_t limit_ms) {
    const std::uint64_t until = monotonic_ms() + limit_ms;
    while (monotonic_ms() < until) {
      if (!read_some(10)) return true;
    }
    return false;
  }
  void shrink_receive_buffer() {
    const int bytes = 4'096;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
  }
  void close() { fd_.reset(); }

 private:
  std::size_t wait_for(std::string_view text) {
    while (received_.find(text) == std::string::npos) REQUIRE(read_some(10));
    return received_.find(text);
  }
  void wait_for_bytes(std::size_t count) {
    while (received_.size() < count) REQUIRE(read_some(10));
  }
  bool read_some(int wait_ms) {
    reactor_.turn(0);
    std::array<char, 65'536> part;
    const ssize_t got = ::recv(fd_.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (got > 0) received_.append(part.data(), static_cast<std::size_t>(got));
    if (got < 0 && errno == EAGAIN) reactor_.turn(wait_ms);
    return got > 0 || (got < 0 && errno == EAGAIN);
  }

  Reactor& reactor_;
  UniqueFd fd_;
  std::string received_;
};

inline int status_of(const std::string& answer) { return answer.size() > 12 ? std::stoi(answer.substr(9, 3)) : 0; }
inline std::string body_of(const std::string& answer) {
  const std::size_t head = answer.find("\r\n\r\n");
  return head == std::string::npos ? std::string() : answer.substr(head + 4);
}

}  // namespace culvert::admin
