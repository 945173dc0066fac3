// SPDX-License-Identifier: Apache-2.0
// Sockets on loopback, both families.
#include "core/socket.hpp"

#include <cerrno>
#include <string>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

namespace {

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  CHECK(::getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}

bool wait_for(int fd, short events) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return ::poll(&entry, 1, 5000) == 1;
}

void check_flags(int fd) {
  CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

struct Pair {
  UniqueFd listener;
  UniqueFd client;
  UniqueFd server;
};

Pair connected_pair(const std::string& address, const ListenerOptions& options = {}) {
  Pair pair;
  auto listener = tcp_listener(Endpoint{*IpAddress::parse(address), 0}, options);
  REQUIRE(listener);
  pair.listener = std::move(*listener);
  const auto where = local_endpoint(pair.listener.get());
  REQUIRE(where);
  pair.client.reset(tcp_socket(where->address.family()));
  REQUIRE(pair.client.is_open());
  const int started = start_connect(pair.client.get(), *where);
  REQUIRE((started == 0 || started == EINPROGRESS));
  REQUIRE(wait_for(pair.client.get(), POLLOUT));
  REQUIRE(connect_error(pair.client.get()) == 0);
  REQUIRE(wait_for(pair.listener.get(), POLLIN));
  pair.server.reset(tcp_accept(pair.listener.get()));
  REQUIRE(pair.server.is_open());
  return pair;
}

}  // namespace

TEST_CASE("a connection on loopback has its names, flags and no Nagle delay at both ends") {
  for (const char* address : {"127.0.0.1", "::1"}) {
    CAPTURE(address);
    const Pair pair = connected_pair(address);
    for (const UniqueFd* fd : {&pair.listener, &pair.client, &pair.server}) check_flags(fd->get());
    CHECK(option(pair.client.get(), SOL_TCP, TCP_NODELAY) == 1);
    CHECK(option(pair.server.get(), SOL_TCP, TCP_NODELAY) == 1);
    CHECK(local_endpoint(pair.client.get()) == peer_endpoint(pair.server.get()));
    CHECK(peer_endpoint(pair.client.get()) == local_endpoint(pair.server.get()));
    CHECK(local_endpoint(pair.listener.get()) == local_endpoint(pair.server.get()));
  }
}

TEST_CASE("accept says that nothing waits") {
  const auto listener = tcp_listener(*Endpoint::parse("127.0.0.1:0"), {});
  REQUIRE(listener);
  CHECK(tcp_accept(listener->get()) == -EAGAIN);
  CHECK(tcp_accept(-1) == -EBADF);
}

TEST_CASE("a listener's keepalive and linger are inherited by what it accepts") {
  const Pair pair = connected_pair("127.0.0.1", {.resets_on_close = true, .has_keepalive = true});
  CHECK(option(pair.server.get(), SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(pair.server.get(), SOL_TCP, TCP_KEEPIDLE) == 180);
  CHECK(option(pair.server.get(), SOL_TCP, TCP_KEEPINTVL) == 180);
  CHECK(option(pair.server.get(), SOL_TCP, TCP_KEEPCNT) == 9);
  linger value{};
  socklen_t length = sizeof(value);
  REQUIRE(::getsockopt(pair.server.get(), SOL_SOCKET, SO_LINGER, &value, &length) == 0);
  CHECK(value.l_onoff == 1);
  CHECK(value.l_linger == 0);
}

TEST_CASE("keepalive and linger are off unless asked for") {
  const Pair pair = connected_pair("::1");
  CHECK(option(pair.server.get(), SOL_SOCKET, SO_KEEPALIVE) == 0);
  set_keepalive(pair.client.get());
  CHECK(option(pair.client.get(), SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(pair.client.get(), SOL_TCP, TCP_KEEPIDLE) == 180);
}

TEST_CASE("close sends RST or FIN as set") {
  for (const bool resets : {true, false}) {
    CAPTURE(resets);
    Pair pair = connected_pair("127.0.0.1");
    set_reset_on_close(pair.server.get(), !resets);
    set_reset_on_close(pair.server.get(), resets);
    pair.server.reset();
    REQUIRE(wait_for(pair.client.get(), POLLIN));
    char byte = 0;
    const ssize_t got = ::recv(pair.client.get(), &byte, 1, 0);
    const int error = errno;
    CHECK(got == (resets ? -1 : 0));
    if (resets) CHECK(error == ECONNRESET);
  }
}

TEST_CASE("two workers listen on one port, and a listener that wants it alone is refused") {
  const auto first = tcp_listener(*Endpoint::parse("127.0.0.1:0"), {});
  REQUIRE(first);
  const Endpoint where = *local_endpoint(first->get());
  CHECK(tcp_listener(where, {}));
  const auto alone = tcp_listener(where, {.is_reuseport = false});
  REQUIRE_FALSE(alone);
  CHECK(alone.error().sys_errno() == EADDRINUSE);
  CHECK(alone.error().message().find(where.to_string()) != std::string::npos);
}

TEST_CASE("an IPv6 listener takes IPv4 only when asked") {
  for (const bool is_v6_only : {true, false}) {
    CAPTURE(is_v6_only);
    const auto listener = tcp_listener(*Endpoint::parse("[::]:0"), {.is_v6_only = is_v6_only});
    REQUIRE(listener);
    const Endpoint four{*IpAddress::parse("127.0.0.1"), local_endpoint(listener->get())->port};
    const UniqueFd client(tcp_socket(AF_INET));
    const int started = start_connect(client.get(), four);
    REQUIRE((started == 0 || started == EINPROGRESS || started == ECONNREFUSED));
    int result = started;
    if (started == EINPROGRESS) {
      REQUIRE(wait_for(client.get(), POLLOUT));
      result = connect_error(client.get());
    }
    CHECK(result == (is_v6_only ? ECONNREFUSED : 0));
    if (is_v6_only) continue;
    REQUIRE(wait_for(listener->get(), POLLIN));
    const UniqueFd server(tcp_accept(listener->get()));
    CHECK(local_endpoint(server.get()) == four);  // v4-mapped on the socket, plain IPv4 as a value
  }
}

TEST_CASE("a connect to nobody is refused with an errno") {
  const UniqueFd holder(tcp_socket(AF_INET));
  sockaddr_storage storage;
  const socklen_t length = Endpoint::parse("127.0.0.1:0")->to_sockaddr(storage);
  REQUIRE(::bind(holder.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0);
  const Endpoint nobody = *local_endpoint(holder.get());  // bound, not listening
  const UniqueFd client(tcp_socket(AF_INET));
  int result = start_connect(client.get(), nobody);
  if (result == EINPROGRESS) {
    REQUIRE(wait_for(client.get(), POLLOUT));
    result = connect_error(client.get());
  }
  CHECK(result == ECONNREFUSED);
}

TEST_CASE("bad descriptors and families give errors, not surprises") {
  CHECK(tcp_socket(AF_UNIX) < 0);
  CHECK(set_mark(-1, 1) == EBADF);
  CHECK(start_connect(-1, {}) == EBADF);
  CHECK(connect_error(-1) == EBADF);
  CHECK(bind_transparent(-1, *IpAddress::parse("127.0.0.1")) == EBADF);
  CHECK_FALSE(local_endpoint(-1));
  const UniqueFd unconnected(tcp_socket(AF_INET));
  CHECK_FALSE(peer_endpoint(unconnected.get()));
  const UniqueFd unix_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_FALSE(local_endpoint(unix_socket.get()));
}
