// SPDX-License-Identifier: Apache-2.0
#include "base/secret.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <catch2/catch.hpp>

using culvert::as_bytes;
using culvert::as_text;
using culvert::Secret;

namespace {

using Key = Secret<32>;

// The memory of a secret as it is, also after its end.
struct Place {
  alignas(Key) std::array<unsigned char, sizeof(Key)> memory{};
  [[nodiscard]] bool holds(std::string_view text) const {
    return std::search(memory.begin(), memory.end(), text.begin(), text.end()) != memory.end();
  }
};

}  // namespace

TEST_CASE("a secret cannot be copied or compared") {
  static_assert(!std::is_copy_constructible_v<Key>);
  static_assert(!std::is_copy_assignable_v<Key>);
  static_assert(std::is_nothrow_move_constructible_v<Key>);
  SUCCEED();
}

TEST_CASE("a secret holds what it was given") {
  Key key;
  CHECK(key.empty());
  key.assign(as_bytes("0123456789"));
  CHECK(as_text(key.view()) == "0123456789");
  key.assign(as_bytes("ab"));
  CHECK(as_text(key.view()) == "ab");
  CHECK(key.size() == 2);
  const std::string longest(32, 'k');
  key.assign(as_bytes(longest));
  CHECK(as_text(key.view()) == longest);
}

TEST_CASE("nothing is left behind by the end, a move, a shorter value or a wipe") {
  Place place;
  Place target;
  Key* key = new (place.memory.data()) Key(as_bytes("hunter2hunter2"));
  REQUIRE(place.holds("hunter2"));

  Key* moved = new (target.memory.data()) Key(std::move(*key));
  CHECK_FALSE(place.holds("hunter"));
  CHECK(key->empty());
  CHECK(as_text(moved->view()) == "hunter2hunter2");

  moved->assign(as_bytes("x"));
  CHECK_FALSE(target.holds("unter"));
  moved->assign(as_bytes("another-secret"));
  moved->wipe();
  CHECK_FALSE(target.holds("another"));

  key->assign(as_bytes("third-secret"));
  *moved = std::move(*key);
  CHECK_FALSE(place.holds("third"));
  CHECK(as_text(moved->view()) == "third-secret");
  Key& same = *moved;
  *moved = std::move(same);
  CHECK(as_text(moved->view()) == "third-secret");

  moved->~Key();
  CHECK_FALSE(target.holds("third"));
  key->~Key();
}
