// SPDX-License-Identifier: Apache-2.0
#include "core/buffer_pool.hpp"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

using culvert::as_bytes;
using culvert::as_text;
using culvert::BufferPool;
using culvert::ByteView;
using culvert::Lent;

namespace {

std::vector<std::uint8_t> pattern(std::size_t size, std::size_t seed = 1) {
  std::vector<std::uint8_t> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>((i * 31 + seed) >> 2U);
  return bytes;
}

bool is_same(ByteView left, ByteView right) { return as_text(left) == as_text(right); }

}  // namespace

TEST_CASE("an empty buffer is one pointer and borrows nothing") {
  static_assert(sizeof(Lent) == sizeof(void*));
  BufferPool pool(1 << 20);
  Lent lent;
  CHECK(lent.empty());
  CHECK(lent.filled().empty());
  pool.append(lent, {});
  CHECK(pool.lent_bytes() == 0);
}

TEST_CASE("bytes come out as they went in, through growth and partial reads") {
  BufferPool pool(std::size_t{8} << 20U);
  Lent lent;
  std::string expected;
  std::minstd_rand random(4);
  for (int step = 0; step < 3000; ++step) {
    const auto data = pattern(random() % (random() % 40 == 0 ? 200'000 : 3000), random());
    pool.append(lent, data);
    expected += as_text(data);
    const std::size_t count = random() % (expected.size() + 1);
    REQUIRE(as_text(lent.filled()) == expected);
    lent.consume(count);
    expected.erase(0, count);
    REQUIRE(lent.size() == expected.size());
    REQUIRE((pool.lent_bytes() == 0) == expected.empty());
  }
}

TEST_CASE("memory is lent as powers of two and comes back with the last byte") {
  BufferPool pool(1 << 20);
  Lent lent;
  pool.append(lent, as_bytes("x"));
  CHECK(pool.lent_bytes() == BufferPool::kBlockBytesMin);
  pool.append(lent, pattern(4095));
  CHECK(pool.lent_bytes() == 8192);
  lent.consume(4095);
  CHECK(pool.lent_bytes() == 8192);
  lent.consume(1);
  CHECK(lent.empty());
  CHECK(pool.lent_bytes() == 0);
}

TEST_CASE("room at the front is used before a larger block is taken") {
  BufferPool pool(1 << 20);
  Lent lent;
  pool.append(lent, pattern(3000, 1));
  lent.consume(2900);
  pool.append(lent, pattern(3000, 2));
  CHECK(pool.lent_bytes() == 4096);
  CHECK(is_same(lent.filled().first(100), ByteView(pattern(3000, 1)).last(100)));
  CHECK(is_same(lent.filled().last(3000), pattern(3000, 2)));
}

TEST_CASE("the pool is exhausted at its limit, still takes what was read, and recovers") {
  BufferPool pool(16 * 1024);
  Lent one;
  Lent two;
  pool.append(one, pattern(8000));
  CHECK_FALSE(pool.is_exhausted());
  pool.append(two, pattern(8000));
  CHECK(pool.is_exhausted());
  pool.append(two, pattern(8000));
  CHECK(two.size() == 16'000);
  two.reset();
  CHECK_FALSE(pool.is_exhausted());
}

TEST_CASE("more than the largest block is still kept whole") {
  BufferPool pool(1 << 20);
  Lent lent;
  const auto data = pattern(3 * BufferPool::kBlockBytesMax);
  pool.append(lent, data);
  CHECK(is_same(lent.filled(), data));
  CHECK(pool.lent_bytes() == 4 * BufferPool::kBlockBytesMax);
  lent.reset();
  CHECK(pool.lent_bytes() == 0);
  CHECK(pool.cached_bytes() == 0);  // blocks of no class are not kept
}

TEST_CASE("the cache is small, serves the next borrower, and can be trimmed") {
  BufferPool pool(std::size_t{64} << 20U);
  {
    std::vector<Lent> many(100);
    for (Lent& lent : many) pool.append(lent, pattern(200'000));
  }
  CHECK(pool.lent_bytes() == 0);
  CHECK(pool.cached_bytes() > 0);
  CHECK(pool.cached_bytes() <= BufferPool::kCachedBytesMax);
  const std::size_t before = pool.cached_bytes();
  Lent lent;
  pool.append(lent, pattern(200'000));
  CHECK(pool.cached_bytes() == before - 256 * 1024);
  pool.trim();
  CHECK(pool.cached_bytes() == 0);
  CHECK(lent.size() == 200'000);
}

TEST_CASE("moving a buffer moves the loan") {
  BufferPool pool(1 << 20);
  Lent one;
  pool.append(one, as_bytes("one"));
  Lent two(std::move(one));
  CHECK(one.empty());  // NOLINT(bugprone-use-after-move)
  Lent three;
  pool.append(three, as_bytes("three"));
  three = std::move(two);
  CHECK(as_text(three.filled()) == "one");
  CHECK(pool.lent_bytes() == 4096);
  Lent& same = three;
  three = std::move(same);
  CHECK(as_text(three.filled()) == "one");
}
