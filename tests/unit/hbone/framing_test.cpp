// SPDX-License-Identifier: Apache-2.0
// DATA frames in the caller's memory: where the headers go, and what the payload is.
#include <catch2/catch.hpp>

#include <cstring>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

namespace {

// The settings of a peer with the largest windows, and frames of this size.
std::string wide_settings(std::uint32_t frame_bytes) { return setting(4, 0x7fffffff) + setting(5, frame_bytes); }
std::string wide_connection() { return frame(kWindowUpdate, 0, 0, u32(0x7fffffff - 65'535)); }

}  // namespace

TEST_CASE("frames are as large as the peer allows, and the last is what is left") {
  struct Case {
    std::uint32_t frame_bytes;
    std::size_t payload;
    std::vector<std::size_t> frames;
  };
  const std::vector<Case> cases = {
      {16'384, 1, {1}},
      {16'384, 16'383, {16'383}},
      {16'384, 16'384, {16'384}},
      {16'384, 16'385, {16'384, 1}},
      {16'384, 49'152, {16'384, 16'384, 16'384}},
      {16'385, 49'152, {16'385, 16'385, 16'382}},
      {65'536, 100'000, {65'536, 34'464}},
      {1'048'576, 1'048'576, {1'048'576}},
      {1'048'576, 2'500'000, {1'048'576, 1'048'576, 402'848}},
      // Ours is the upper bound.
      {16'777'215, 2'500'000, {1'048'576, 1'048'576, 402'848}},
  };
  for (const Case& one : cases) {
    CAPTURE(one.frame_bytes, one.payload);
    Scripted client(false, {}, wide_settings(one.frame_bytes));
    REQUIRE(client.feed(wide_connection()));
    const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
    static_cast<void>(client.sent());
    REQUIRE(client.session->frame_payload_max() == std::min<std::size_t>(one.frame_bytes, 1'048'576));
    const std::string payload = pattern(one.payload);
    const std::string bytes = data_frames(*client.session, stream, payload);
    CHECK(bytes.size() == client.session->framed_bytes(payload.size()));
    std::string joined;
    std::vector<std::size_t> sizes;
    for (const Frame& data : frames_in(bytes)) {
      CHECK((data.type == kData && data.flags == 0 && data.stream == stream));
      sizes.push_back(data.payload.size());
      joined += data.payload;
    }
    CHECK(sizes == one.frames);
    CHECK(joined == payload);
    CHECK_FALSE(client.session->wants_write());
  }
}

TEST_CASE("framing writes into the gaps only, and not behind what it was given") {
  Pair pair;
  const StreamId stream = pair.open();
  const std::size_t gap = Session::kFrameHeaderBytes;
  std::vector<std::uint8_t> area(3 * gap + 40, 0xee);
  REQUIRE(pair.client->frame_data(stream, area, 40) == gap + 40);
  for (std::size_t i = gap; i < area.size(); ++i) REQUIRE(area[i] == 0xee);
  CHECK(area[2] == 40);
}

TEST_CASE("many small frames on many streams do not disturb each other") {
  Pair pair;
  std::vector<StreamId> streams;
  for (int i = 0; i < 20; ++i) streams.push_back(pair.open());
  for (int round = 0; round < 50; ++round) {
    for (const StreamId stream : streams) {
      pair.client_sends(stream,
                        std::string(static_cast<std::size_t>(round % 7 + 1), static_cast<char>('a' + stream % 26)));
    }
  }
  std::size_t expected = 0;
  for (int round = 0; round < 50; ++round) expected += static_cast<std::size_t>(round % 7 + 1);
  for (const StreamId stream : streams)
    CHECK(pair.server_told.data(stream) == std::string(expected, static_cast<char>('a' + stream % 26)));
}

TEST_CASE("nothing is framed for a stream that is gone, ended or not yet answered") {
  Pair pair;
  std::vector<std::uint8_t> area(100);
  CHECK(pair.client->frame_data(1, area, 10) == 0);
  const StreamId asked = pair.client->connect({.authority = "10.0.0.1:80"});
  pair.carry();
  CHECK(pair.server->send_window(asked) == 0);
  CHECK(pair.server->frame_data(asked, area, 10) == 0);
  const StreamId ended = pair.open();
  pair.client->finish(ended);
  static_cast<void>(take_all(*pair.client));
  CHECK(pair.client->frame_data(ended, area, 10) == 0);
  const StreamId gone = pair.open();
  pair.client->reset(gone, kCancel);
  static_cast<void>(take_all(*pair.client));
  CHECK(pair.client->frame_data(gone, area, 10) == 0);
  CHECK(area == std::vector<std::uint8_t>(100));
}

TEST_CASE("received data is a view of the bytes that came in") {
  Pair pair;
  const StreamId stream = pair.open();
  const std::string bytes = data_frames(*pair.client, stream, pattern(100'000));
  const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
  bool is_inside = true;
  pair.server_told.when_data = [&](StreamId, ByteView data) {
    is_inside = is_inside && data.data() > input.data() && data.data() + data.size() <= input.data() + input.size();
  };
  REQUIRE(pair.server->receive(input, kStartMs, pair.server_told));
  CHECK(pair.server_told.take() == "data 1 100000");
  CHECK(is_inside);
}

TEST_CASE("the end of a stream needs no window") {
  // Neither the stream nor the connection may send a byte.
  Scripted client(false, {}, setting(4, 65'535));
  const StreamId full = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  static_cast<void>(data_frames(*client.session, full, pattern(65'535)));
  const StreamId other = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  REQUIRE(client.session->send_window(full) == 0);
  REQUIRE(client.session->send_window(other) == 0);
  client.session->finish(full);
  client.session->finish(other);
  CHECK(client.sent_text() == "DATA/1@1[0] DATA/1@3[0]");
}

TEST_CASE("the end of a stream that carries a changed table size is one of trailers") {
  Scripted client(false);
  const StreamId stream = client.session->connect({.authority = "10.0.0.1:80"});
  static_cast<void>(client.sent());
  REQUIRE(client.feed(frame(kSettings, 0, 0, setting(1, 0))));
  client.session->finish(stream);
  CHECK(client.sent_text() == "SETTINGS/1@0[0] HEADERS/5@1[1]");
}
