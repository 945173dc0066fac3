// SPDX-License-Identifier: Apache-2.0
#include "proxy/tunnel_pool.hpp"

#include <catch2/catch.hpp>

namespace culvert::proxy {
namespace {

PoolKey key_of(std::uint32_t pod, const char* next_hop) { return {pod, 1, Endpoint::parse(next_hop).value()}; }

}  // namespace

TEST_CASE("the most recently used idle tunnel is taken first") {
  TunnelPool pool(4);
  const std::uint32_t key = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(key);
  REQUIRE(pool.give_idle(key, {1, 1}));
  REQUIRE(pool.give_idle(key, {2, 1}));
  CHECK(pool.idle_total() == 2);
  CHECK(pool.take_idle(key) == SlabHandle{2, 1});
  CHECK(pool.take_idle(key) == SlabHandle{1, 1});
  CHECK_FALSE(pool.take_idle(key).has_value());
  CHECK(pool.idle_total() == 0);
}

TEST_CASE("a tunnel beyond the limit of idle ones is not kept") {
  TunnelPool pool(1);
  const std::uint32_t key = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(key);
  CHECK(pool.give_idle(key, {1, 1}));
  CHECK_FALSE(pool.give_idle(key, {2, 1}));
}

TEST_CASE("pods and destinations do not share tunnels") {
  TunnelPool pool(4);
  const std::uint32_t one = pool.open(key_of(1, "10.0.0.1:15008"));
  const std::uint32_t other_pod = pool.open(key_of(2, "10.0.0.1:15008"));
  const std::uint32_t other_peer = pool.open(key_of(1, "10.0.0.2:15008"));
  CHECK(one != other_pod);
  CHECK(one != other_peer);
  CHECK(pool.open(key_of(1, "10.0.0.1:15008")) == one);
}

TEST_CASE("an identity change of the destination does not reuse tunnels to the old identity") {
  TunnelPool pool(4);
  PoolKey key = key_of(1, "10.0.0.1:15008");
  const std::uint32_t before = pool.open(key);
  key.identity = 2;
  CHECK(pool.open(key) != before);
}

TEST_CASE("waiting flows come out in order and one tunnel is wanted for each") {
  TunnelPool pool(4);
  const std::uint32_t key = pool.open(key_of(1, "10.0.0.1:15008"));
  for (std::uint32_t i = 0; i < 3; ++i) {
    pool.hold(key);
    pool.enqueue(key, {i, 7});
  }
  CHECK(pool.wants_more(key));
  pool.making(key, 3);
  CHECK_FALSE(pool.wants_more(key));
  CHECK(pool.making_total() == 3);
  pool.leave_queue(key, {1, 7});
  CHECK(pool.dequeue(key) == SlabHandle{0, 7});
  CHECK(pool.dequeue(key) == SlabHandle{2, 7});
  CHECK_FALSE(pool.dequeue(key).has_value());
}

TEST_CASE("a destination that is new gets a few handshakes at once until it is warm") {
  TunnelPool pool(4);
  const std::uint32_t key = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(key);
  for (std::uint32_t i = 0; i < 20; ++i) pool.enqueue(key, {i, 7});
  for (std::uint32_t i = 0; i < TunnelPool::kColdHandshakes; ++i) {
    CHECK(pool.may_make(key, 64));
    pool.making(key, +1);
  }
  CHECK_FALSE(pool.may_make(key, 64));
  CHECK_FALSE(pool.next_wanting(64).has_value());
  pool.warm_up(key);
  CHECK(pool.may_make(key, 64));
  CHECK(pool.next_wanting(64) == key);
  CHECK_FALSE(pool.may_make(key, TunnelPool::kColdHandshakes));
}

TEST_CASE("a key's number is used again once nobody holds it") {
  TunnelPool pool(4);
  const std::uint32_t first = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(first);
  pool.drop(first);
  const std::uint32_t second = pool.open(key_of(1, "10.0.0.9:15008"));
  CHECK(second == first);
  CHECK(pool.key(second).next_hop == Endpoint::parse("10.0.0.9:15008").value());
}

TEST_CASE("forgetting an idle tunnel leaves the others of its destination") {
  TunnelPool pool(4);
  const std::uint32_t key = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(key);
  REQUIRE(pool.give_idle(key, {1, 1}));
  REQUIRE(pool.give_idle(key, {2, 1}));
  pool.forget_idle(key, {2, 1});
  CHECK(pool.idle_total() == 1);
  CHECK(pool.take_idle(key) == SlabHandle{1, 1});
}

}  // namespace culvert::proxy
