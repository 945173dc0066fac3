// SPDX-License-Identifier: Apache-2.0
// Access-log lines, byte for byte, as tools that read ztunnel's logs expect them.
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "telemetry/log_format.hpp"

namespace culvert::telemetry {
namespace {

constexpr std::uint64_t kNow = 1'709'210'096'123'456;

Endpoint endpoint(const char* text) { return Endpoint::parse(text).value(); }

ConnectionLog tunnelled() {
  ConnectionLog connection;
  connection.direction = Direction::Outbound;
  connection.transport = Transport::Direct;
  connection.source = {.address = endpoint("10.1.0.5:40236"),
                       .workload = "client-7d4f",
                       .namespace_name = "default",
                       .identity = "spiffe://cluster.local/ns/default/sa/client",
                       .cluster = "Kubernetes"};
  connection.destination = {.address = endpoint("10.2.0.7:15008"),
                            .workload = "server-0",
                            .namespace_name = "shop",
                            .identity = "spiffe://cluster.local/ns/shop/sa/server",
                            .cluster = "Kubernetes"};
  connection.original_destination = endpoint("10.2.0.7:80");
  connection.authority = "10.2.0.7:80";
  connection.service = "cart.shop.svc.cluster.local";
  connection.bytes_sent = 78;
  connection.bytes_received = 1024;
  connection.duration_ms = 12;
  return connection;
}

std::string line(const ConnectionLog& connection, Format format) {
  std::string out;
  append_access_line(out, connection, kNow, format);
  return out;
}

}  // namespace

TEST_CASE("a completed tunnelled connection is one plain line in ztunnel's fields and order") {
  CHECK(
      line(tunnelled(), Format::Plain) ==
      "2024-02-29T12:34:56.123456Z\tinfo\taccess\tconnection complete\tsrc.addr=10.1.0.5:40236 "
      "src.workload=\"client-7d4f\" src.namespace=\"default\" "
      "src.identity=\"spiffe://cluster.local/ns/default/sa/client\" src.cluster=\"Kubernetes\" dst.addr=10.2.0.7:15008 "
      "dst.hbone_addr=10.2.0.7:80 dst.service=\"cart.shop.svc.cluster.local\" dst.workload=\"server-0\" "
      "dst.namespace=\"shop\" "
      "dst.identity=\"spiffe://cluster.local/ns/shop/sa/server\" dst.cluster=\"Kubernetes\" direction=\"outbound\" "
      "bytes_sent=78 bytes_recv=1024 duration=\"12ms\"\n");
}

TEST_CASE("the same connection is one JSON object with the fields flat") {
  CHECK(
      line(tunnelled(), Format::Json) ==
      R"({"level":"info","time":"2024-02-29T12:34:56.123456Z","scope":"access","message":"connection complete",)"
      R"("src.addr":"10.1.0.5:40236","src.workload":"client-7d4f","src.namespace":"default",)"
      R"("src.identity":"spiffe://cluster.local/ns/default/sa/client","src.cluster":"Kubernetes",)"
      R"("dst.addr":"10.2.0.7:15008","dst.hbone_addr":"10.2.0.7:80","dst.service":"cart.shop.svc.cluster.local","dst.workload":"server-0","dst.namespace":"shop",)"
      R"("dst.identity":"spiffe://cluster.local/ns/shop/sa/server","dst.cluster":"Kubernetes","direction":"outbound",)"
      R"("bytes_sent":78,"bytes_recv":1024,"duration":"12ms"})"
      "\n");
}

TEST_CASE("an opened connection is told of in the same fields, without what its end will tell") {
  for (const Format format : {Format::Plain, Format::Json}) {
    std::string opened;
    append_opened_line(opened, tunnelled(), kNow, format);
    std::string expected = line(tunnelled(), format);
    const auto replace = [&expected](std::string_view from, std::string_view to) {
      const auto at = expected.find(from);
      REQUIRE(at != std::string::npos);
      expected.replace(at, from.size(), to);
    };
    replace("connection complete", "connection opened");
    replace("info", "debug");
    replace(format == Format::Plain ? R"( bytes_sent=78 bytes_recv=1024 duration="12ms")"
                                    : R"(,"bytes_sent":78,"bytes_recv":1024,"duration":"12ms")",
            "");
    CHECK(opened == expected);
  }
}

TEST_CASE("unknown fields are left out, and a plaintext connection has no tunnel address") {
  ConnectionLog connection;
  connection.direction = Direction::Inbound;
  connection.source.address = endpoint("[2001:db8::5]:5000");
  connection.destination.address = endpoint("[2001:db8::7]:8080");
  connection.original_destination = connection.destination.address;
  connection.authority.clear();
  connection.service.clear();
  connection.duration_ms = 0;
  CHECK(line(connection, Format::Plain) ==
        "2024-02-29T12:34:56.123456Z\tinfo\taccess\tconnection complete\tsrc.addr=[2001:db8::5]:5000 "
        "dst.addr=[2001:db8::7]:8080 direction=\"inbound\" bytes_sent=0 bytes_recv=0 duration=\"0ms\"\n");
}

TEST_CASE("a failed connection is an error line that says why, in both formats") {
  auto connection = tunnelled();
  connection.reason = CloseReason::UpstreamRefused;
  connection.detail = "10.2.0.7:80: \"nobody\" listens";
  CHECK(level_of(connection) == Level::Error);
  const std::string plain = line(connection, Format::Plain);
  CHECK(plain.starts_with("2024-02-29T12:34:56.123456Z\terror\taccess\tconnection complete\t"));
  CHECK(plain.ends_with(
      R"( duration="12ms" error="connection failed: refused by the application: 10.2.0.7:80: \"nobody\" listens")"
      "\n"));
  const auto json = nlohmann::json::parse(line(connection, Format::Json));
  CHECK(json["error"] == "connection failed: refused by the application: 10.2.0.7:80: \"nobody\" listens");
  CHECK(json["level"] == "error");
}

TEST_CASE(
    "a connection that was refused before anything was opened for it failed, and that is a warning, in both formats") {
  for (const CloseReason reason : {CloseReason::SelfCall, CloseReason::NoRoute, CloseReason::UnknownDestination}) {
    auto connection = tunnelled();
    connection.reason = reason;
    CHECK(level_of(connection) == Level::Warn);
    CHECK(line(connection, Format::Plain)
              .starts_with("2024-02-29T12:34:56.123456Z\twarn\taccess\tconnection failed\tsrc.addr="));
    const auto json = nlohmann::json::parse(line(connection, Format::Json));
    CHECK(json["message"] == "connection failed");
    CHECK(json["level"] == "warn");
    CHECK(json["error"] == std::string(text(reason)));
  }
}

TEST_CASE("a drained connection logs the words that ztunnel uses") {
  auto connection = tunnelled();
  connection.reason = CloseReason::Drained;
  CHECK(line(connection, Format::Plain).find(R"(error="connection closed due to connection drain")") !=
        std::string::npos);
}

TEST_CASE("a line stays below its limit whatever the fields hold") {
  auto connection = tunnelled();
  const std::string hostile(100'000, '\x01');
  for (Party* party : {&connection.source, &connection.destination}) {
    party->workload = party->namespace_name = party->identity = party->cluster = hostile;
  }
  connection.reason = CloseReason::Internal;
  connection.detail = hostile;
  for (const Format format : {Format::Plain, Format::Json}) {
    const std::string text = line(connection, format);
    CHECK(text.size() <= kLineBytesMax);
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
    std::string message;
    append_message_line(message, Level::Info, hostile, kNow, format);
    CHECK(message.size() <= kLineBytesMax);
  }
  CHECK_NOTHROW(nlohmann::json::parse(line(connection, Format::Json)));
}

TEST_CASE("a question to DNS is told of in ztunnel's fields, under a target of its own") {
  const DnsLog question{"client-7d4f", "shop", "AAAA", "a\"b", "success", 2};
  std::string plain;
  append_dns_line(plain, question, kNow, Format::Plain);
  CHECK(plain ==
        "2024-02-29T12:34:56.123456Z\tdebug\tdns\tquestion answered\tsrc.workload=\"client-7d4f\" "
        "src.namespace=\"shop\" query=\"AAAA\" domain=\"a\\\"b\" result=\"success\" endpoints=2\n");
  std::string json;
  append_dns_line(json, question, kNow, Format::Json);
  const auto read = nlohmann::json::parse(json);
  CHECK(read["scope"] == "dns");
  CHECK(read["domain"] == "a\"b");
  CHECK(read["endpoints"] == 2);
}

TEST_CASE("a message line has level, target and text") {
  std::string plain;
  append_message_line(plain, Level::Warn, "kernel TLS is missing\nmodprobe tls", kNow, Format::Plain);
  CHECK(plain == "2024-02-29T12:34:56.123456Z\twarn\tculvert\tkernel TLS is missing\\nmodprobe tls\n");
  std::string json;
  append_message_line(json, Level::Debug, "a \"b\"", kNow, Format::Json);
  CHECK(json == R"({"level":"debug","time":"2024-02-29T12:34:56.123456Z","scope":"culvert","message":"a \"b\""})"
                "\n");
}

TEST_CASE("level words are read back, others are refused") {
  Level level = Level::Info;
  for (const Level each : {Level::Debug, Level::Info, Level::Warn, Level::Error}) {
    REQUIRE(parse(to_string(each), level));
    CHECK(level == each);
  }
  CHECK_FALSE(parse("INFO", level));
  CHECK_FALSE(parse("off", level));
  CHECK_FALSE(parse("", level));
}

}  // namespace culvert::telemetry
