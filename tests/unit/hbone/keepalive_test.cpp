// SPDX-License-Identifier: Apache-2.0
// PING after silence; every byte is a sign of life.
#include <catch2/catch.hpp>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

TEST_CASE("ten seconds of silence are asked about, and twenty more end the connection") {
  const bool is_server = GENERATE(true, false);
  Scripted one(is_server);
  Session& session = *one.session;
  REQUIRE(session.next_tick_ms() == kStartMs + 10'000);
  CHECK(session.tick(kStartMs + 9'999));
  CHECK(one.sent().empty());
  CHECK(session.tick(kStartMs + 10'000));
  CHECK(one.sent_text() == "PING/0@0[8]");
  CHECK(session.next_tick_ms() == kStartMs + 12'000);  // when it becomes suspect
  CHECK(session.tick(kStartMs + 12'000));
  CHECK(session.next_tick_ms() == kStartMs + 30'000);
  CHECK(session.tick(kStartMs + 20'000));
  CHECK(session.tick(kStartMs + 29'999));
  CHECK(one.sent().empty());
  CHECK_FALSE(session.tick(kStartMs + 30'000));
  CHECK(session.failure() == SessionFailure::PingTimeout);
  CHECK_FALSE(session.tick(kStartMs + 30'001));
  CHECK(session.next_tick_ms() == 0);
}

TEST_CASE("a time-out shorter than what makes a peer suspect is kept to") {
  Limits limits;
  limits.ping_timeout_ms = 1'000;
  Scripted one(true, limits);
  CHECK(one.session->tick(kStartMs + 10'000));
  CHECK(one.session->next_tick_ms() == kStartMs + 11'000);
  CHECK_FALSE(one.session->tick(kStartMs + 11'000));
  CHECK(one.session->failure() == SessionFailure::PingTimeout);
}

TEST_CASE("a peer that lets a PING wait is suspect until a byte comes") {
  Scripted one(false);
  CHECK_FALSE(one.session->is_suspect(kStartMs + 60'000));  // nothing was asked
  CHECK(one.session->tick(kStartMs + 10'000));
  CHECK_FALSE(one.session->is_suspect(kStartMs + 11'999));
  CHECK(one.session->is_suspect(kStartMs + 12'000));
  one.now_ms = kStartMs + 12'500;
  REQUIRE(one.feed(std::string_view("\0", 1)));
  CHECK_FALSE(one.session->is_suspect(kStartMs + 60'000));
}

TEST_CASE("an answer to PING, and any other byte, starts the ten seconds again") {
  Scripted one(true);
  CHECK(one.session->tick(kStartMs + 10'000));
  const auto ping = one.sent();
  one.now_ms = kStartMs + 10'050;
  REQUIRE(one.feed(frame(kPing, kAck, 0, ping.at(0).payload)));
  CHECK(one.session->next_tick_ms() == kStartMs + 20'050);
  CHECK(one.session->tick(kStartMs + 20'050));
  CHECK(one.sent_text() == "PING/0@0[8]");
  // Half a frame header is life too.
  one.now_ms = kStartMs + 40'000;
  REQUIRE(one.feed(std::string_view("\0\0", 2)));
  CHECK(one.session->tick(kStartMs + 40'050));
  CHECK(one.session->next_tick_ms() == kStartMs + 50'000);
  CHECK(one.session->failure() == SessionFailure::None);
}

TEST_CASE("a PING of the peer is answered with its own bytes") {
  Scripted one(false);
  REQUIRE(one.feed(frame(kPing, 0, 0, "8 bytes!")));
  const auto sent = one.sent();
  REQUIRE(describe(sent) == "PING/1@0[8]");
  CHECK(sent[0].payload == "8 bytes!");
}

TEST_CASE("a clock that goes back does no harm") {
  Scripted one(true);
  CHECK(one.session->tick(kStartMs - 5'000));
  one.now_ms = kStartMs - 1;
  REQUIRE(one.feed(frame(kPing, kAck, 0, "12345678")));
  CHECK(one.session->next_tick_ms() == kStartMs + 10'000);
}

TEST_CASE(
    "a peer that has not said its preface and SETTINGS after ten seconds is ended, however often it sends a byte") {
  const bool is_server = GENERATE(true, false);
  const auto session = is_server ? Session::server(Limits{}, kStartMs) : Session::client(Limits{}, kStartMs);
  static_cast<void>(take_all(*session));
  Recorder told;
  const std::string begin = (is_server ? std::string(kPreface) : std::string()) + frame(kSettings, 0, 0, "");
  const auto say = [&](std::string_view bytes, std::uint64_t now_ms) {
    return session->receive({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, now_ms, told);
  };
  REQUIRE(say(std::string_view(begin).substr(0, begin.size() - 1), kStartMs + 9'000));
  CHECK(session->next_tick_ms() == kStartMs + 10'000);
  CHECK(session->tick(kStartMs + 9'999));

  SECTION("it did not") {
    CHECK_FALSE(session->tick(kStartMs + 10'000));
    CHECK(session->failure() == SessionFailure::SettingsTimeout);
    const auto sent = frames_in(take_all(*session));
    REQUIRE_FALSE(sent.empty());
    CHECK(describe({sent.back()}) == "GOAWAY/0@0[8]");
    CHECK(sent.back().payload.substr(4) == std::string("\0\0\0\4", 4));
  }
  SECTION("it did") {
    REQUIRE(say(std::string_view(begin).substr(begin.size() - 1), kStartMs + 9'999));
    CHECK(session->tick(kStartMs + 10'000));
    CHECK(session->failure() == SessionFailure::None);
    CHECK(session->next_tick_ms() == kStartMs + 19'999);
  }
}

TEST_CASE("a peer from which no byte comes after the handshake is gone, which is no broken rule") {
  const bool is_server = GENERATE(true, false);
  const auto session = is_server ? Session::server(Limits{}, kStartMs) : Session::client(Limits{}, kStartMs);
  CHECK(session->tick(kStartMs + 9'999));
  CHECK_FALSE(session->tick(kStartMs + 10'000));
  CHECK(session->failure() == SessionFailure::PingTimeout);
}
