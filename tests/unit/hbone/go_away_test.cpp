// SPDX-License-Identifier: Apache-2.0
// GOAWAY of both sides, at each point of a stream's life.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

namespace {

std::string go_away(StreamId last, std::uint32_t code, std::string_view debug = {}) {
  return frame(kGoAway, 0, 0, (u32(static_cast<std::uint32_t>(last)) + u32(code)).append(debug));
}
constexpr StreamId kNoLast = 0x7fffffff;

}  // namespace

TEST_CASE("a server drains in two steps, and loses no stream that was on its way") {
  Pair pair;
  const StreamId open = pair.open();
  pair.server->go_away();
  CHECK(pair.server->is_going_away());
  const std::string first = take_all(*pair.server);
  CHECK(describe(frames_in(first)) == "GOAWAY/0@0[8] PING/0@0[8]");
  CHECK(frames_in(first)[0].number() == 0x7fffffff);
  // The client has not heard of it yet.
  const StreamId on_its_way = pair.client->connect({.authority = "10.0.0.2:80"});
  const std::string request = take_all(*pair.client);
  REQUIRE(pair.carry_to_client(first));
  CHECK(pair.client_told.take() == "go_away 0");
  CHECK_FALSE(pair.client->can_connect());
  REQUIRE(pair.carry_to_server(request));
  CHECK(pair.server_told.take() == "connect 3 10.0.0.2:80");
  pair.carry();  // the PING comes back: the second GOAWAY
  CHECK(pair.client_told.take().empty());
  CHECK(pair.client->connect({.authority = "10.0.0.2:80"}) == kNoStream);

  pair.server->respond(on_its_way, 200, {});
  pair.carry();
  CHECK(pair.client_told.take() == "response 3 200");
  pair.client_sends(open, "more");
  CHECK(pair.server_told.take() == "data 1 4");
  pair.client->finish(open);
  pair.client->reset(on_its_way, kCancel);
  pair.carry();
  CHECK_FALSE(pair.server->is_done());
  CHECK(pair.server->finish(open));
  pair.carry();
  CHECK(pair.server->is_done());
  CHECK(pair.client->is_done());
}

TEST_CASE("a server that leaves at once names the last stream that it looked at") {
  const bool is_draining = GENERATE(false, true);
  CAPTURE(is_draining);
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(5)));
  static_cast<void>(server.sent());
  if (is_draining) {
    server.session->go_away();
    static_cast<void>(server.sent());
  }
  server.session->go_away_now();
  server.session->go_away_now();
  const std::vector<Frame> frames = server.sent();
  REQUIRE(describe(frames) == "GOAWAY/0@0[8]");
  CHECK(frames[0].number() == 5);
  CHECK(frames[0].number(4) == kNoError);
}

TEST_CASE("the second GOAWAY of a drain names the last stream, and comes after a second at the latest") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(5)));
  static_cast<void>(server.sent());
  server.session->go_away();
  server.session->go_away();
  CHECK(server.sent_text() == "GOAWAY/0@0[8] PING/0@0[8]");
  CHECK(server.session->next_tick_ms() <= server.now_ms);
  CHECK(server.session->tick(server.now_ms));
  CHECK(server.session->next_tick_ms() == server.now_ms + 1'000);
  CHECK(server.session->tick(server.now_ms + 999));
  CHECK(server.sent_text().empty());
  CHECK(server.session->tick(server.now_ms + 1'000));
  const auto sent = server.sent();
  REQUIRE(describe(sent) == "GOAWAY/0@0[8]");
  CHECK(sent[0].number() == 5);
  CHECK(sent[0].number(4) == kNoError);
  // What comes now was announced as not to be looked at.
  REQUIRE(server.feed(connect_frame(7) + frame(kData, 0, 7, "x") + connect_frame(9)));
  CHECK(server.told.take() == "connect 5 10.0.0.1:80");
  CHECK(server.sent_text().empty());
}

TEST_CASE("an answer to a PING that was sent before the drain does not end it") {
  Scripted server(true);
  server.now_ms += 10'000;
  REQUIRE(server.session->tick(server.now_ms));
  const auto keepalive = server.sent();
  server.session->go_away();
  const auto drain = server.sent();
  REQUIRE(describe(drain) == "GOAWAY/0@0[8] PING/0@0[8]");
  REQUIRE(server.feed(frame(kPing, kAck, 0, keepalive.at(0).payload) + connect_frame(1)));
  CHECK(server.sent().empty());
  CHECK(server.told.take() == "connect 1 10.0.0.1:80");
  REQUIRE(server.feed(frame(kPing, kAck, 0, drain.at(1).payload)));
  CHECK(server.sent_text() == "GOAWAY/0@0[8]");
}

TEST_CASE("a client that goes away sends one GOAWAY and keeps its streams") {
  Pair pair;
  const StreamId stream = pair.open();
  pair.client->go_away();
  pair.client->go_away();
  CHECK_FALSE(pair.client->can_connect());
  const std::string bytes = take_all(*pair.client);
  CHECK(describe(frames_in(bytes)) == "GOAWAY/0@0[8]");
  REQUIRE(pair.carry_to_server(bytes));
  CHECK(pair.server_told.take() == "go_away 0");
  pair.client_sends(stream, "x");
  pair.server_sends(stream, "y");
  CHECK(pair.client_told.take() == "data 1 1");
  CHECK_FALSE(pair.client->is_done());
  pair.client->reset(stream, kCancel);
  pair.carry();
  CHECK(pair.client->is_done());
  CHECK(pair.server->is_done());
}

TEST_CASE("GOAWAY at each point of a stream's life") {
  struct Point {
    std::string_view what;
    int steps;  // how far the stream is: 0 requested, 1 answered, 2 data, 3 peer ended, 4 we ended
  };
  const Point points[] = {{"requested", 0}, {"answered", 1}, {"data", 2}, {"ended by the peer", 3}, {"ended by us", 4}};
  const std::string ok = header_block({{":status", "200"}});
  for (const Point& point : points) {
    for (const bool is_processed : {true, false}) {
      for (const std::uint32_t code : {kNoError, kInternalError}) {
        CAPTURE(point.what, is_processed, code);
        Scripted client(false);
        const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
        if (point.steps >= 1) REQUIRE(client.feed(frame(kHeaders, kEndHeaders, stream, ok)));
        if (point.steps == 2) REQUIRE(client.feed(frame(kData, 0, stream, "x")));
        if (point.steps == 3) REQUIRE(client.feed(frame(kData, kEndStream, stream)));
        if (point.steps == 4) client.session->finish(stream);
        static_cast<void>(client.sent());
        static_cast<void>(client.told.take());
        const bool is_alive = client.feed(go_away(is_processed ? stream : 0, code, "bye"));
        CHECK(is_alive == (code == kNoError));
        CHECK(client.session->failure() == (is_alive ? SessionFailure::None : SessionFailure::PeerGoneAway));
        std::string expected = fmt::format("go_away {}", code);
        if (!is_processed) expected += "; closed 1 unprocessed 7";
        if (is_processed && !is_alive) expected += "; closed 1 failed 2";
        CHECK(client.told.take() == expected);
        CHECK(client.session->live_streams() == (is_processed && is_alive ? 1 : 0));
        CHECK(client.sent().empty());
        if (!is_alive || !is_processed) continue;
        REQUIRE(client.feed(frame(kReset, 0, stream, u32(kCancel))));
        CHECK(client.told.take() == "closed 1 reset 8");
        CHECK(client.session->is_done());
      }
    }
  }
}

TEST_CASE("GOAWAY before the request has left leaves the stream unprocessed") {
  Scripted client(false);
  StreamId late = kNoStream;
  client.told.when_end = [&](StreamId) { late = client.session->connect({.authority = "10.0.0.2:80"}); };
  const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  REQUIRE(client.feed(frame(kHeaders, kEndHeaders | kEndStream, stream, header_block({{":status", "200"}})) +
                      go_away(1, 0)));
  REQUIRE(late == 3);
  CHECK(client.told.take() == "response 1 200; end 1; go_away 0; closed 3 unprocessed 7");
  CHECK(client.sent().empty());
}

TEST_CASE("two GOAWAY frames are told once, and the second may only lower the last stream") {
  Scripted client(false);
  for (int i = 0; i < 3; ++i) static_cast<void>(client.session->connect({.authority = "10.0.0.1:80"}));
  static_cast<void>(client.sent());
  REQUIRE(client.feed(go_away(kNoLast, 0)));
  CHECK(client.told.take() == "go_away 0");
  REQUIRE(client.feed(go_away(3, 0)));
  CHECK(client.told.take() == "closed 5 unprocessed 7");
  REQUIRE(client.feed(go_away(1, 0)));
  CHECK(client.told.take() == "closed 3 unprocessed 7");
  CHECK_FALSE(client.feed(go_away(5, 0)));
  CHECK(client.session->failure() == SessionFailure::Protocol);
}
