// SPDX-License-Identifier: Apache-2.0
// Ports that another process has: waited for, told of, and served once they are free.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "admin/port_server.hpp"
#include "admin/server.hpp"
#include "base/clock.hpp"
#include "client.hpp"
#include "core/socket.hpp"
#include "fake_provider.hpp"

namespace culvert::admin {
namespace {

struct Squatter {
  UniqueFd fd = tcp_listener(Endpoint{IpAddress::parse("127.0.0.1").value(), 0}, {.is_reuseport = false}).value();
  Endpoint address = local_endpoint(fd.get()).value();
};

struct Fixture {
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  FakeProvider provider;
  std::vector<std::pair<telemetry::Level, std::string>> told;
  PortServer::Tell tell = [this](telemetry::Level level, const std::string& text) { told.emplace_back(level, text); };

  template <typename Condition>
  bool wait_for(Condition condition) {
    const std::uint64_t deadline_ms = monotonic_ms() + 20'000;
    while (!condition() && monotonic_ms() < deadline_ms) reactor->turn(50);
    return condition();
  }
};

}  // namespace

TEST_CASE("a port that is taken is waited for, told of twice, and counts as pending until it is there") {
  Fixture fixture;
  Squatter one;
  Squatter two;
  auto server =
      Server::start({.socket_path = {}, .metrics = one.address, .readiness = two.address, .tell = fixture.tell},
                    *fixture.reactor, fixture.provider)
          .value();
  CHECK(server->pending() == std::vector<std::string>{"metrics listener", "readiness listener"});
  CHECK(server->metrics_port() == 0);
  REQUIRE(fixture.told.size() == 2);
  CHECK(server->notes() == std::vector<std::string>{fixture.told[0].second, fixture.told[1].second});
  CHECK(fixture.told[0].first == telemetry::Level::Warn);
  for (const char* part : {"metrics listener", "Address already in use", "free the port, or set admin.metrics"}) {
    CHECK_THAT(fixture.told[0].second, Catch::Contains(part));
  }
  CHECK_THAT(fixture.told[0].second, Catch::Contains(one.address.to_string()));

  one.fd.reset();
  REQUIRE(fixture.wait_for([&] { return server->metrics_port() != 0; }));
  CHECK(server->metrics_port() == one.address.port);
  CHECK(server->pending() == std::vector<std::string>{"readiness listener"});
  REQUIRE(fixture.told.size() == 3);
  CHECK(fixture.told[2] ==
        std::pair(telemetry::Level::Info, "the metrics listener has its port now: " + one.address.to_string()));
  two.fd.reset();
  REQUIRE(fixture.wait_for([&] { return server->readiness_port() != 0; }));
  CHECK(server->pending().empty());
  CHECK(server->notes().empty());
  Client client(*fixture.reactor, server->readiness_port());
  CHECK(status_of(client.get("/healthz/ready")) == 200);
}

TEST_CASE("whoever drains waits for no port") {
  Fixture fixture;
  Squatter squatter;
  auto server = Server::start({.socket_path = {}, .metrics = squatter.address, .readiness = {}, .tell = fixture.tell},
                              *fixture.reactor, fixture.provider)
                    .value();
  server->stop_accepting();
  squatter.fd.reset();
  const std::uint64_t until_ms = monotonic_ms() + 4 * PortServer::kRetryFirstMs;
  while (monotonic_ms() < until_ms) fixture.reactor->turn(50);
  CHECK(server->metrics_port() == 0);
}

TEST_CASE("an address that the node does not have is no address to wait for") {
  Fixture fixture;
  const auto server = Server::start({.socket_path = {},
                                     .metrics = Endpoint{IpAddress::parse("192.0.2.1").value(), 15020},
                                     .readiness = {},
                                     .tell = fixture.tell},
                                    *fixture.reactor, fixture.provider);
  REQUIRE_FALSE(server);
  CHECK_THAT(server.error().message(), Catch::Contains("metrics listener") && Catch::Contains("192.0.2.1:15020"));
}

TEST_CASE("nothing but a note depends on the local port, and it is waited for as well") {
  Fixture fixture;
  Squatter squatter;
  auto server = Server::start({.socket_path = {},
                               .metrics = {},
                               .readiness = {},
                               .local_port = squatter.address.port,
                               .tell = fixture.tell},
                              *fixture.reactor, fixture.provider)
                    .value();
  CHECK(server->pending().empty());
  REQUIRE_FALSE(server->notes().empty());
  CHECK_THAT(server->notes()[0], Catch::Contains(squatter.address.to_string()) && Catch::Contains("admin.local_port"));
  squatter.fd.reset();
  REQUIRE(fixture.wait_for([&] { return server->notes().empty(); }));
  Client client(*fixture.reactor, squatter.address.port);
  CHECK(status_of(client.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 200);
}

}  // namespace culvert::admin
