// SPDX-License-Identifier: Apache-2.0
// The local port: ztunnel's paths, methods and statuses, and who is not answered.
#include <array>
#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "admin/local_routes.hpp"
#include "admin/server.hpp"
#include "client.hpp"
#include "fake_provider.hpp"

namespace culvert::admin {
namespace {

struct Fixture {
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  FakeProvider provider;
  std::unique_ptr<Server> server =
      Server::start({.socket_path = {}, .metrics = {}, .readiness = {}, .local_port = 0}, *reactor, provider).value();

  Client client() { return {*reactor, server->local_port()}; }
  std::string ask(const std::string& method, const std::string& target,
                  const std::string& fields = "Host: localhost:15000\r\n") {
    return client().ask(method + " " + target + " HTTP/1.1\r\n" + fields + "\r\n");
  }
  std::string post(const std::string& target) {
    return ask("POST", target, "Host: 127.0.0.1\r\nContent-Length: 0\r\n");
  }
  void turns() {
    for (int i = 0; i < 20; ++i) reactor->turn(1);
  }
};

}  // namespace

TEST_CASE("hosts that are this machine, and those that only lead to it") {
  for (const char* host : {"localhost", "localhost:15000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:15000"}) {
    INFO(host);
    CHECK(is_local_host(host));
    CHECK(is_local_origin(std::string("http://") + host));
  }
  for (const char* host : {"", "evil.example", "localhost.evil.example", "evil.example:15000", "127.0.0.1.evil",
                           "localhost:", "localhost:x", "localhost:123456", "10.0.0.1", "::1", "[::1", "[::1]x",
                           "localhost@evil", ":15000", "127.0.0.2"}) {
    INFO(host);
    CHECK_FALSE(is_local_host(host));
    CHECK_FALSE(is_local_origin(std::string("http://") + host));
  }
  CHECK_FALSE(is_local_origin("null"));
  CHECK_FALSE(is_local_origin("https://evil.example"));
}

TEST_CASE("a browser's request by a foreign name or from a foreign page is refused, whatever it asks for") {
  Fixture fixture;
  for (const char* path : {"/", "/config_dump", "/quitquitquit", "/logging?level=debug", "/nothing"}) {
    for (const char* method : {"GET", "POST"}) {
      CHECK(status_of(fixture.ask(method, path, "Host: evil.example:15000\r\nContent-Length: 0\r\n")) == 403);
      CHECK(status_of(fixture.ask(method, path,
                                  "Host: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n")) == 403);
      CHECK(status_of(fixture.ask(method, path, "Host: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n")) == 403);
    }
  }
  CHECK(fixture.provider.shut_downs == 0);
  CHECK(fixture.provider.filter == telemetry::LogFilter{});
  CHECK(status_of(fixture.ask("GET", "/", "Host: localhost\r\nOrigin: http://localhost:15000\r\n")) == 200);
}

TEST_CASE("paths answer to the methods that ztunnel takes") {
  Fixture fixture;
  CHECK(fixture.ask("GET", "/").find("Content-Type: text/html") != std::string::npos);
  CHECK(status_of(fixture.ask("PUT", "/", "Host: localhost\r\nContent-Length: 0\r\n")) == 200);
  for (const char* path : {"/logging", "/quitquitquit"}) {
    const std::string answer = fixture.ask("GET", path);
    CHECK(status_of(answer) == 405);
    CHECK(answer.find("\r\nAllow: POST\r\n") != std::string::npos);
  }
  for (const char* path : {"/metrics", "/v1/status", "/config_dump/", "/healthz/ready"})
    CHECK(status_of(fixture.ask("GET", path)) == 404);
  for (const char* path : {"/debug/pprof/heap", "/debug/pprof/heap/profiling?activate=true"})
    CHECK(status_of(fixture.ask("GET", path)) == 501);
  CHECK(body_of(fixture.ask("GET", "/debug/pprof/heap")).find("\nin use: ") != std::string::npos);
}

TEST_CASE("a CPU profile takes as long as was asked for, one at a time, and a client that goes makes room") {
  Fixture fixture;
  for (const char* query : {"seconds=0", "seconds=301", "seconds=", "seconds=2s", "frequency=1001", "frequency=-1"}) {
    INFO(query);
    CHECK(status_of(fixture.ask("GET", std::string("/debug/pprof/profile?") + query)) == 400);
  }
  {
    auto first = fixture.client();
    first.write("GET /debug/pprof/profile?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    fixture.turns();
    CHECK(status_of(fixture.ask("GET", "/debug/pprof/profile?seconds=1")) == 409);
  }
  fixture.turns();
  auto second = fixture.client();
  const std::uint64_t began_ms = monotonic_ms();
  second.write("GET /debug/pprof/profile?seconds=1&frequency=50 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  while (monotonic_ms() < began_ms + 900) fixture.reactor->turn(10);
  CHECK(second.read_answer(10).empty());
  while (monotonic_ms() < began_ms + 1'200) fixture.reactor->turn(10);
  const std::string answer = second.read_chunked();
  CHECK(status_of(answer) == 200);
  const std::string body = answer.substr(answer.find("\r\n\r\n") + 4);
  std::array<std::uint64_t, 5> head{};
  REQUIRE(body.size() > sizeof(head));
  std::memcpy(head.data(), body.data(), sizeof(head));
  CHECK(head == std::array<std::uint64_t, 5>{0, 3, 0, 20'000, 0});
  CHECK(body.find("/unit_admin\n") != std::string::npos);
}

TEST_CASE("the log level is shown, changed by scope and reset") {
  Fixture fixture;
  fixture.provider.filter_default = {.level = telemetry::Level::Warn};
  CHECK(body_of(fixture.post("/logging")) == "current log level is info\n");
  CHECK(body_of(fixture.post("/logging?level=debug")) == "current log level is debug\n");
  CHECK(body_of(fixture.post("/logging?level=access%3Doff")) == "current log level is debug,access=off\n");
  CHECK(body_of(fixture.post("/logging?level=ztunnel=error,access=info,ztunnel::xds=trace")) ==
        "current log level is debug,culvert=error,access=info\n");
  CHECK(body_of(fixture.post("/logging?reset")) == "current log level is warn\n");
  CHECK(body_of(fixture.post("/logging?level=access=error&reset")) == "current log level is warn,access=error\n");
  CHECK(body_of(fixture.post("/logging?reset=")) == "current log level is warn\n");
  const std::string answer = fixture.post("/logging?level=loud");
  CHECK(status_of(answer) == 400);
  CHECK(body_of(answer).find("\"loud\"") != std::string::npos);
  CHECK(body_of(answer).find("usage: POST /logging") != std::string::npos);
  CHECK(fixture.provider.filter == telemetry::LogFilter{.level = telemetry::Level::Warn});
}

TEST_CASE("quitquitquit is answered and then obeyed") {
  Fixture fixture;
  CHECK(body_of(fixture.post("/quitquitquit")) == "shutdown now\n");
  CHECK(fixture.provider.shut_downs == 1);
}

TEST_CASE("a dump comes in chunks, and the connection serves the next request") {
  Fixture fixture;
  for (int i = 0; i < 500; ++i) fixture.provider.store.upsert(workload("w" + std::to_string(i)));
  auto client = fixture.client();
  client.write("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string answer = client.read_chunked();
  CHECK(status_of(answer) == 200);
  CHECK(answer.find("\r\nContent-Type: application/json\r\n") != std::string::npos);
  const auto dump = nlohmann::json::parse(body_of(answer), nullptr, false);
  REQUIRE_FALSE(dump.is_discarded());
  CHECK(dump["workloads"].size() == 500);
  CHECK(status_of(client.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 200);
}

TEST_CASE("one dump at a time: another is told to wait until the first has ended, however it ends") {
  Fixture fixture;
  for (int i = 0; i < 20'000; ++i) fixture.provider.store.upsert(workload("w" + std::to_string(i)));
  {
    auto slow = fixture.client();
    slow.shrink_receive_buffer();
    slow.write("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
    fixture.turns();
    const std::string answer = fixture.ask("GET", "/config_dump");
    CHECK(status_of(answer) == 503);
    CHECK(body_of(answer).find("try again") != std::string::npos);
    CHECK(status_of(fixture.ask("GET", "/")) == 200);
  }
  fixture.turns();
  auto next = fixture.client();
  next.write("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(status_of(next.read_chunked()) == 200);
}

TEST_CASE("a dump whose client has gone while the workers were asked makes room for the next") {
  Fixture fixture;
  fixture.provider.holds_replies = true;
  {
    auto gone = fixture.client();
    gone.write("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
    fixture.turns();
    CHECK(status_of(fixture.ask("GET", "/config_dump")) == 503);
  }
  fixture.turns();
  REQUIRE(fixture.provider.held.size() == 1);
  fixture.provider.held[0](std::vector<telemetry::ConnectionLog>());
  fixture.provider.held.clear();
  fixture.provider.holds_replies = false;
  auto next = fixture.client();
  next.write("GET /config_dump HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(status_of(next.read_chunked()) == 200);
}

}  // namespace culvert::admin
