// SPDX-License-Identifier: Apache-2.0
// The admin server's three listeners with a fake agent behind them.
#include <string>

#include <sys/stat.h>

#include <fmt/format.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "admin/json_view.hpp"
#include "admin/server.hpp"
#include "client.hpp"
#include "fake_provider.hpp"

namespace culvert::admin {
namespace {

std::string temporary_directory() {
  char name[] = "/tmp/culvert-admin-test-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  return name;
}

struct Fixture {
  std::string directory = temporary_directory();
  std::string path = directory + "/run/admin.sock";
  std::unique_ptr<Reactor> reactor = Reactor::create().value();
  FakeProvider provider;
  std::unique_ptr<Server> server;

  Fixture() { server = start().value(); }
  ~Fixture() {
    server.reset();
    ::unlink(path.c_str());
    ::rmdir((directory + "/run").c_str());
    ::rmdir(directory.c_str());
  }
  Result<std::unique_ptr<Server>> start() {
    const Endpoint any{IpAddress::parse("127.0.0.1").value(), 0};
    return Server::start({.socket_path = path, .metrics = any, .readiness = any}, *reactor, provider);
  }
  Client admin() { return {*reactor, path}; }
  std::string post(const std::string& target, const std::string& body) {
    return admin().ask("POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
                       "\r\n\r\n" + body);
  }
};

}  // namespace

TEST_CASE("every read answers JSON") {
  Fixture fixture;
  fixture.provider.status_answer.node = "a";
  fixture.provider.pods_answer.resize(2);
  fixture.provider.workloads_answer.resize(3);
  fixture.provider.services_answer.resize(7);
  fixture.provider.connections_answer.resize(4);
  fixture.provider.certificates_answer.resize(5);
  fixture.provider.drops_answer.resize(6);
  auto client = fixture.admin();
  const auto body = [&](const char* path) {
    const std::string answer = client.get(path);
    INFO(answer);
    CHECK(status_of(answer) == 200);
    CHECK(answer.find("\r\nContent-Type: application/json\r\n") != std::string::npos);
    return nlohmann::json::parse(body_of(answer));
  };
  CHECK(body("/v1/status")["node"] == "a");
  CHECK(body("/v1/pods")["pods"].size() == 2);
  CHECK(body("/v1/workloads")["workloads"].size() == 3);
  CHECK(body("/v1/services")["services"].size() == 7);
  CHECK(body("/v1/connections")["connections"].size() == 4);
  CHECK(body("/v1/certificates")["certificates"].size() == 5);
  CHECK(body("/v1/drops")["drops"].size() == 6);
  const auto told = body("/v1/explain?source=shop%2Fcart&destination=pay%3A80");
  CHECK(told["outcome"] == "allowed");
  CHECK(told["steps"][0]["text"] == "shop/cart to pay:80");
  CHECK(told["steps"][0]["decided_by"] == "workload w");
  CHECK(status_of(client.get("/v1/explain")) == 404);
}

TEST_CASE("connections are listed for one pod, by its id or by the local workload, before the list is cut") {
  Fixture fixture;
  telemetry::ConnectionLog outbound;
  outbound.pod = "cni-1";
  outbound.direction = telemetry::Direction::Outbound;
  outbound.source.workload = "client";
  outbound.source.namespace_name = "default";
  outbound.destination.workload = "server";
  outbound.destination.namespace_name = "shop";
  auto inbound = outbound;
  inbound.pod = "cni-2";
  inbound.direction = telemetry::Direction::Inbound;
  fixture.provider.connections_answer.assign(kConnectionsListedMax, outbound);
  fixture.provider.connections_answer.push_back(inbound);
  const auto listed = [&](const std::string& pod) {
    return nlohmann::json::parse(body_of(fixture.admin().get("/v1/connections?pod=" + pod)));
  };
  for (const char* pod : {"cni-2", "server", "shop%2Fserver"}) {
    INFO(pod);
    CHECK(listed(pod)["total"] == 1);
    CHECK(listed(pod)["connections"][0]["pod"] == "cni-2");
  }
  CHECK(listed("default%2Fclient")["total"] == kConnectionsListedMax);
  CHECK(listed("other")["connections"].empty());
  CHECK(listed("")["total"] == kConnectionsListedMax + 1);
}

TEST_CASE("join passes the request on and answers the pod") {
  Fixture fixture;
  fixture.provider.join_answer->id = "p1";
  const std::string answer = fixture.post("/v1/pods", R"({"netns":"/run/netns/p1","service_account":"sa"})");
  CHECK(status_of(answer) == 200);
  CHECK(nlohmann::json::parse(body_of(answer))["id"] == "p1");
  REQUIRE(fixture.provider.joined.size() == 1);
  CHECK(fixture.provider.joined[0].netns_path == "/run/netns/p1");
  CHECK(fixture.provider.joined[0].service_account == "sa");
}

TEST_CASE("an error of the agent becomes a status and a text") {
  Fixture fixture;
  const struct {
    ErrorCode code;
    int status;
  } cases[] = {{ErrorCode::InvalidArgument, 400},
               {ErrorCode::PermissionDenied, 403},
               {ErrorCode::NotFound, 404},
               {ErrorCode::AlreadyExists, 409},
               {ErrorCode::ResourceExhausted, 503},
               {ErrorCode::Unavailable, 503},
               {ErrorCode::Unsupported, 501},
               {ErrorCode::System, 500},
               {ErrorCode::Timeout, 504}};
  for (const auto& one : cases) {
    fixture.provider.join_answer = fail(one.code, "no \"luck\"");
    const std::string answer = fixture.post("/v1/pods", R"({"netns":"/a"})");
    CHECK(status_of(answer) == one.status);
    CHECK(body_of(answer) == "{\"error\":\"no \\\"luck\\\"\"}\n");
  }
}

TEST_CASE("a join request that cannot be read does not reach the agent") {
  Fixture fixture;
  CHECK(status_of(fixture.post("/v1/pods", "{")) == 400);
  CHECK(status_of(fixture.post("/v1/pods", std::string(70'000, ' '))) == 413);
  CHECK(fixture.provider.joined.empty());
}

TEST_CASE("leave takes the id from the path") {
  Fixture fixture;
  CHECK(status_of(fixture.admin().ask("DELETE /v1/pods/cni%2d1 HTTP/1.1\r\nHost: x\r\n\r\n")) == 200);
  CHECK(fixture.provider.left == std::vector<std::string>{"cni-1"});
  fixture.provider.leave_answer = fail(ErrorCode::NotFound, "no pod x");
  CHECK(status_of(fixture.admin().ask("DELETE /v1/pods/x HTTP/1.1\r\nHost: x\r\n\r\n")) == 404);
  CHECK(status_of(fixture.admin().get("/v1/pods/x")) == 405);
}

TEST_CASE("the log level can be set, to a level that exists") {
  Fixture fixture;
  CHECK(status_of(fixture.post("/v1/log?level=debug", "")) == 200);
  CHECK(fixture.provider.levels == std::vector{telemetry::Level::Debug});
  const std::string answer = fixture.post("/v1/log?level=loud", "");
  CHECK(status_of(answer) == 400);
  CHECK(body_of(answer).find("debug, info, warn or error") != std::string::npos);
  CHECK(status_of(fixture.admin().get("/v1/log?level=debug")) == 405);
}

TEST_CASE("other paths are not found, and a wrong method is told the right ones") {
  Fixture fixture;
  for (const char* path : {"/", "/v1", "/v1/pods/", "/v1/statuses", "/metrics"})
    CHECK(status_of(fixture.admin().get(path)) == 404);
  const std::string answer = fixture.post("/v1/status", "");
  CHECK(status_of(answer) == 405);
  CHECK(answer.find("\r\nAllow: GET, HEAD\r\n") != std::string::npos);
}

TEST_CASE("connections that the workers report later are answered later") {
  Fixture fixture;
  fixture.provider.holds_replies = true;
  auto client = fixture.admin();
  client.write("GET /v1/connections HTTP/1.1\r\nHost: x\r\n\r\n");
  for (int i = 0; i < 20; ++i) fixture.reactor->turn(1);
  REQUIRE(fixture.provider.held.size() == 1);
  fixture.provider.held[0](std::vector<telemetry::ConnectionLog>(7));
  CHECK(nlohmann::json::parse(body_of(client.read_answer()))["total"] == 7);
}

TEST_CASE("culvertctl gets the dump that the local port gives, and hears when another is on its way") {
  Fixture fixture;
  fixture.provider.store.upsert(workload("one", "10.1.0.5"));
  auto client = fixture.admin();
  client.write("GET /v1/config_dump HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(nlohmann::json::parse(body_of(client.read_chunked()))["workloads"][0]["name"] == "one");
  CHECK(status_of(fixture.post("/v1/config_dump", "")) == 405);
  fixture.provider.holds_replies = true;
  client.write("GET /v1/config_dump HTTP/1.1\r\nHost: x\r\n\r\n");
  for (int i = 0; i < 20; ++i) fixture.reactor->turn(1);
  const std::string answer = fixture.admin().get("/v1/config_dump");
  CHECK(status_of(answer) == 503);
  CHECK(body_of(answer).find("another dump") != std::string::npos);
}

TEST_CASE("two thousand connections are listed whole") {
  Fixture fixture;
  fixture.provider.connections_answer.resize(2'000);
  CHECK(nlohmann::json::parse(body_of(fixture.admin().get("/v1/connections")))["connections"].size() == 2'000);
}

TEST_CASE("metrics are served at both paths as Prometheus text") {
  Fixture fixture;
  Client client(*fixture.reactor, fixture.server->metrics_port());
  for (const char* path : {"/metrics", "/stats/prometheus"}) {
    const std::string answer = client.get(path);
    CHECK(status_of(answer) == 200);
    CHECK(answer.find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n") != std::string::npos);
    CHECK(body_of(answer).find("istio_build{component=\"ztunnel\",tag=\"1.2.3\"} 1\n") != std::string::npos);
  }
  CHECK(status_of(client.get("/v1/status")) == 404);
  CHECK(status_of(client.get("/healthz/ready")) == 404);
}

TEST_CASE("metrics come in the format and the coding that the client asks for") {
  Fixture fixture;
  Client client(*fixture.reactor, fixture.server->metrics_port());
  const auto ask = [&](std::string_view fields) {
    return client.ask(fmt::format("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", fields));
  };
  std::string answer = ask("Accept: text/html\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.5\r\n");
  CHECK(answer.find("\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n") !=
        std::string::npos);
  CHECK(answer.find("\r\nVary: Accept, Accept-Encoding\r\n") != std::string::npos);
  CHECK(answer.find("Content-Encoding") == std::string::npos);
  CHECK(body_of(answer).ends_with("# EOF\n"));
  answer = ask("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n");
  CHECK(answer.find("\r\nContent-Encoding: gzip\r\n") != std::string::npos);
  CHECK(body_of(answer).starts_with("\x1f\x8b"));
  CHECK(status_of(ask("Accept-Encoding: identity;q=0\r\n")) == 406);
  CHECK(status_of(client.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")) == 405);
}

TEST_CASE("a scrape of many label sets is sent in parts, each in its own turn of the loop") {
  Fixture fixture;
  telemetry::LabelBudget budget(2'000);
  telemetry::TrafficTable table(budget);
  for (std::uint64_t i = 0; i < 2'000; ++i) {
    telemetry::TrafficKey key;
    key.source = i;
    table
        .intern(key, {telemetry::source_text({.workload = std::to_string(i)}), telemetry::service_text({}),
                      telemetry::destination_text({})})
        .opened.add();
  }
  const telemetry::TrafficTable* tables[] = {&table};
  fixture.provider.traffic_answer = telemetry::traffic_rows(tables);
  Client client(*fixture.reactor, fixture.server->metrics_port());
  client.write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  const std::string answer = client.read_chunked();
  CHECK(answer.find("\r\nTransfer-Encoding: chunked\r\n") != std::string::npos);
  CHECK(answer.find("Content-Length") == std::string::npos);
  const std::string body = body_of(answer);
  std::size_t opened = 0;
  for (std::size_t at = 0; (at = body.find("\nistio_tcp_connections_opened_total{", at)) != std::string::npos; ++at)
    ++opened;
  CHECK(opened == 2'000);
  CHECK(body.find("\nistio_build{") != std::string::npos);
  // The connection is as good as before.
  client.write("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(status_of(client.read_answer(10'000, false)) == 200);
  // HTTP/1.0 has no chunks: the end of the connection is the end.
  const std::string old = client.ask("GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(old.find("\r\nConnection: close\r\n") != std::string::npos);
  CHECK(client.read_to_end() == body);
}

TEST_CASE("readiness names what is pending, sorted, in ztunnel's words") {
  Fixture fixture;
  Client client(*fixture.reactor, fixture.server->readiness_port());
  std::string answer = client.get("/healthz/ready");
  CHECK(status_of(answer) == 200);
  CHECK(body_of(answer) == "ready\n");
  fixture.provider.pending = {"state manager", "proxy"};
  answer = client.get("/healthz/ready");
  CHECK(status_of(answer) == 500);
  CHECK(body_of(answer) == "not ready, pending: proxy, state manager\n");
  CHECK(status_of(client.get("/other")) == 404);
  CHECK(status_of(client.ask("POST /healthz/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")) == 405);
}

TEST_CASE("the admin socket is the owner's alone and its directory is made") {
  Fixture fixture;
  struct stat status{};
  REQUIRE(::lstat(fixture.path.c_str(), &status) == 0);
  CHECK(S_ISSOCK(status.st_mode));
  CHECK((status.st_mode & 0777) == 0600);
  fixture.server.reset();
  CHECK(::lstat(fixture.path.c_str(), &status) != 0);
}

TEST_CASE("a socket that another agent answers is left alone, an abandoned one is replaced, a file is never removed") {
  Fixture fixture;
  const auto second = fixture.start();
  REQUIRE_FALSE(second);
  CHECK_THAT(second.error().message(), Catch::Contains("another agent answers"));
  CHECK(status_of(fixture.admin().get("/v1/status")) == 200);

  const std::string abandoned = fixture.directory + "/run/abandoned";
  REQUIRE(::rename(fixture.path.c_str(), abandoned.c_str()) == 0);
  fixture.server.reset();
  REQUIRE(::rename(abandoned.c_str(), fixture.path.c_str()) == 0);
  fixture.server = fixture.start().value();
  CHECK(status_of(fixture.admin().get("/v1/status")) == 200);

  fixture.server.reset();
  REQUIRE(::mkdir(fixture.path.c_str(), 0700) == 0);
  const auto third = fixture.start();
  REQUIRE_FALSE(third);
  CHECK_THAT(third.error().message(), Catch::Contains("is not a socket"));
  ::rmdir(fixture.path.c_str());
}

TEST_CASE("somebody else's process is refused at the admin socket") {
  if (::geteuid() != 0) {
    WARN("SKIP: needs root to become somebody else");
    return;
  }
  Fixture fixture;
  REQUIRE(::chmod(fixture.path.c_str(), 0666) == 0);  // the check must not hang on the mode alone
  REQUIRE(::chmod(fixture.directory.c_str(), 0755) == 0);
  REQUIRE(::seteuid(65'534) == 0);
  auto client = fixture.admin();
  REQUIRE(::seteuid(0) == 0);
  const std::string answer = client.get("/v1/status");
  CHECK(status_of(answer) == 403);
}

TEST_CASE("draining closes metrics and readiness and leaves the admin socket") {
  Fixture fixture;
  Client metrics(*fixture.reactor, fixture.server->metrics_port());
  CHECK(status_of(metrics.get("/metrics")) == 200);
  fixture.server->stop_accepting();
  CHECK(metrics.is_closed_within(10'000));
  CHECK(status_of(fixture.admin().get("/v1/status")) == 200);
}

}  // namespace culvert::admin
