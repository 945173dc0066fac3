// SPDX-License-Identifier: Apache-2.0
#include "proxy/tunnel_pool.hpp"

#include <catch2/catch.hpp>

namespace culvert::proxy {
namespace {

PoolKey key_of(std::uint32_t pod, const char* next_hop) { return {pod, 1, Endpoint::parse(next_hop).value(), 0}; }

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
  key.accepted = 2;
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

namespace culvert::proxy {

TEST_CASE("a peer that takes many streams gets a few tunnels at first and as many as its limit asks for") {
  TunnelPool pool(8, 100, 4);
  const std::uint32_t number = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(number);
  pool.warm_up(number);
  pool.set_shared(number, true);
  std::uint32_t flows = 0;
  const auto enqueue = [&](std::uint32_t count) {
    while (count-- > 0) pool.enqueue(number, {flows++, 1});
  };
  const auto needed = [&] {
    std::uint32_t made = 0;
    for (; pool.wants_more(number); ++made) pool.making(number, +1);
    for (std::uint32_t i = 0; i < made; ++i) pool.making(number, -1);
    return made;
  };
  CHECK(needed() == 0);
  enqueue(1);
  CHECK(needed() == 1);
  enqueue(7);
  CHECK(needed() == 4);
  enqueue(992);
  CHECK(needed() == 10);
  for (std::uint32_t i = 0; i < 4; ++i) pool.add_shared(number, {i, 7});
  CHECK(needed() == 10);
  while (pool.dequeue(number)) continue;
  enqueue(3);
  CHECK(needed() == 1);
  while (pool.dequeue(number)) continue;
  for (std::uint32_t i = 0; i < 4; ++i) pool.forget_shared(number, {i, 7});
  pool.drop(number);
}

TEST_CASE("waiting flows are shared out among the tunnels that are being made") {
  TunnelPool pool(8, 100, 4);
  const std::uint32_t number = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(number);
  for (std::uint32_t i = 0; i < 8; ++i) pool.enqueue(number, {i, 1});
  pool.making(number, +3);
  CHECK(pool.share_of_waiting(number) == 2);
  pool.making(number, -3);
  CHECK(pool.share_of_waiting(number) == 8);
  while (pool.dequeue(number)) continue;
  pool.drop(number);
}

TEST_CASE("a peer is not asked for another tunnel once it has its share") {
  TunnelPool pool(8, 100, 2);
  const std::uint32_t number = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(number);
  CHECK(pool.may_spread(number));
  pool.add_shared(number, {1, 1});
  CHECK(pool.may_spread(number));
  pool.making(number, +1);
  CHECK_FALSE(pool.may_spread(number));
  pool.making(number, -1);
  pool.forget_shared(number, {1, 1});
  pool.drop(number);
}

}  // namespace culvert::proxy

namespace culvert::proxy {

TEST_CASE("beyond a few direct tunnels in use, what waits is given shared ones, where the peer takes them") {
  TunnelPool pool(8, 100, 4, 2);
  const std::uint32_t number = pool.open(key_of(1, "10.0.0.1:15008"));
  pool.hold(number);
  pool.warm_up(number);
  CHECK_FALSE(pool.prefers_shared(number));
  for (std::uint32_t i = 0; i < 150; ++i) pool.enqueue(number, {i, 1});
  CHECK(pool.wants_more(number));
  pool.making(number, +2);
  CHECK_FALSE(pool.wants_more(number));
  CHECK(pool.wants_overflow(number));
  pool.making(number, +2);
  pool.making_overflow(number, +2);
  CHECK_FALSE(pool.wants_overflow(number));
  // Both direct ones are in use: nobody waits for a third.
  pool.making(number, -2);
  pool.direct_live(number, +2);
  CHECK(pool.prefers_shared(number));
  CHECK_FALSE(pool.wants_more(number));
  // One becomes idle.
  REQUIRE(pool.give_idle(number, {7, 7}));
  CHECK_FALSE(pool.prefers_shared(number));
  // The peer does not share: everybody gets a tunnel of their own.
  pool.making(number, -2);
  pool.making_overflow(number, -2);
  pool.refuse_overflow(number);
  CHECK_FALSE(pool.wants_overflow(number));
  CHECK(pool.wants_more(number));
  while (pool.dequeue(number)) continue;
  pool.forget_idle(number, {7, 7});
  pool.direct_live(number, -2);
  pool.drop(number);
}

}  // namespace culvert::proxy
