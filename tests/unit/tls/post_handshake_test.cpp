// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include <vector>

#include "tls/post_handshake.hpp"

using namespace culvert;
using namespace culvert::tls;

namespace {

PostHandshakeEvent one(std::vector<std::uint8_t> bytes, bool is_client = true) {
  PostHandshakeReader reader;
  ByteView record = bytes;
  return reader.next(record, is_client);
}

}  // namespace

TEST_CASE("KeyUpdate is understood with and without a request") {
  CHECK(one({24, 0, 0, 1, 0}) == PostHandshakeEvent::KeyUpdate);
  CHECK(one({24, 0, 0, 1, 1}) == PostHandshakeEvent::KeyUpdateRequested);
  CHECK(one({24, 0, 0, 1, 1}, false) == PostHandshakeEvent::KeyUpdateRequested);
}

TEST_CASE("a KeyUpdate of another length or value is malformed") {
  CHECK(one({24, 0, 0, 1, 2}) == PostHandshakeEvent::Malformed);
  CHECK(one({24, 0, 0, 2, 0, 0}) == PostHandshakeEvent::Malformed);
  CHECK(one({24, 0, 0, 0}) == PostHandshakeEvent::Malformed);
  CHECK(one({24, 1, 0, 1, 0}) == PostHandshakeEvent::Malformed);
}

TEST_CASE("nothing may follow a KeyUpdate in its record") {
  CHECK(one({24, 0, 0, 1, 0, 24, 0, 0, 1, 0}) == PostHandshakeEvent::Unexpected);
}

TEST_CASE("session tickets are skipped by a client and refused by a server") {
  CHECK(one({4, 0, 0, 3, 9, 9, 9}) == PostHandshakeEvent::SessionTicket);
  CHECK(one({4, 0, 0, 0}) == PostHandshakeEvent::SessionTicket);
  CHECK(one({4}, false) == PostHandshakeEvent::Unexpected);
}

TEST_CASE("other handshake messages have no place after the handshake") {
  for (const std::uint8_t type : std::initializer_list<std::uint8_t>{0, 1, 2, 8, 11, 13, 15, 20, 254}) {
    CHECK(one({type, 0, 0, 0}) == PostHandshakeEvent::Unexpected);
  }
}

TEST_CASE("messages may be cut between any two bytes") {
  const std::vector<std::uint8_t> ticket = {4, 0, 0, 5, 1, 2, 3, 4, 5};
  PostHandshakeReader reader;
  for (std::size_t i = 0; i + 1 < ticket.size(); ++i) {
    ByteView piece{&ticket[i], 1};
    CHECK(reader.next(piece, true) == PostHandshakeEvent::None);
    CHECK(reader.is_within_message());
  }
  ByteView last{&ticket.back(), 1};
  CHECK(reader.next(last, true) == PostHandshakeEvent::SessionTicket);
  CHECK_FALSE(reader.is_within_message());
  const std::vector<std::uint8_t> update = {24, 0, 0, 1, 1};
  for (std::size_t i = 0; i < 4; ++i) {
    ByteView piece{&update[i], 1};
    CHECK(reader.next(piece, true) == PostHandshakeEvent::None);
  }
  ByteView end{&update[4], 1};
  CHECK(reader.next(end, true) == PostHandshakeEvent::KeyUpdateRequested);
}

TEST_CASE("two tickets in one record are two events") {
  const std::vector<std::uint8_t> bytes = {4, 0, 0, 1, 7, 4, 0, 0, 2, 8, 8};
  PostHandshakeReader reader;
  ByteView record = bytes;
  CHECK(reader.next(record, true) == PostHandshakeEvent::SessionTicket);
  CHECK(record.size() == 6);
  CHECK(reader.next(record, true) == PostHandshakeEvent::SessionTicket);
  CHECK(record.empty());
  CHECK(reader.next(record, true) == PostHandshakeEvent::None);
}
