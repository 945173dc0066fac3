// SPDX-License-Identifier: Apache-2.0
#include "proxy/handshake_limiter.hpp"

#include <catch2/catch.hpp>

namespace culvert::proxy {

TEST_CASE("a peer gets its burst, then its rate, and other peers notice nothing") {
  HandshakeLimiter limiter(10);
  const IpAddress noisy = IpAddress::parse("10.0.0.1").value();
  const IpAddress quiet = IpAddress::parse("10.0.0.2").value();
  for (int i = 0; i < 10; ++i) CHECK(limiter.admit(noisy, 1000));
  CHECK_FALSE(limiter.admit(noisy, 1000));
  CHECK(limiter.admit(quiet, 1000));
  CHECK(limiter.admit(noisy, 1100));
  CHECK_FALSE(limiter.admit(noisy, 1100));
  // A long pause earns one burst, not more.
  for (int i = 0; i < 10; ++i) CHECK(limiter.admit(noisy, 1'000'000));
  CHECK_FALSE(limiter.admit(noisy, 1'000'000));
}

TEST_CASE("a flood of source addresses does not grow the table without bound") {
  HandshakeLimiter limiter(10);
  for (std::uint32_t i = 0; i < 3 * HandshakeLimiter::kPeersMax; ++i) {
    in_addr address{htonl(0x0a000000U + i)};
    static_cast<void>(limiter.admit(IpAddress::v4(address), 1000));
  }
  CHECK(limiter.peers() <= HandshakeLimiter::kPeersMax);
}

TEST_CASE("a limit of zero is no limit") {
  HandshakeLimiter limiter(0);
  const IpAddress peer = IpAddress::parse("10.0.0.1").value();
  for (int i = 0; i < 100; ++i) CHECK(limiter.admit(peer, 1000));
}

TEST_CASE("a changed rate holds for peers that are known already") {
  HandshakeLimiter limiter(10);
  const IpAddress peer = IpAddress::parse("10.0.0.1").value();
  CHECK(limiter.admit(peer, 1000));
  limiter.set_rate(2);
  CHECK(limiter.admit(peer, 1001));
  CHECK(limiter.admit(peer, 1001));
  CHECK_FALSE(limiter.admit(peer, 1001));
  limiter.set_rate(0);
  CHECK(limiter.admit(peer, 1001));
}

}  // namespace culvert::proxy
