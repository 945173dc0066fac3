// SPDX-License-Identifier: Apache-2.0
// Answers that are made as they are taken.
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "admin/http_server.hpp"
#include "client.hpp"
#include "core/socket.hpp"

namespace culvert::admin {
namespace {

// `pieces` pieces of `piece_bytes` letters.
struct Letters : BodySource {
  Letters(int pieces_, std::size_t piece_bytes_, int& made_, bool& is_alive_)
      : pieces(pieces_), piece_bytes(piece_bytes_), made(made_), is_alive(is_alive_) {
    is_alive = true;
  }
  ~Letters() override { is_alive = false; }
  bool next(std::string& out) override {
    if (made < pieces) out.append(piece_bytes, static_cast<char>('a' + made % 26));
    return ++made < pieces;
  }
  int pieces;
  std::size_t piece_bytes;
  int& made;
  bool& is_alive;
};

struct Fixture {
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  std::unique_ptr<HttpServer> server;
  std::uint16_t port = 0;
  int pieces = 3;
  std::size_t piece_bytes = 10;
  int made = 0;
  bool is_alive = false;

  explicit Fixture(HttpServer::Options options = {}) {
    auto listener = tcp_listener(Endpoint{IpAddress::parse("127.0.0.1").value(), 0}, {.is_reuseport = false}).value();
    port = local_endpoint(listener.get()).value().port;
    server = HttpServer::start(std::move(listener), options, *reactor,
                               [this](const HttpRequest& request, const HttpReply& reply) {
                                 HttpResponse response;
                                 if (request.path == "/stream") {
                                   made = 0;
                                   response.source = std::make_unique<Letters>(pieces, piece_bytes, made, is_alive);
                                 } else {
                                   response.body = "hello\n";
                                 }
                                 reply.send(std::move(response));
                               })
                 .value();
  }
  Client client() { return {*reactor, port}; }
};

constexpr const char* kStream = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("pieces arrive as chunks, in order and whole, and the next request follows") {
  Fixture fixture;
  auto client = fixture.client();
  client.write(kStream);
  const std::string answer = client.read_chunked();
  CHECK(answer.find("\r\nTransfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(answer.find("Content-Length") == std::string::npos);
  CHECK(body_of(answer) == "aaaaaaaaaabbbbbbbbbbcccccccccc");
  CHECK_FALSE(fixture.is_alive);
  CHECK(body_of(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == "hello\n");
}

TEST_CASE("a source without a byte is an empty body") {
  Fixture fixture;
  fixture.pieces = 0;
  auto client = fixture.client();
  client.write(kStream);
  CHECK(body_of(client.read_chunked()).empty());
  CHECK(body_of(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == "hello\n");
}

TEST_CASE("to a client of HTTP/1.0 the end of the connection ends the body") {
  Fixture fixture;
  auto client = fixture.client();
  client.write("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  std::string answer = client.read_answer(10'000, false);
  CHECK(answer.find("Transfer-Encoding") == std::string::npos);
  CHECK(answer.find("\r\nConnection: close\r\n") != std::string::npos);
  while (!client.is_closed_within(10)) {}
  CHECK(client.read_answer(10, false) == "aaaaaaaaaabbbbbbbbbbcccccccccc");
}

TEST_CASE("a HEAD request makes no body") {
  Fixture fixture;
  auto client = fixture.client();
  client.write("HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(status_of(client.read_answer(1'000, false)) == 200);
  CHECK(fixture.made == 0);
  CHECK_FALSE(fixture.is_alive);
  CHECK(body_of(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == "hello\n");
}

TEST_CASE("no more is made than the client takes, and others are served meanwhile") {
  Fixture fixture;
  fixture.pieces = 100'000;
  fixture.piece_bytes = 32'768;
  auto slow = fixture.client();
  slow.shrink_receive_buffer();
  slow.write(kStream);
  for (int i = 0; i < 500; ++i) fixture.reactor->turn(0);
  const int made = fixture.made;
  CHECK(made < 500);  // of the kernel's buffers, one of 4 MiB at most
  for (int i = 0; i < 500; ++i) fixture.reactor->turn(0);
  CHECK(fixture.made == made);
  auto other = fixture.client();
  CHECK(body_of(other.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) == "hello\n");
  slow.close();
  for (int i = 0; i < 20; ++i) fixture.reactor->turn(1);
  CHECK_FALSE(fixture.is_alive);
}

TEST_CASE("a fast client gets one piece in a turn, so that it holds up nobody") {
  Fixture fixture;
  fixture.pieces = 100'000;
  auto client = fixture.client();
  client.write(kStream);
  for (int i = 0; i < 50; ++i) fixture.reactor->turn(1);
  CHECK(fixture.made <= 60);
  CHECK(fixture.made > 10);
}

TEST_CASE("a client that takes a little now and then is closed when its time is over") {
  Fixture fixture({.stall_ms = 10'000, .stream_ms = 300});
  fixture.pieces = 1'000'000;
  fixture.piece_bytes = 32'768;
  auto client = fixture.client();
  client.shrink_receive_buffer();
  client.write(kStream);
  const std::uint64_t started = monotonic_ms();
  while (fixture.server->connections() != 0 && monotonic_ms() < started + 20'000) {
    static_cast<void>(client.read_answer(20, false));
  }
  CHECK(fixture.server->connections() == 0);
  CHECK_FALSE(fixture.is_alive);
  CHECK(monotonic_ms() - started < 10'000);
}

}  // namespace culvert::admin
