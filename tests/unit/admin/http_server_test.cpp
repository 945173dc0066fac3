// SPDX-License-Identifier: Apache-2.0
// The HTTP server against clients that are slow, many, greedy, early or wrong.
#include <memory>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "admin/http_server.hpp"
#include "client.hpp"
#include "core/socket.hpp"

namespace culvert::admin {
namespace {

struct Fixture {
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  std::unique_ptr<HttpServer> server;
  std::uint16_t port = 0;
  std::vector<HttpRequest> requests;
  std::vector<HttpReply> held;
  std::string body = "hello\n";
  bool holds = false;

  explicit Fixture(HttpServer::Options options = {}) {
    auto listener = tcp_listener(Endpoint{IpAddress::parse("127.0.0.1").value(), 0}, {.is_reuseport = false}).value();
    port = local_endpoint(listener.get()).value().port;
    server =
        HttpServer::start(std::move(listener), options, *reactor, [this](const HttpRequest& request, HttpReply reply) {
          requests.push_back(request);
          if (holds) return held.push_back(std::move(reply));
          reply.send({.status = 200, .content_type = "text/plain", .body = body});
        }).value();
  }
  Client client() { return {*reactor, port}; }
  void turns(int count = 20) {
    for (int i = 0; i < count; ++i) reactor->turn(1);
  }
};

constexpr const char* kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("one connection serves many requests, also when they come all at once") {
  Fixture fixture;
  auto client = fixture.client();
  for (int i = 0; i < 3; ++i) CHECK(body_of(client.ask(kGet)) == "hello\n");
  client.write(std::string(kGet) + kGet + kGet);
  for (int i = 0; i < 3; ++i) CHECK(status_of(client.read_answer()) == 200);
  CHECK(fixture.requests.size() == 6);
  CHECK(fixture.server->connections() == 1);
}

TEST_CASE("a request may come byte by byte") {
  Fixture fixture({.body_bytes_max = 100});
  auto client = fixture.client();
  for (const char c : std::string_view("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")) {
    client.write({&c, 1});
    fixture.reactor->turn(0);
  }
  CHECK(status_of(client.read_answer()) == 200);
  REQUIRE(fixture.requests.size() == 1);
  CHECK(fixture.requests[0].body == "abcde");
}

TEST_CASE("a HEAD request gets the head alone") {
  Fixture fixture;
  auto client = fixture.client();
  client.write("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string answer = client.read_answer(1'000, false);
  CHECK(answer.find("Content-Length: 6\r\n") != std::string::npos);
  CHECK(answer.ends_with("\r\n\r\n"));
  CHECK(body_of(client.ask(kGet)) == "hello\n");
}

TEST_CASE("a client that asks to be told first is told to go on") {
  Fixture fixture({.body_bytes_max = 100});
  auto client = fixture.client();
  client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  CHECK(client.read_answer() == "HTTP/1.1 100 Continue\r\n\r\n");
  CHECK(status_of(client.ask("ok")) == 200);
}

TEST_CASE("a malformed request is answered in JSON and the connection is closed") {
  Fixture fixture;
  auto client = fixture.client();
  const std::string answer = client.ask("NONSENSE\r\n\r\n");
  CHECK(status_of(answer) == 400);
  CHECK(body_of(answer) == "{\"error\":\"the request line is malformed\"}\n");
  client.close();
  fixture.turns();
  CHECK(fixture.server->connections() == 0);
  CHECK(fixture.requests.empty());
}

TEST_CASE("an oversized body is refused before it is read, and the answer survives what the client still sends") {
  Fixture fixture({.body_bytes_max = 10});
  auto client = fixture.client();
  client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  client.write(std::string(100'000, 'z'));
  CHECK(status_of(client.read_answer()) == 413);
}

TEST_CASE("garbage in any amount closes its connection and nothing else") {
  Fixture fixture;
  auto good = fixture.client();
  for (int round = 0; round < 50; ++round) {
    auto bad = fixture.client();
    std::string garbage;
    for (int i = 0; i < 20'000; ++i) garbage += static_cast<char>((i * 7919 + round * 104729) % 251);
    bad.write(garbage);
    CHECK(bad.is_closed_within(20'000));
  }
  CHECK(status_of(good.ask(kGet)) == 200);
}

TEST_CASE("an answer of megabytes, more than the socket takes at once, arrives whole") {
  Fixture fixture;
  for (int i = 0; i < 400'000; ++i) fixture.body += std::to_string(i);
  auto client = fixture.client();
  const bool is_whole = body_of(client.ask(kGet)) == fixture.body;
  CHECK(is_whole);
}

TEST_CASE("a client that does not read its answer is closed") {
  Fixture fixture({.stall_ms = 100});
  fixture.body = std::string(16U << 20U, 'x');
  auto client = fixture.client();
  client.shrink_receive_buffer();
  client.write(kGet);
  const std::uint64_t until = monotonic_ms() + 20'000;
  while (fixture.server->connections() != 0 && monotonic_ms() < until) fixture.reactor->turn(10);
  CHECK(fixture.requests.size() == 1);
  CHECK(fixture.server->connections() == 0);
}

TEST_CASE("a client that does not finish its request is closed, however busy it looks") {
  Fixture fixture({.request_ms = 200});
  auto client = fixture.client();
  client.write("GET / HTTP/1.1\r\n");
  const std::uint64_t started = monotonic_ms();
  while (monotonic_ms() < started + 20'000 && client.write("a: b\r\n") && !client.is_closed_within(20)) {}
  CHECK(monotonic_ms() - started < 10'000);
  CHECK(fixture.requests.empty());
}

TEST_CASE("an idle connection is closed after its time") {
  Fixture fixture({.request_ms = 5'000, .idle_ms = 100});
  auto client = fixture.client();
  CHECK(status_of(client.ask(kGet)) == 200);
  CHECK(client.is_closed_within(20'000));
}

TEST_CASE("a later answer reaches its request, and only the first one counts") {
  Fixture fixture;
  fixture.holds = true;
  auto client = fixture.client();
  client.write(kGet);
  fixture.turns();
  REQUIRE(fixture.held.size() == 1);
  const HttpReply copy = fixture.held[0];
  fixture.held[0].send({.status = 201, .content_type = "text/plain", .body = "late", .allow = {}});
  copy.send({.status = 500, .content_type = "text/plain", .body = "twice", .allow = {}});
  CHECK(body_of(client.read_answer()) == "late");
  fixture.holds = false;
  CHECK(body_of(client.ask(kGet)) == "hello\n");
}

TEST_CASE("a handler that never answers costs a 504, and its answer after that is ignored") {
  Fixture fixture({.reply_ms = 100});
  fixture.holds = true;
  auto client = fixture.client();
  CHECK(status_of(client.ask(kGet)) == 504);
  fixture.holds = false;
  client.write(kGet);
  fixture.held.at(0).send({.status = 200, .content_type = "text/plain", .body = "too late", .allow = {}});
  CHECK(body_of(client.read_answer()) == "hello\n");
}

TEST_CASE("an answer to a client or a server that is gone is harmless") {
  Fixture fixture;
  fixture.holds = true;
  auto gone = fixture.client();
  gone.write(kGet);
  auto other = fixture.client();
  other.write(kGet);
  fixture.turns();
  gone.close();
  fixture.turns();
  REQUIRE(fixture.held.size() == 2);
  fixture.held[0].send({});
  fixture.server.reset();
  fixture.held[1].send({});
  fixture.turns();
  SUCCEED("nothing was touched");
}

TEST_CASE("when all places are taken the longest waiting client makes room") {
  Fixture fixture({.connections_max = 4});
  std::vector<Client> idle;
  for (int i = 0; i < 20; ++i) {
    idle.push_back(fixture.client());
    fixture.turns(3);
  }
  CHECK(fixture.server->connections() == 4);
  auto client = fixture.client();
  CHECK(status_of(client.ask(kGet)) == 200);
  CHECK(idle[0].is_closed_within(10'000));
  CHECK(status_of(idle[19].ask(kGet)) == 200);
}

TEST_CASE("after stop_accepting nobody new is served and the present ones finish") {
  Fixture fixture;
  fixture.holds = true;
  auto busy = fixture.client();
  auto idle = fixture.client();
  busy.write(kGet);
  fixture.turns();
  fixture.server->stop_accepting();
  CHECK(idle.is_closed_within(10'000));
  fixture.held.at(0).send({.status = 200, .content_type = "text/plain", .body = "done", .allow = {}});
  CHECK(body_of(busy.read_answer()) == "done");
  const UniqueFd late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage storage{};
  const socklen_t size = Endpoint{IpAddress::parse("127.0.0.1").value(), fixture.port}.to_sockaddr(storage);
  CHECK(::connect(late.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0);
}

}  // namespace culvert::admin
