// SPDX-License-Identifier: Apache-2.0
// A worker's listeners when descriptors run out.
#include <array>

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.hpp"
#include "core/socket.hpp"
#include "parts.hpp"
#include "proxy/acceptor.hpp"

namespace {

using namespace culvert;
using namespace culvert::proxy;

constexpr std::uint32_t kOtherSlot = 2;

// No descriptor is to be had while it lives; nor can the sanitizers then look at anything, so nothing is checked meanwhile.
class NoDescriptors {
 public:
  NoDescriptors() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const UniqueFd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit none{static_cast<rlim_t>(next.get()), before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

// A pod with one listener, on loopback of this namespace, and no certificate: what is taken is closed.
struct Bench {
  Bench() {
    parts.state.acceptor = &acceptor;
    auto listener = tcp_listener(Endpoint::parse("127.0.0.1:0").value(), {});
    REQUIRE(listener);
    sockaddr_in name{};
    socklen_t length = sizeof(name);
    REQUIRE(::getsockname(listener->get(), reinterpret_cast<sockaddr*>(&name), &length) == 0);
    sockaddr_storage whole{};
    *reinterpret_cast<sockaddr_in*>(&whole) = name;
    address = Endpoint::from_sockaddr(whole);
    PodSetup setup;
    setup.slot = kOtherSlot;
    setup.listeners.v4.tunnel = std::move(*listener);
    REQUIRE(acceptor.open(parts.state.pods.add(std::move(setup))));
  }
  ~Bench() { acceptor.close(*parts.state.pods.find(kOtherSlot)); }

  [[nodiscard]] UniqueFd connect() const {
    UniqueFd fd(tcp_socket(AF_INET));
    const int error = start_connect(fd.get(), address);
    REQUIRE((error == 0 || error == EINPROGRESS));
    return fd;
  }
  // Turns of the loop in so much time; each waits for an event.
  unsigned turns_in(std::uint64_t ms) {
    unsigned turns = 0;
    for (const std::uint64_t end_ms = monotonic_ms() + ms; monotonic_ms() < end_ms; ++turns) {
      std::array<epoll_event, 8> space{};
      for (const epoll_event& event : parts.state.poller.wait(space, 20)) {
        if (token_kind(event.data.u64) == TokenKind::Listener) acceptor.on_event(token_handle(event.data.u64));
      }
    }
    return turns;
  }
  // Reset or closed by the worker.
  [[nodiscard]] static bool has_ended(const UniqueFd& fd) {
    char byte = 0;
    const ssize_t got = ::recv(fd.get(), &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN);
  }

  test::Parts parts;
  Acceptor acceptor{parts.state};
  Endpoint address;
};

}  // namespace

TEST_CASE("without descriptors the spare one refuses aloud") {
  Bench bench;
  const UniqueFd first = bench.connect();
  const UniqueFd second = bench.connect();
  {
    const NoDescriptors none;
    static_cast<void>(bench.turns_in(60));
  }
  CHECK(Bench::has_ended(first));
  CHECK(Bench::has_ended(second));
  CHECK(bench.parts.state.spare_fd);
}

TEST_CASE("without a spare one either connections wait, nothing spins, and they are looked at again") {
  Bench bench;
  const UniqueFd waiting = bench.connect();
  {
    // Another thread was quicker and has it.
    const UniqueFd taken = std::move(bench.parts.state.spare_fd);
    const unsigned turns = [&] {
      const NoDescriptors none;
      return bench.turns_in(350);
    }();
    CHECK(turns < 60);
    CHECK_FALSE(Bench::has_ended(waiting));
    CHECK_FALSE(bench.parts.state.spare_fd);
  }
  static_cast<void>(bench.turns_in(200));
  CHECK(bench.parts.state.spare_fd);
  CHECK(Bench::has_ended(waiting));
  CHECK(bench.parts.state.counters.accept_errors.value() > 1);
}

TEST_CASE("a pod may leave while its listener is not looked at") {
  Bench bench;
  const UniqueFd waiting = bench.connect();
  {
    const UniqueFd taken = std::move(bench.parts.state.spare_fd);
    const NoDescriptors none;
    static_cast<void>(bench.turns_in(30));
    bench.acceptor.close(*bench.parts.state.pods.find(kOtherSlot));
  }
  static_cast<void>(bench.turns_in(150));
  CHECK(Bench::has_ended(waiting));
}
