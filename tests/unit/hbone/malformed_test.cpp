// SPDX-License-Identifier: Apache-2.0
// What breaks a rule: of CONNECT (answered with 400), of a stream (RST_STREAM), of the connection (GOAWAY).
#include <catch2/catch.hpp>

#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

namespace {

struct Request {
  std::string_view what;
  std::string block;
};

std::string fields(Fields list) { return header_block(list); }

}  // namespace

TEST_CASE("a request that is not a CONNECT is answered with 400 and never told") {
  using namespace std::string_view_literals;
  // Each field counts 32 bytes more than it has.
  std::string long_list = fields({{":method", "CONNECT"}, {":authority", "a:1"}});
  for (int i = 0; i < 100; ++i) long_list += fields({{"x", std::string(630, 'x')}});
  const Request cases[] = {
      {"nothing", ""},
      {"GET", fields({{":method", "GET"}, {":scheme", "https"}, {":authority", "a:1"}, {":path", "/"}})},
      {"no method", fields({{":authority", "a:1"}})},
      {"no authority", fields({{":method", "CONNECT"}})},
      {"host instead", fields({{":method", "CONNECT"}, {"host", "a:1"}})},
      {"lower case", fields({{":method", "connect"}, {":authority", "a:1"}})},
      {"with a path", fields({{":method", "CONNECT"}, {":authority", "a:1"}, {":path", "/"}})},
      {"with a scheme", fields({{":method", "CONNECT"}, {":authority", "a:1"}, {":scheme", "https"}})},
      {"extended", fields({{":method", "CONNECT"}, {":authority", "a:1"}, {":protocol", "websocket"}})},
      {"with a status", fields({{":method", "CONNECT"}, {":authority", "a:1"}, {":status", "200"}})},
      {"two methods", fields({{":method", "CONNECT"}, {":method", "CONNECT"}, {":authority", "a:1"}})},
      {"two authorities", fields({{":method", "CONNECT"}, {":authority", "a:1"}, {":authority", "a:1"}})},
      {"pseudo-field behind a field", fields({{":method", "CONNECT"}, {"baggage", "a=b"}, {":authority", "a:1"}})},
      {"control character", fields({{":method", "CONNECT"}, {":authority", "a:1"}, {"baggage", "a\r\nb"}})},
      {"NUL", fields({{":method", "CONNECT"}, {":authority", "a\0:1"sv}})},
      {"longer than announced", long_list},
  };
  for (const Request& one : cases) {
    CAPTURE(one.what);
    Scripted server(true);
    std::string bytes = frame(kHeaders, one.block.size() > 16'384 ? 0 : kEndHeaders, 1, one.block.substr(0, 16'384));
    for (std::size_t at = 16'384; at < one.block.size(); at += 16'384) {
      const bool is_last = at + 16'384 >= one.block.size();
      bytes += frame(kContinuation, is_last ? kEndHeaders : 0, 1, one.block.substr(at, 16'384));
    }
    REQUIRE(server.feed(bytes));
    CHECK(server.told.take().empty());
    const auto sent = server.sent();
    REQUIRE(describe(sent) == "HEADERS/5@1[1] RST_STREAM/0@1[4]");
    CHECK(sent[0].payload == "\x8c");  // the static table's ":status: 400"
    CHECK(sent[1].number() == kNoError);
    // The connection lives.
    REQUIRE(server.feed(connect_frame(3)));
    CHECK(server.told.take() == "connect 3 10.0.0.1:80");
  }
}

TEST_CASE("fields are joined when there are several of a name, and unknown ones are passed over") {
  Scripted server(true);
  REQUIRE(server.feed(frame(kHeaders, kEndHeaders, 1,
                            header_block({{":authority", "a:1"},
                                          {":method", "CONNECT"},
                                          {"baggage", "a=1"},
                                          {"user-agent", "x"},
                                          {"baggage", "b=2"},
                                          {"forwarded", "for=a"},
                                          {"traceparent", "1"},
                                          {"forwarded", "for=b"},
                                          {"Baggage", "c=3"},
                                          {"traceparent", "2"},
                                          {"x-forwarded-network", "n"}}))));
  CHECK(server.told.take() == "connect 1 a:1");
  CHECK(server.told.last_request.baggage == "a=1,b=2");
  CHECK(server.told.last_request.forwarded == "for=a,for=b");
  CHECK(server.told.last_request.traceparent.empty());
  CHECK(server.told.last_request.forwarded_network == "n");
}

TEST_CASE("an answer that is none resets the stream") {
  const Request cases[] = {
      {"nothing", ""},
      {"no status", fields({{"baggage", "a=b"}})},
      {"short status", fields({{":status", "20"}})},
      {"long status", fields({{":status", "2000"}})},
      {"no number", fields({{":status", "2x0"}})},
      {"below 100", fields({{":status", "099"}})},
      {"two", fields({{":status", "200"}, {":status", "200"}})},
      {"a request's", fields({{":status", "200"}, {":authority", "a:1"}})},
      {"behind a field", fields({{"baggage", "a=b"}, {":status", "200"}})},
  };
  for (const Request& one : cases) {
    CAPTURE(one.what);
    Scripted client(false);
    static_cast<void>(client.session->connect({.authority = "10.0.0.1:80"}));
    static_cast<void>(client.sent());
    REQUIRE(client.feed(frame(kHeaders, kEndHeaders, 1, one.block)));
    CHECK(client.told.take() == "closed 1 failed 1");
    CHECK(client.sent_text() == "RST_STREAM/0@1[4]");
    CHECK(client.session->live_streams() == 0);
  }
}

TEST_CASE("a peer that breaks the order of a stream's frames loses the stream") {
  const std::string ok = frame(kHeaders, kEndHeaders, 1, header_block({{":status", "200"}}));
  const std::string interim = frame(kHeaders, kEndHeaders, 1, header_block({{":status", "103"}}));
  struct Case {
    std::string_view what;
    std::string bytes;
    std::string_view told;
  };
  const Case cases[] = {
      {"an interim answer that ends", frame(kHeaders, kEndHeaders | kEndStream, 1, header_block({{":status", "103"}})),
       "closed 1 failed 1"},
      {"data behind an interim answer", interim + frame(kData, 0, 1, "x"), "closed 1 failed 1"},
      {"an end behind an interim answer", interim + frame(kData, kEndStream, 1), "closed 1 failed 1"},
      {"a second answer", ok + ok, "response 1 200; closed 1 failed 1"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.what);
    Scripted client(false);
    static_cast<void>(client.session->connect({.authority = "10.0.0.1:80"}));
    static_cast<void>(client.sent());
    REQUIRE(client.feed(one.bytes));
    CHECK(client.told.take() == one.told);
    CHECK(client.sent_text() == "RST_STREAM/0@1[4]");
  }
}

TEST_CASE("interim answers are passed over") {
  Scripted client(false);
  static_cast<void>(client.session->connect({.authority = "10.0.0.1:80"}));
  const std::string interim = frame(kHeaders, kEndHeaders, 1, header_block({{":status", "100"}, {"baggage", "a=b"}}));
  REQUIRE(client.feed(interim + interim + frame(kHeaders, kEndHeaders, 1, header_block({{":status", "204"}}))));
  CHECK(client.told.take() == "response 1 204");
}

TEST_CASE("a refusal with a body ends the stream at its head") {
  Scripted client(false);
  static_cast<void>(client.session->connect({.authority = "10.0.0.1:80"}));
  static_cast<void>(client.sent());
  REQUIRE(client.feed(frame(kHeaders, kEndHeaders, 1, header_block({{":status", "403"}})) +
                      frame(kData, kEndStream, 1, "no")));
  CHECK(client.told.take() == "response 1 403; closed 1 finished 0");
  CHECK(client.sent_text() == "RST_STREAM/0@1[4]");
}

TEST_CASE("what breaks the connection is answered with GOAWAY") {
  struct Case {
    std::string_view what;
    bool is_server;
    std::string bytes;
    std::uint32_t code;
  };
  const Case cases[] = {
      {"data on a stream that is not open", true, frame(kData, 0, 1, "x"), kProtocolError},
      {"data on no stream", true, frame(kData, 0, 0, "x"), kProtocolError},
      {"request on an even stream", true, connect_frame(2), kProtocolError},
      {"request on no stream", true, connect_frame(0), kProtocolError},
      {"request to a client", false, connect_frame(2), kProtocolError},
      {"header block that does not decode", true, frame(kHeaders, kEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), 9},
      {"header block that is interrupted", true, frame(kHeaders, 0, 1, "") + frame(kPing, 0, 0, "12345678"),
       kProtocolError},
      {"continuation of nothing", true, frame(kContinuation, kEndHeaders, 1, ""), kProtocolError},
      {"promise to a server", true, frame(kPushPromise, kEndHeaders, 1, u32(2)), kProtocolError},
      {"promise to a client", false, frame(kPushPromise, kEndHeaders, 1, u32(2)), kProtocolError},
      {"frame that is too large", true, std::string("\x10\x00\x01\x00\x00\x00\x00\x00\x01", 9), 6},
      {"short PING", true, frame(kPing, 0, 0, "1234567"), 6},
      {"PING on a stream", true, frame(kPing, 0, 1, "12345678"), kProtocolError},
      {"SETTINGS on a stream", true, frame(kSettings, 0, 1, ""), kProtocolError},
      {"SETTINGS that are cut", true, frame(kSettings, 0, 0, "12345"), 6},
      {"SETTINGS answered that were not sent", true, frame(kSettings, kAck, 0), kProtocolError},
      {"frame size below the least", true, frame(kSettings, 0, 0, setting(5, 16'383)), kProtocolError},
      {"window above the largest", true, frame(kSettings, 0, 0, setting(4, 0x80000000)), kFlowControlError},
      {"window update of nothing", true, frame(kWindowUpdate, 0, 0, u32(0)), kProtocolError},
      {"reset of a stream that is not open", true, frame(kReset, 0, 1, u32(8)), kProtocolError},
      {"padding longer than the frame", true,
       connect_frame(1) + frame(kData, kPadded, 1,
                                "\x05"
                                "abcd"),
       kProtocolError},
      {"data behind the end", true, connect_frame(1, kEndHeaders | kEndStream) + frame(kData, 0, 1, "x"), 5},
      {"GOAWAY that names a stream of the sender's", false, frame(kGoAway, 0, 0, u32(2) + u32(0)), kProtocolError},
  };
  for (const Case& one : cases) {
    CAPTURE(one.what);
    Scripted session(one.is_server);
    CHECK_FALSE(session.feed(one.bytes));
    CHECK(session.session->failure() == SessionFailure::Protocol);
    const auto sent = session.sent();
    REQUIRE_FALSE(sent.empty());
    REQUIRE(sent.back().type == kGoAway);
    CHECK(sent.back().number(4) == one.code);
    CHECK(session.session->live_streams() == 0);
  }
}

TEST_CASE("a preface that is not one fails the connection") {
  using namespace std::string_view_literals;
  const std::string_view cases[] = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n"sv,
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"sv,
      "\x16\x03\x01\x02\x00\x01"sv,
      "\0\0\0\x04\0\0\0\0\0"sv,
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0"
      "12345678"sv,
  };
  for (const std::string_view bytes : cases) {
    for (const std::size_t portion : {std::size_t{1}, bytes.size()}) {
      CAPTURE(bytes, portion);
      const auto server = Session::server({}, kStartMs);
      Recorder told;
      bool is_alive = true;
      for (std::size_t at = 0; at < bytes.size() && is_alive; at += portion)
        is_alive = server->receive(as_bytes(bytes.substr(at, portion)), kStartMs, told);
      CHECK_FALSE(is_alive);
      CHECK(server->failure() == SessionFailure::Protocol);
    }
  }
  const auto client = Session::client({}, kStartMs);
  Recorder told;
  CHECK_FALSE(client->receive(as_bytes("HTTP/1.1 400 Bad Request\r\n\r\n"sv), kStartMs, told));
  CHECK(client->failure() == SessionFailure::Protocol);
}

TEST_CASE("frames of unknown types are passed over") {
  Scripted server(true);
  REQUIRE(server.feed(frame(0xfa, 0xff, 0, std::string(16'384, 'x')) + frame(10, 0, 0, "altsvc") +
                      frame(12, 0, 0, "origin") + frame(16, 0, 0, u32(1) + "u=3") +
                      frame(kPriority, 0, 1, u32(0) + "\x10") + connect_frame(1)));
  CHECK(server.told.take() == "connect 1 10.0.0.1:80");
  CHECK(server.sent().empty());
}
