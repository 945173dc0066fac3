// SPDX-License-Identifier: Apache-2.0
// Sockets with addresses that are not the machine's, in a namespace of their own; needs root.
#include "core/socket.hpp"

#include <cerrno>
#include <string>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "root_fixture.hpp"

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

namespace {

bool wait_for(int fd, short events) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return ::poll(&entry, 1, 5000) == 1;
}

struct Family {
  const char* listens;
  const char* source;
};
constexpr Family kFamilies[] = {{"127.0.0.1", "127.9.9.9"}, {"::1", "::1"}};

}  // namespace

TEST_CASE("a connection has the source it was told, and its port is chosen at connect") {
  const UniqueFd pod = test::make_netns();
  const auto home = open_current_netns();
  const auto guard = NetnsGuard::enter(pod.get(), home->get());
  REQUIRE(guard);
  for (const Family& family : kFamilies) {
    CAPTURE(family.source);
    const auto listener = tcp_listener(Endpoint{*IpAddress::parse(family.listens), 0}, {});
    REQUIRE(listener);
    const Endpoint where = *local_endpoint(listener->get());
    const UniqueFd client(tcp_socket(where.address.family()));
    const IpAddress source = *IpAddress::parse(family.source);
    REQUIRE(bind_transparent(client.get(), source) == 0);
    CHECK(local_endpoint(client.get())->port == 0);  // chosen at connect
    const int started = start_connect(client.get(), where);
    REQUIRE((started == 0 || started == EINPROGRESS));
    REQUIRE(wait_for(listener->get(), POLLIN));
    const UniqueFd server(tcp_accept(listener->get()));
    CHECK(peer_endpoint(server.get())->address == source);
    CHECK(local_endpoint(client.get())->port != 0);
  }
}

TEST_CASE("an address of nobody can be bound only transparently") {
  const UniqueFd pod = test::make_netns();
  const auto home = open_current_netns();
  const auto guard = NetnsGuard::enter(pod.get(), home->get());
  REQUIRE(guard);
  for (const char* address : {"203.0.113.7:0", "[2001:db8::7]:0"}) {
    CAPTURE(address);
    const Endpoint foreign = *Endpoint::parse(address);
    const auto plain = tcp_listener(foreign, {});
    REQUIRE_FALSE(plain);
    CHECK(plain.error().sys_errno() == EADDRNOTAVAIL);
    const auto transparent = tcp_listener(foreign, {.is_transparent = true});
    REQUIRE(transparent);
    CHECK(local_endpoint(transparent->get())->address == foreign.address);
    const UniqueFd client(tcp_socket(foreign.address.family()));
    CHECK(bind_transparent(client.get(), foreign.address) == 0);
  }
}

TEST_CASE("a mark can be set and read back") {
  test::make_netns();
  const UniqueFd socket(tcp_socket(AF_INET));
  REQUIRE(set_mark(socket.get(), 0xc0ff'ee01U) == 0);
  std::uint32_t mark = 0;
  socklen_t length = sizeof(mark);
  REQUIRE(::getsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, &length) == 0);
  CHECK(mark == 0xc0ff'ee01U);
}
