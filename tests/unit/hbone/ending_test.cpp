// SPDX-License-Identifier: Apache-2.0
// How streams end: END_STREAM in each order, RST_STREAM with each code, and what still comes afterwards.
#include <catch2/catch.hpp>

#include <fmt/format.h>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

TEST_CASE("either side may end first, and the other still sends") {
  const bool client_first = GENERATE(true, false);
  const std::size_t portion = GENERATE(1U, 1'000U);
  CAPTURE(client_first, portion);
  Pair pair(portion);
  const StreamId stream = pair.open();
  Session& first = client_first ? *pair.client : *pair.server;
  Session& second = client_first ? *pair.server : *pair.client;
  Recorder& first_told = client_first ? pair.client_told : pair.server_told;
  Recorder& second_told = client_first ? pair.server_told : pair.client_told;
  CHECK_FALSE(first.finish(stream));
  CHECK_FALSE(first.finish(stream));  // once is enough
  pair.carry();
  CHECK(second_told.take() == "end 1");
  if (client_first)
    pair.server_sends(stream, "late");
  else
    pair.client_sends(stream, "late");
  CHECK(first_told.take() == "data 1 4");
  CHECK(second.finish(stream));
  CHECK(second.live_streams() == 0);
  pair.carry();
  CHECK(first_told.take() == "end 1; closed 1 finished 0");
  CHECK(second_told.take().empty());
  CHECK(first.live_streams() == 0);
}

TEST_CASE("ends that cross close the stream once on each side") {
  Pair pair;
  const StreamId stream = pair.open();
  CHECK_FALSE(pair.client->finish(stream));
  CHECK_FALSE(pair.server->finish(stream));
  pair.carry();
  CHECK(pair.client_told.take() == "end 1; closed 1 finished 0");
  CHECK(pair.server_told.take() == "end 1; closed 1 finished 0");
}

TEST_CASE("a request that ends its own side is told as a request and an end") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1, kEndHeaders | kEndStream)));
  CHECK(server.told.take() == "connect 1 10.0.0.1:80; end 1");
  server.session->respond(1, 200, {});
  CHECK(server.session->finish(1));
  CHECK(server.session->live_streams() == 0);
}

TEST_CASE("a refusal of a request that had ended needs no RST_STREAM") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1, kEndHeaders | kEndStream)));
  server.session->respond(1, 401, {});
  CHECK(server.sent_text().starts_with("HEADERS/5@1"));
  CHECK(server.sent_text().empty());
}

TEST_CASE("trailers of the peer end its side") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1) +
                      frame(kHeaders, kEndHeaders | kEndStream, 1, header_block({{"x-checksum", "1"}}))));
  CHECK(server.told.take() == "connect 1 10.0.0.1:80; end 1");
  CHECK(server.session->failure() == SessionFailure::None);
}

TEST_CASE("a reset is told with its code to the other side only") {
  const bool from_client = GENERATE(true, false);
  Pair pair(3);
  for (std::uint32_t code = 0; code <= 14; ++code) {
    CAPTURE(from_client, code);
    const StreamId stream = pair.open();
    (from_client ? pair.client : pair.server)->reset(stream, code);
    pair.carry();
    const std::string_view how = code == kRefusedStream ? "unprocessed" : "reset";
    CHECK((from_client ? pair.server_told : pair.client_told).take() ==
          fmt::format("closed {} {} {}", stream, how, code));
    CHECK((from_client ? pair.client_told : pair.server_told).take().empty());
    CHECK(pair.client->live_streams() == 0);
    CHECK(pair.server->live_streams() == 0);
  }
  CHECK(pair.client->failure() == SessionFailure::None);
  CHECK(pair.server->failure() == SessionFailure::None);
}

TEST_CASE("resets that cross, and what was on its way, are silent") {
  Pair pair;
  const StreamId stream = pair.open();
  const std::string late = data_frames(*pair.server, stream, "late");
  pair.client->reset(stream, kCancel);
  pair.server->reset(stream, kCancel);
  REQUIRE(pair.carry_to_client(late));
  pair.carry();
  CHECK(pair.client_told.take().empty());
  CHECK(pair.server_told.take().empty());
  CHECK(pair.open() == 3);
}

TEST_CASE("a reset inside the handler stops the data of the frame that is arriving") {
  Pair pair(100);
  const StreamId stream = pair.open();
  pair.server_told.when_data = [&](StreamId which, ByteView) { pair.server->reset(which, kCancel); };
  pair.client_sends(stream, std::string(1'000, 'x'));
  CHECK(pair.server_told.take() == "data 1 91");
  pair.carry();
  CHECK(pair.client_told.take() == "closed 1 reset 8");
}

TEST_CASE("a stream that is opened and reset inside one handler is never heard of") {
  Pair pair;
  pair.client_told.when_response = [&](StreamId) {
    pair.client->reset(pair.client->connect({.authority = "10.0.0.9:9"}), kCancel);
  };
  const StreamId stream = pair.client->connect({.authority = "10.0.0.1:80"});
  pair.carry();
  pair.server->respond(stream, 200, {});
  pair.carry();
  CHECK(pair.server_told.take() == "connect 1 10.0.0.1:80");
  CHECK(pair.client_told.take() == "response 1 200");
  CHECK(pair.client->live_streams() == 1);
}

TEST_CASE("an answer to a stream that is gone goes nowhere") {
  Pair pair;
  const StreamId stream = pair.client->connect({.authority = "10.0.0.1:80"});
  pair.carry();
  pair.client->reset(stream, kCancel);
  pair.carry();
  CHECK(pair.server_told.take() == "connect 1 10.0.0.1:80; closed 1 reset 8");
  pair.server->respond(stream, 200, {});
  pair.server->respond(stream, 503, {});
  pair.server->reset(stream, kCancel);
  CHECK(pair.server->finish(stream));
  pair.server->consume_stream(stream, 10);
  CHECK_FALSE(pair.server->wants_write());
}

TEST_CASE("a server that ends a stream before it has answered resets it") {
  Pair pair;
  const StreamId stream = pair.client->connect({.authority = "10.0.0.1:80"});
  pair.carry();
  CHECK(pair.server->finish(stream));
  pair.carry();
  CHECK(pair.client_told.take() == "closed 1 reset 2");
}

TEST_CASE("a failed connection ends every stream before receive returns, and stays failed") {
  Pair pair;
  for (int i = 0; i < 5; ++i) static_cast<void>(pair.open());
  CHECK_FALSE(pair.carry_to_server(frame(kContinuation, 0, 1, "")));
  CHECK(pair.server->live_streams() == 0);
  std::string told = pair.server_told.take();
  for (const StreamId stream : {1, 3, 5, 7, 9})
    CHECK(told.find(fmt::format("closed {} failed 2", stream)) != std::string::npos);
  CHECK_FALSE(pair.carry_to_server(frame(kPing, 0, 0, "12345678")));
  CHECK_FALSE(pair.server->tick(kStartMs + 1));
  CHECK(pair.server_told.take().empty());
  CHECK(describe(frames_in(take_all(*pair.server))).starts_with("GOAWAY/0@0"));
  CHECK(pair.server->is_done());
}
