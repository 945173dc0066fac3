// SPDX-License-Identifier: Apache-2.0
// The plain way of a stream between two sessions: connect, answer, data, end.
#include <array>

#include <catch2/catch.hpp>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

TEST_CASE("a client announces its settings and its connection window before anything else") {
  const auto session = Session::client({}, kStartMs);
  const std::string bytes = take_all(*session);
  REQUIRE(bytes.starts_with(kPreface));
  const auto frames = frames_in(bytes, kPreface.size());
  REQUIRE(describe(frames) == "SETTINGS/0@0[30] WINDOW_UPDATE/0@0[4]");
  CHECK(frames[0].payload ==
        setting(4, 4'194'304) + setting(5, 1'048'576) + setting(6, 16'384) + setting(9, 1) + setting(2, 0));
  CHECK(frames[1].number() == 16'777'216 - 65'535);
}

TEST_CASE("a server announces its settings, with a limit on streams") {
  const auto session = Session::server({}, kStartMs);
  const auto frames = frames_in(take_all(*session));
  REQUIRE(describe(frames) == "SETTINGS/0@0[30] WINDOW_UPDATE/0@0[4]");
  CHECK(frames[0].payload ==
        setting(4, 4'194'304) + setting(5, 1'048'576) + setting(6, 65'536) + setting(9, 1) + setting(3, 200));
}

TEST_CASE("a stream carries data both ways and ends, whatever the portions of bytes are") {
  const std::size_t portion = GENERATE(1U, 2U, 3U, 7U, 9U, 10U, 64U, 1'000U, 1U << 20U);
  Pair pair(portion);
  CAPTURE(portion);
  const StreamId stream = pair.client->connect({.authority = "10.0.0.1:80",
                                                .baggage = "k8s.namespace.name=shop",
                                                .forwarded = "for=\"10.1.0.5:4000\"",
                                                .traceparent = "00-1-2-00",
                                                .forwarded_network = "east"});
  REQUIRE(stream == 1);
  pair.carry();
  REQUIRE(pair.server_told.take() == "connect 1 10.0.0.1:80");
  CHECK(pair.server_told.last_request.baggage == "k8s.namespace.name=shop");
  CHECK(pair.server_told.last_request.forwarded == "for=\"10.1.0.5:4000\"");
  CHECK(pair.server_told.last_request.traceparent == "00-1-2-00");
  CHECK(pair.server_told.last_request.forwarded_network == "east");
  CHECK(pair.server->live_streams() == 1);

  pair.server->respond(stream, 200, "k8s.namespace.name=bank");
  pair.carry();
  REQUIRE(pair.client_told.take() == "response 1 200 k8s.namespace.name=bank");

  const std::string up = pattern(30'000);
  const std::string down = pattern(20'001);
  pair.client_sends(stream, up);
  pair.server_sends(stream, down);
  REQUIRE(pair.server_told.take() == "data 1 30000");
  REQUIRE(pair.client_told.take() == "data 1 20001");
  CHECK(pair.server_told.data(stream) == up);
  CHECK(pair.client_told.data(stream) == down);

  CHECK_FALSE(pair.client->finish(stream));
  pair.carry();
  REQUIRE(pair.server_told.take() == "end 1");
  CHECK(pair.server->finish(stream));
  pair.carry();
  REQUIRE(pair.client_told.take() == "end 1; closed 1 finished 0");
  REQUIRE(pair.server_told.take().empty());
  CHECK(pair.client->live_streams() == 0);
  CHECK(pair.server->live_streams() == 0);
  CHECK(pair.client->failure() == SessionFailure::None);
}

TEST_CASE("a peer that always leaves some control bytes untaken does not make them pile up") {
  const Limits limits;
  auto server = Session::server(limits, kStartMs);
  auto client = Session::client(limits, kStartMs);
  Recorder near;
  Recorder far;
  std::array<std::uint8_t, 16'384> buffer{};
  const auto pass = [&](Session& from, Session& to, Recorder& told) {
    while (from.wants_write()) {
      const std::size_t bytes = from.take_control(buffer);
      REQUIRE(to.receive({buffer.data(), bytes}, kStartMs, told));
    }
  };
  pass(*client, *server, near);
  pass(*server, *client, far);
  pass(*client, *server, near);
  constexpr std::array<std::uint8_t, 17> kPing = {0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
  std::uint64_t now_ms = kStartMs;
  REQUIRE(server->receive(kPing, now_ms, near));  // the answer to this one stays behind, always
  for (int i = 0; i < 10'000; ++i) {
    now_ms += 50;
    REQUIRE(server->receive(kPing, now_ms, near));
    CHECK(server->take_control(MutableBytes(buffer).first(kPing.size())) == kPing.size());
  }
  CHECK(server->control_bytes_held() < 4'096);
}

TEST_CASE("answers inside the handlers are sent when receive returns") {
  Pair pair(5);
  pair.server_told.when_connect = [&](StreamId stream) { pair.server->respond(stream, 200, "service.name=x"); };
  pair.server_told.when_end = [&](StreamId stream) { CHECK(pair.server->finish(stream)); };
  std::vector<StreamId> more;
  pair.client_told.when_response = [&](StreamId stream) {
    pair.client->finish(stream);
    if (more.size() < 3)
      more.push_back(pair.client->connect({.authority = std::string("10.0.0.2:81"), .baggage = "a=b"}));
  };
  static_cast<void>(pair.client->connect({.authority = "10.0.0.1:80"}));
  pair.carry();
  CHECK(pair.server_told.take() ==
        "connect 1 10.0.0.1:80; end 1; connect 3 10.0.0.2:81; end 3; connect 5 10.0.0.2:81; end 5; connect 7 "
        "10.0.0.2:81; end 7");
  CHECK(pair.client_told.take() ==
        "response 1 200 service.name=x; end 1; closed 1 finished 0; response 3 200 service.name=x; end 3; closed 3 "
        "finished 0; "
        "response 5 200 service.name=x; end 5; closed 5 finished 0; response 7 200 service.name=x; end 7; closed 7 "
        "finished 0");
}

TEST_CASE("a refusal closes the stream on both sides and both are told once") {
  Pair pair;
  for (const std::uint16_t status : std::initializer_list<std::uint16_t>{400, 401, 503}) {
    const StreamId stream = pair.client->connect({.authority = "10.0.0.1:80"});
    pair.carry();
    static_cast<void>(pair.server_told.take());
    pair.server->respond(stream, status, {});
    CHECK(pair.server->live_streams() == 0);
    pair.carry();
    CHECK(pair.client_told.take() == "response " + std::to_string(stream) + " " + std::to_string(status) + "; closed " +
                                         std::to_string(stream) + " finished 0");
    CHECK(pair.server_told.take().empty());
    CHECK(pair.client->live_streams() == 0);
  }
}

TEST_CASE("a refusal is HEADERS with END_STREAM and then RST_STREAM without an error") {
  Scripted server(true);
  REQUIRE(server.feed(connect_frame(1)));
  static_cast<void>(server.sent());
  server.session->respond(1, 503, {});
  const auto frames = server.sent();
  REQUIRE(describe(frames) == "HEADERS/5@1[" + std::to_string(frames[0].payload.size()) + "] RST_STREAM/0@1[4]");
  CHECK(frames[1].number() == kNoError);
}

TEST_CASE("a user word stays with its stream and goes with it") {
  Pair pair;
  const StreamId first = pair.open();
  const StreamId second = pair.open();
  pair.client->set_user_word(first, 11);
  pair.client->set_user_word(second, 22);
  CHECK(pair.client->user_word(first) == 11);
  CHECK(pair.client->user_word(second) == 22);
  CHECK(pair.server->user_word(first) == 0);
  pair.client->reset(first, kCancel);
  CHECK(pair.client->user_word(first) == 0);
  CHECK(pair.client->user_word(second) == 22);
  pair.client->set_user_word(first, 1);
  CHECK(pair.client->user_word(first) == 0);
}

TEST_CASE("the word of a stream can be asked for while its end is told, and not afterwards") {
  Pair pair;
  const StreamId stream = pair.open();
  const StreamId sibling = pair.open();
  pair.client->set_user_word(stream, 33);
  std::uint64_t word = 0;
  pair.client_told.when_closed = [&](StreamId which) {
    word = pair.client->user_word(which);
    CHECK(pair.client->user_word(sibling) == 0);
    pair.client->reset(which, kCancel);  // it is gone: nothing happens
  };
  pair.server->reset(stream, kCancel);
  pair.carry();
  CHECK(word == 33);
  CHECK(pair.client->user_word(stream) == 0);
  CHECK_FALSE(pair.client->wants_write());
}

TEST_CASE("connect stops at the peer's stream limit and goes on when a stream ends") {
  Limits server_limits;
  server_limits.streams_max = 3;
  Pair pair(1U << 20U, {}, server_limits);
  CHECK(pair.client->streams_max() == 3);
  std::vector<StreamId> open;
  for (int i = 0; i < 3; ++i) open.push_back(pair.open());
  CHECK_FALSE(pair.client->can_connect());
  CHECK(pair.client->connect({.authority = "10.0.0.1:80"}) == kNoStream);
  pair.client->reset(open[1], kCancel);
  REQUIRE(pair.client->can_connect());
  CHECK(pair.open() == 7);
  CHECK(pair.server->live_streams() == 3);
}

TEST_CASE("before the peer's settings arrive a client opens as many streams as its own limit says") {
  Limits limits;
  limits.streams_before_settings = 2;
  const auto session = Session::client(limits, kStartMs);
  CHECK(session->streams_max() == 2);
  CHECK(session->connect({.authority = "10.0.0.1:80"}) == 1);
  CHECK(session->connect({.authority = "10.0.0.1:80"}) == 3);
  CHECK(session->connect({.authority = "10.0.0.1:80"}) == kNoStream);
}

TEST_CASE("a header list that repeats is one byte for each field from the second request on") {
  Pair pair;
  const ConnectRequest request{.authority = "10.0.0.1:80",
                               .baggage = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop"};
  static_cast<void>(pair.client->connect(request));
  static_cast<void>(take_all(*pair.client));
  static_cast<void>(pair.client->connect(request));
  CHECK(describe(frames_in(take_all(*pair.client))) == "HEADERS/4@3[3]");
}
