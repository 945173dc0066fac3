// SPDX-License-Identifier: Apache-2.0
// Each limit on waste: what is below it lives, what is above ends with ENHANCE_YOUR_CALM, and time gives tokens back.
#include <catch2/catch.hpp>

#include <functional>

#include "hbone/abuse_limits.hpp"
#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

namespace {

void check_calmed(Scripted& one) {
  CHECK(one.session->failure() == SessionFailure::Abuse);
  CHECK(one.session->live_streams() == 0);
  const auto sent = one.sent();
  REQUIRE_FALSE(sent.empty());
  CHECK(sent.back().type == kGoAway);
  CHECK(sent.back().number(4) == kEnhanceYourCalm);
}

}  // namespace

TEST_CASE("frames that do nothing are counted, kind by kind") {
  struct Case {
    std::string_view what;
    BucketLimit limit;
    std::string setup;
    std::function<std::string(std::uint32_t)> frame;
  };
  const auto each = [](const std::string& bytes) { return [bytes](std::uint32_t) { return bytes; }; };
  const Case cases[] = {
      {"SETTINGS", {kSettingsFrames.burst - 1, kSettingsFrames.per_second}, "", each(frame(kSettings, 0, 0))},
      {"PING", kPingFrames, "", each(frame(kPing, 0, 0, "12345678"))},
      {"PRIORITY", kIgnoredFrames, "", each(frame(kPriority, 0, 1, u32(0) + "\x10"))},
      {"unknown types", kIgnoredFrames, "", each(frame(0xfa, 0, 0, "x"))},
      {"PRIORITY_UPDATE", kIgnoredFrames, "", each(frame(16, 0, 0, u32(1) + "u=3"))},
      {"empty DATA", kEmptyDataFrames, connect_frame(1), each(frame(kData, 0, 1))},
      {"DATA of padding only", kEmptyDataFrames, connect_frame(1),
       each(frame(kData, kPadded, 1, std::string(1, '\0')))},
      {"window updates", kWindowUpdates, connect_frame(1), each(frame(kWindowUpdate, 0, 1, u32(1)))},
      {"requests that are none", kWastedStreams, "",
       [](std::uint32_t i) { return frame(kHeaders, kEndHeaders, static_cast<StreamId>(2 * i + 1)); }},
      {"streams opened and reset", kWastedStreams, "",
       [](std::uint32_t i) {
         const auto stream = static_cast<StreamId>(2 * i + 1);
         return connect_frame(stream) + frame(kReset, 0, stream, u32(kCancel));
       }},
      {"streams whose rule is broken", kWastedStreams, "",
       [](std::uint32_t i) {
         const auto stream = static_cast<StreamId>(2 * i + 1);
         return connect_frame(stream) + frame(kWindowUpdate, 0, stream, u32(0x7fffffff));
       }},
      {"resets of streams that are gone", kStrayFrames, connect_frame(1) + frame(kReset, 0, 1, u32(kCancel)),
       each(frame(kReset, 0, 1, u32(kCancel)))},
      {"HEADERS for streams that are gone", kStrayFrames, connect_frame(3) + frame(kReset, 0, 3, u32(kCancel)),
       each(frame(kHeaders, kEndHeaders, 1))},
  };
  for (const Case& one : cases) {
    CAPTURE(one.what);
    Scripted server(true);
    REQUIRE(server.feed(one.setup));
    std::uint32_t i = 0;
    const auto feed = [&] {
      const bool is_alive = server.feed(one.frame(i + 1));
      ++i;
      if (is_alive) static_cast<void>(take_all(*server.session));
      return is_alive;
    };
    while (i < one.limit.burst) REQUIRE(feed());
    // Half a second gives half of what a second does, at least that.
    server.now_ms += one.limit.per_second > 1 ? 500 : 1'000;
    const std::uint32_t more = i + std::max(1U, one.limit.per_second / 2);
    while (i < more) REQUIRE(feed());
    bool is_alive = true;
    for (int left = 3; left > 0 && is_alive; --left) is_alive = feed();
    CHECK_FALSE(is_alive);
    check_calmed(server);
  }
}

TEST_CASE("streams that have lived may be reset as often as there are any") {
  Scripted server(true);
  server.told.when_connect = [&](StreamId stream) { server.session->respond(stream, 200, {}); };
  for (StreamId stream = 1; stream < 20'000; stream += 2) {
    REQUIRE(server.feed(connect_frame(stream)));
    REQUIRE(server.feed(frame(kReset, 0, stream, u32(kCancel))));
    static_cast<void>(take_all(*server.session));
  }
  CHECK(server.session->failure() == SessionFailure::None);
}

TEST_CASE("a peer that updates its windows for each frame that it gets is not too busy") {
  Scripted client(false);
  const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  for (int i = 0; i < 50'000; ++i) {
    static_cast<void>(data_frames(*client.session, stream, "0123456789"));
    REQUIRE(client.feed(frame(kWindowUpdate, 0, stream, u32(10)) + frame(kWindowUpdate, 0, 0, u32(10))));
  }
}

TEST_CASE("a peer that reads late and then updates its windows for all that it got is not too busy") {
  Scripted client(false);
  const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  constexpr std::uint32_t kFrames = 30'000;  // a byte each, within the window of 65,535
  for (std::uint32_t i = 0; i < kFrames; ++i) static_cast<void>(data_frames(*client.session, stream, "x"));
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    REQUIRE(client.feed(frame(kWindowUpdate, 0, stream, u32(1)) + frame(kWindowUpdate, 0, 0, u32(1))));
  }
  SECTION("and those that no frame of ours asked for are counted as ever") {
    std::uint32_t count = 0;
    while (client.feed(frame(kWindowUpdate, 0, 0, u32(1)))) REQUIRE(++count <= kWindowUpdates.burst);
    CHECK(count == kWindowUpdates.burst);
    check_calmed(client);
  }
}

TEST_CASE("windows that open by a byte at a time are ended") {
  Scripted client(false, {}, setting(4, 0));
  const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  std::uint32_t count = 0;
  while (client.feed(frame(kWindowUpdate, 0, stream, u32(1)))) {
    REQUIRE(++count <= kTinyWindows.burst);
    REQUIRE(client.told.take() == "writable 1");
    static_cast<void>(data_frames(*client.session, stream, "x"));
  }
  CHECK(count == kTinyWindows.burst);
  check_calmed(client);
}

TEST_CASE("interim answers without end are ended") {
  Scripted client(false);
  static_cast<void>(client.session->connect({.authority = "10.0.0.1:80"}));
  static_cast<void>(client.sent());
  const std::string interim = frame(kHeaders, kEndHeaders, 1, header_block({{":status", "100"}}));
  std::uint32_t count = 0;
  while (client.feed(interim)) REQUIRE(++count <= kInterimAnswers.burst);
  CHECK(count == kInterimAnswers.burst);
  check_calmed(client);
}

TEST_CASE("padding that has no data with it is ended, and padding with data is not") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1)));
  const auto padded = [](std::size_t data) {
    return frame(kData, kPadded, 1, std::string(1, '\xff') + std::string(data, 'x') + std::string(255, '\0'));
  };
  const auto feed = [&](std::size_t data) {
    const bool is_alive = server.feed(padded(data));
    server.session->consume_connection(is_alive ? data : 0);
    server.session->consume_stream(1, is_alive ? data : 0);
    return is_alive;
  };
  for (int i = 0; i < 20'000; ++i) REQUIRE(feed(64));
  int count = 0;
  while (feed(1)) REQUIRE(++count < 5'000);
  CHECK(count > 4'000);  // 1 MiB of it
}

TEST_CASE("a header block without end is ended") {
  SECTION("in many frames") {
    Scripted server(true);
    REQUIRE(server.feed(frame(kHeaders, 0, 1)));
    std::size_t count = 0;
    while (server.feed(frame(kContinuation, 0, 1))) REQUIRE(++count <= kContinuationsMax);
    CHECK(count == kContinuationsMax);
    check_calmed(server);
  }
  SECTION("in large frames") {
    Scripted server(true);
    REQUIRE(server.feed(frame(kHeaders, 0, 1, header_block({{"x", std::string(60'000, 'x')}}))));
    CHECK_FALSE(server.feed(frame(kContinuation, 0, 1, header_block({{"x", std::string(6'000, 'x')}}))));
    check_calmed(server);
  }
}

TEST_CASE("a small header block that expands to a large list is ended") {
  Scripted server(true);
  // One field of 3,000 bytes goes into the table; then each byte names it again.
  std::string block = header_block({{":method", "CONNECT"}, {":authority", "a:1"}});
  std::string entry = header_block({{"x", std::string(3'000, 'x')}});
  entry[0] = '\x40';  // with indexing
  block += entry + std::string(10, '\xbe');
  REQUIRE(server.feed(frame(kHeaders, kEndHeaders, 1, block)));
  CHECK(server.told.take() == "connect 1 a:1");
  // A list too long is a request refused,
  block = header_block({{":method", "CONNECT"}, {":authority", "a:1"}}) + std::string(60, '\xbe');
  REQUIRE(server.feed(frame(kHeaders, kEndHeaders, 3, block)));
  CHECK(server.told.take().empty());
  CHECK(server.session->failure() == SessionFailure::None);
  // and one beyond all measure is a bomb.
  CHECK_FALSE(server.feed(frame(kHeaders, kEndHeaders, 5, std::string(200, '\xbe'))));
  check_calmed(server);
}

TEST_CASE("a peer that asks and does not read is ended when too much waits for it") {
  Scripted server(true);
  bool is_alive = true;
  std::size_t rounds = 0;
  while (is_alive && ++rounds < 100'000) {
    server.now_ms += 1'000;
    for (int i = 0; i < 15 && is_alive; ++i) is_alive = server.feed(frame(kPing, 0, 0, "12345678"));
  }
  CHECK_FALSE(is_alive);
  CHECK(server.session->failure() == SessionFailure::Abuse);
  CHECK(take_all(*server.session).size() < kControlBacklogBytesMax + 1'000);
}

TEST_CASE("too many settings in one frame are ended") {
  Scripted server(true);
  std::string many;
  for (std::size_t i = 0; i <= kSettingsEntriesMax; ++i) many += setting(static_cast<std::uint16_t>(0x100 + i), 0);
  CHECK_FALSE(server.feed(frame(kSettings, 0, 0, many)));
  check_calmed(server);
}

TEST_CASE("what one connection does is nothing to another") {
  Scripted busy(true);
  Scripted quiet(true);
  REQUIRE(quiet.feed(connect_frame(1)));
  while (busy.feed(frame(kPing, 0, 0, "12345678"))) {}
  REQUIRE(quiet.feed(frame(kPing, 0, 0, "12345678")));
  CHECK(quiet.session->live_streams() == 1);
}
