// SPDX-License-Identifier: Apache-2.0
#include "core/slab.hpp"

#include <memory>
#include <set>
#include <string>

#include <catch2/catch.hpp>

using culvert::Slab;
using culvert::SlabHandle;

TEST_CASE("a handle finds its object until it is freed, and never its successor") {
  Slab<std::string> slab;
  const SlabHandle first = slab.emplace("first");
  REQUIRE(slab.find(first) != nullptr);
  CHECK(*slab.find(first) == "first");
  slab.free(first);
  CHECK(slab.find(first) == nullptr);
  const SlabHandle second = slab.emplace("second");
  CHECK(second.index == first.index);  // the place is used again
  CHECK(second.generation != first.generation);
  CHECK(slab.find(first) == nullptr);
  CHECK(*slab.find(second) == "second");
}

TEST_CASE("handles that were never given out find nothing") {
  Slab<int> slab;
  CHECK(slab.find({}) == nullptr);
  const SlabHandle handle = slab.emplace(1);
  CHECK(slab.find({handle.index, 0}) == nullptr);
  CHECK(slab.find({handle.index + 1, handle.generation}) == nullptr);
  CHECK(slab.find({0xffff'ffffU, handle.generation}) == nullptr);
}

TEST_CASE("objects stay where they are while the slab grows") {
  Slab<int> slab;
  const SlabHandle first = slab.emplace(1);
  const int* where = slab.find(first);
  for (int i = 0; i < 1000; ++i) slab.emplace(i);
  CHECK(slab.find(first) == where);
  CHECK(slab.size() == 1001);
}

TEST_CASE("free destroys at once, and the slab destroys the rest") {
  const auto witness = std::make_shared<int>(0);
  {
    Slab<std::shared_ptr<int>> slab;
    const SlabHandle one = slab.emplace(witness);
    slab.emplace(witness);
    CHECK(witness.use_count() == 3);
    slab.free(one);
    CHECK(witness.use_count() == 2);
  }
  CHECK(witness.use_count() == 1);
}

TEST_CASE("a visitor may free what it is shown") {
  Slab<int> slab;
  for (int i = 0; i < 200; ++i) slab.emplace(i);
  std::set<int> seen;
  slab.for_each([&](SlabHandle handle, int& value) {
    seen.insert(value);
    if (value % 2 == 0) slab.free(handle);
  });
  CHECK(seen.size() == 200);
  CHECK(slab.size() == 100);
}

TEST_CASE("a generation fits 28 bits, is never 0 and changes with every use") {
  Slab<int> slab;
  SlabHandle last = slab.emplace(0);
  for (int i = 0; i < 100'000; ++i) {
    slab.free(last);
    const SlabHandle next = slab.emplace(i);
    REQUIRE(next.index == last.index);
    REQUIRE(next.generation != last.generation);
    REQUIRE(next.generation != 0);
    REQUIRE((next.generation & ~Slab<int>::kGenerationMask) == 0);
    last = next;
  }
}

TEST_CASE("places are looked at one by one, also while the slab grows") {
  Slab<int> slab;
  const SlabHandle first = slab.emplace(1);
  slab.emplace(2);
  slab.free(first);
  int seen = 0;
  for (std::size_t place = 0; place < slab.places(); ++place) {
    if (const int* value = slab.at_place(place)) seen += *value;
  }
  CHECK(seen == 2);
  const std::size_t before = slab.places();
  for (int i = 0; i < 200; ++i) slab.emplace(i);
  CHECK(slab.places() > before);
  CHECK(slab.at_place(slab.places()) == nullptr);
}
