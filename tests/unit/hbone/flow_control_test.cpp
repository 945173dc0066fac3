// SPDX-License-Identifier: Apache-2.0
// Windows: what each side may send follows what the other has consumed, stream by stream.
#include <catch2/catch.hpp>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

namespace {

constexpr std::size_t kStreamWindow = std::size_t{4} << 20U;
constexpr std::size_t kConnectionWindow = std::size_t{16} << 20U;

void fill(Pair& pair, StreamId stream) {
  while (const std::size_t window = pair.client->send_window(stream))
    pair.client_sends(stream, std::string(window, 'x'));
}

}  // namespace

TEST_CASE("windows open when data is consumed, and not when it arrives") {
  Pair pair;
  pair.server_told.keeps_data = false;
  const StreamId stream = pair.open();
  REQUIRE(pair.client->send_window(stream) == kStreamWindow);
  fill(pair, stream);
  CHECK(pair.server_told.take() == "data 1 4194304");
  CHECK_FALSE(pair.server->wants_write());

  pair.server->consume_stream(stream, kStreamWindow / 2);
  pair.carry();
  CHECK(pair.client_told.take() == "writable 1");
  CHECK(pair.client->send_window(stream) == kStreamWindow / 2);
  // The connection is another matter: 8 of its 16 MiB have to be consumed before it is worth a frame.
  fill(pair, stream);
  pair.server->consume_stream(stream, kStreamWindow / 2);
  pair.carry();
  fill(pair, stream);
  pair.server->consume_connection(kConnectionWindow / 2 - 1);
  CHECK_FALSE(pair.server->wants_write());
  pair.server->consume_connection(1);
  CHECK(describe(frames_in(take_all(*pair.server))) == "WINDOW_UPDATE/0@0[4]");
}

TEST_CASE("a stalled stream takes its own window and leaves the others theirs") {
  Pair pair;
  pair.server_told.keeps_data = false;
  const StreamId stalled = pair.open();
  std::vector<StreamId> busy;
  for (int i = 0; i < 20; ++i) busy.push_back(pair.open());
  pair.server_told.when_data = [&](StreamId stream, ByteView data) {
    pair.server->consume_connection(data.size());
    if (stream != stalled) pair.server->consume_stream(stream, data.size());
  };
  fill(pair, stalled);
  CHECK(pair.client->send_window(stalled) == 0);
  for (int round = 0; round < 10; ++round) {
    for (const StreamId stream : busy) {
      REQUIRE(pair.client->send_window(stream) >= 1'000'000);
      pair.client_sends(stream, std::string(1'000'000, 'y'));
      pair.carry();
    }
  }
  CHECK(pair.client->send_window(stalled) == 0);
}

TEST_CASE("a connection whose window is used up is told as writable once, for all of its streams") {
  Limits server_limits;
  server_limits.connection_window = 100'000;
  Pair pair(1U << 20U, {}, server_limits);
  const StreamId first = pair.open();
  const StreamId second = pair.open();
  CHECK(pair.client->connection_window() == 100'000);
  fill(pair, first);
  CHECK(pair.client->send_window(second) == 0);
  CHECK(pair.client->connection_window() == 0);
  pair.server->consume_connection(60'000);
  pair.carry();
  CHECK(pair.client_told.take() == "writable 0");
  CHECK(pair.client->send_window(second) == 60'000);
  pair.client_sends(second, "x");
  pair.server->consume_connection(40'001);
  pair.server->consume_connection(10'000);
  pair.carry();
  CHECK(pair.client_told.take().empty());  // it was not used up
}

TEST_CASE("a window that a change of settings made negative opens when it is positive again") {
  Scripted client(false, {}, setting(4, 10'000));
  const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  static_cast<void>(data_frames(*client.session, stream, std::string(8'000, 'x')));
  CHECK(client.session->send_window(stream) == 2'000);
  REQUIRE(client.feed(frame(kSettings, 0, 0, setting(4, 1'000))));  // now -7,000
  CHECK(client.session->send_window(stream) == 0);
  REQUIRE(client.feed(frame(kWindowUpdate, 0, stream, u32(7'000))));
  CHECK(client.session->send_window(stream) == 0);
  CHECK(client.told.take().empty());
  REQUIRE(client.feed(frame(kWindowUpdate, 0, stream, u32(500))));
  CHECK(client.session->send_window(stream) == 500);
  CHECK(client.told.take() == "writable 1");
  REQUIRE(client.feed(frame(kSettings, 0, 0, setting(4, 0)) + frame(kSettings, 0, 0, setting(4, 2'000))));
  CHECK(client.session->send_window(stream) == 1'500);
  CHECK(client.told.take() == "writable 1");
  REQUIRE(client.feed(frame(kSettings, 0, 0, setting(4, 3'000))));
  CHECK(client.told.take().empty());
}

TEST_CASE("a peer that sends more than a stream's window loses the stream only") {
  Limits limits;
  limits.stream_window = 1'000;
  Scripted server(true, limits);
  REQUIRE(server.feed(connect_frame(1) + connect_frame(3)));
  static_cast<void>(server.told.take());
  REQUIRE(server.feed(frame(kData, 0, 1, std::string(1'000, 'x'))));
  CHECK(server.told.take() == "data 1 1000");
  REQUIRE(server.feed(frame(kData, 0, 1, "x")));
  CHECK(server.told.take() == "data 1 1; closed 1 failed 3");
  const auto sent = server.sent();
  REQUIRE(describe(sent) == "RST_STREAM/0@1[4]");
  CHECK(sent[0].number() == kFlowControlError);
  REQUIRE(server.feed(frame(kData, 0, 3, "x")));
  CHECK(server.told.take() == "data 3 1");
}

TEST_CASE("a peer that sends more than the connection's window loses the connection") {
  Limits limits;
  limits.connection_window = 70'000;
  Scripted server(true, limits);
  REQUIRE(server.feed(connect_frame(1)));
  const std::string chunk(16'000, 'x');
  for (int i = 0; i < 4; ++i) REQUIRE(server.feed(frame(kData, 0, 1, chunk)));
  static_cast<void>(server.told.take());
  CHECK_FALSE(server.feed(frame(kData, 0, 1, chunk)));
  CHECK(server.session->failure() == SessionFailure::Protocol);
  CHECK(server.told.take() == "closed 1 failed 2");
  const auto sent = server.sent();
  REQUIRE(describe(sent) == "GOAWAY/0@0[8]");
  CHECK(sent[0].number(4) == kFlowControlError);
}

TEST_CASE("a window update beyond the largest window ends the stream, or the connection") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1) + connect_frame(3)));
  static_cast<void>(server.told.take());
  REQUIRE(server.feed(frame(kWindowUpdate, 0, 1, u32(0x7fffffff))));
  CHECK(server.told.take() == "closed 1 failed 3");
  CHECK(server.sent_text() == "RST_STREAM/0@1[4]");
  CHECK_FALSE(server.feed(frame(kWindowUpdate, 0, 0, u32(0x7fffffff))));
  CHECK(server.told.take() == "closed 3 failed 2");
  CHECK(server.sent().back().number(4) == kFlowControlError);
}

TEST_CASE("data that nobody takes is given back to the connection at once") {
  Limits limits;
  limits.connection_window = 100'000;
  Scripted server(true, limits);
  REQUIRE(server.feed(connect_frame(1)));
  server.session->reset(1, kCancel);
  static_cast<void>(server.sent());
  const std::string chunk(10'000, 'x');
  std::size_t given_back = 0;
  for (int i = 0; i < 50; ++i) {
    REQUIRE(server.feed(frame(kData, 0, 1, chunk)));
    for (const Frame& update : server.sent()) {
      REQUIRE(describe({update}) == "WINDOW_UPDATE/0@0[4]");
      given_back += update.number();
    }
  }
  CHECK(given_back >= 450'000);
}

TEST_CASE("padding is given back at once, and is not data") {
  Limits limits;
  limits.connection_window = 100'000;
  limits.stream_window = 100'000;
  Scripted server(true, limits);
  REQUIRE(server.feed(connect_frame(1)));
  static_cast<void>(server.told.take());
  std::size_t data = 0;
  std::size_t stream_back = 0;
  for (int i = 0; i < 1'000; ++i) {
    REQUIRE(server.feed(frame(kData, kPadded, 1, std::string(1, '\xff') + "x" + std::string(255, '\0'))));
    ++data;
    for (const Frame& update : server.sent()) {
      if (update.stream == 1) stream_back += update.number();
    }
  }
  CHECK(server.told.take() == "data 1 1000");
  CHECK(stream_back >= 200'000);
}

TEST_CASE("what is left of a frame whose stream was reset while it arrived is given back") {
  Limits limits;
  limits.connection_window = 100'000;
  Scripted server(true, limits);
  std::size_t taken = 0;
  server.told.when_data = [&](StreamId stream, ByteView data) {
    taken += data.size();
    server.session->reset(stream, kCancel);
  };
  REQUIRE(server.feed(connect_frame(1)));
  for (StreamId stream = 1; stream < 21; stream += 2) {
    if (stream > 1) REQUIRE(server.feed(connect_frame(stream)));
    const std::string data = frame(kData, 0, stream, std::string(16'000, 'x'));
    // The stream goes with the first part; the rest belongs to nobody.
    REQUIRE(server.feed(data.substr(0, 20)));
    REQUIRE(server.feed(data.substr(20)));
  }
  CHECK(taken == 110);
  CHECK(server.session->failure() == SessionFailure::None);
}

TEST_CASE("data in the handler's own frame is given back when its stream was refused") {
  Limits limits;
  limits.connection_window = 100'000;
  Scripted server(true, limits);
  server.told.when_connect = [&](StreamId stream) { server.session->respond(stream, 503, {}); };
  std::size_t given_back = 0;
  for (StreamId stream = 1; stream < 41; stream += 2) {
    // Request and data come in one read: the refusal has not left when the data is looked at.
    REQUIRE(server.feed(connect_frame(stream) + frame(kData, 0, stream, std::string(16'000, 'x'))));
    for (const Frame& sent : server.sent()) {
      if (sent.type == kWindowUpdate) given_back += sent.number();
    }
  }
  CHECK(given_back >= 250'000);
}

TEST_CASE("a stream whose peer has ended needs no more window") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1)));
  for (int i = 0; i < 200; ++i) REQUIRE(server.feed(frame(kData, 0, 1, std::string(16'000, 'x'))));
  REQUIRE(server.feed(frame(kData, kEndStream, 1)));
  static_cast<void>(server.sent());
  server.session->consume_stream(1, 3'200'000);
  CHECK(server.sent().empty());
}
