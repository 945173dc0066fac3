// SPDX-License-Identifier: Apache-2.0
// Measurements, hidden: unit_hbone "[.bench]" in a release build. CPU time of this thread, both ends together.
#include <catch2/catch.hpp>

#include <array>
#include <cstdio>
#include <ctime>

#include <malloc.h>

#include "base/assert.hpp"
#include "support.hpp"

using namespace culvert;
using namespace culvert::hbone;
using namespace culvert::hbone::test;

namespace {

double cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Does what a proxy must, and keeps nothing.
class Quiet final : public Events {
 public:
  explicit Quiet(Session& session) noexcept : session_(session) {}
  void on_connect(StreamId stream, const ConnectRequest&) override { session_.respond(stream, 200, answer); }
  void on_response(StreamId, const ConnectResponse&) override {}
  void on_data(StreamId stream, ByteView data) override {
    session_.consume_connection(data.size());
    session_.consume_stream(stream, data.size());
  }
  void on_end(StreamId stream) override { session_.finish(stream); }
  void on_closed(StreamId, StreamEnd, std::uint32_t) override {}
  void on_writable(StreamId) override {}
  void on_go_away(std::uint32_t) override {}

  std::string_view answer =
      "k8s.cluster.name=Kubernetes,k8s.namespace.name=bank,k8s.deployment.name=ledger,service.name=ledger";

 private:
  Session& session_;
};

class Wire {
 public:
  std::unique_ptr<Session> client = Session::client({}, kStartMs);
  std::unique_ptr<Session> server = Session::server({}, kStartMs);
  Quiet client_told{*client};
  Quiet server_told{*server};
  std::vector<std::uint8_t> buffer = std::vector<std::uint8_t>(4U << 20U);

  Wire() { carry(); }
  void carry() {
    while (client->wants_write() || server->wants_write()) {
      move(*client, *server, server_told);
      move(*server, *client, client_told);
    }
  }
  StreamId open(std::uint64_t i) {
    const std::string trace =
        "00-0123456789abcdef0123456789abcdef-0123456789abcd" + std::to_string(10 + i % 90) + "-00";
    return client->connect(
        {.authority = "10.2.0.7:80",
         .baggage = "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart",
         .forwarded = "for=\"10.1.0.5:40001\"",
         .traceparent = trace});
  }
  void data(Session& from, Session& to, Events& told, StreamId stream, std::size_t payload) {
    const std::size_t framed = from.frame_data(stream, buffer, payload);
    CV_ASSERT(framed > 0 && to.receive(ByteView(buffer).first(framed), kStartMs, told));
  }

 private:
  void move(Session& from, Session& to, Events& told) {
    if (!from.wants_write()) return;
    const std::size_t count = from.take_control(buffer);
    CV_ASSERT(to.receive(ByteView(buffer).first(count), kStartMs, told));
  }
};

}  // namespace

TEST_CASE("cost of a stream", "[.bench]") {
  Wire wire;
  const auto once = [&](std::uint64_t i, bool has_data) {
    const StreamId stream = wire.open(i);
    CV_ASSERT(stream != kNoStream);
    wire.carry();
    if (has_data) {
      wire.data(*wire.client, *wire.server, wire.server_told, stream, 1);
      wire.data(*wire.server, *wire.client, wire.client_told, stream, 1);
    }
    wire.client->finish(stream);
    wire.carry();
    CV_ASSERT(wire.client->live_streams() == 0 && wire.server->live_streams() == 0);
  };
  for (const bool has_data : {false, true}) {
    constexpr int kCount = 200'000;
    for (std::uint64_t i = 0; i < 1'000; ++i) once(i, has_data);
    const double start = cpu_ns();
    for (std::uint64_t i = 0; i < kCount; ++i) once(i, has_data);
    std::printf("stream opened, answered, ended both ways%s: %.0f ns, both ends\n", has_data ? ", a byte each way" : "",
                (cpu_ns() - start) / kCount);
  }
}

TEST_CASE("cost of data", "[.bench]") {
  for (const std::size_t payload : {64U, 1'024U, 16'384U, 65'536U, 262'144U, 1'048'576U}) {
    Wire wire;
    const StreamId stream = wire.open(0);
    wire.carry();
    const std::size_t rounds = std::min<std::size_t>(1'000'000, (std::size_t{1} << 36U) / payload);
    const double start = cpu_ns();
    for (std::size_t i = 0; i < rounds; ++i) {
      wire.data(*wire.client, *wire.server, wire.server_told, stream, payload);
      wire.carry();
    }
    const double ns = (cpu_ns() - start) / static_cast<double>(rounds);
    std::printf("%zu bytes framed, parsed, consumed: %.0f ns, %.1f GB/s\n", payload, ns,
                static_cast<double>(payload) / ns);
  }
}

TEST_CASE("memory of idle streams", "[.bench]") {
  constexpr std::size_t kConnections = 50;
  for (const std::size_t streams : {1U, 20U, 100U}) {
    std::vector<std::unique_ptr<Wire>> wires;
    for (std::size_t i = 0; i < kConnections; ++i) {
      wires.push_back(std::make_unique<Wire>());
      wires.back()->buffer.shrink_to_fit();
    }
    const std::size_t before = ::mallinfo2().uordblks;
    for (const auto& wire : wires) {
      for (std::size_t i = 0; i < streams; ++i) {
        const StreamId stream = wire->open(i);
        wire->carry();
        wire->data(*wire->client, *wire->server, wire->server_told, stream, 1);
        wire->data(*wire->server, *wire->client, wire->client_told, stream, 1);
      }
    }
    std::printf("%zu streams on a connection: %zu bytes each, both ends\n", streams,
                (::mallinfo2().uordblks - before) / (kConnections * streams));
  }
  std::vector<std::unique_ptr<Session>> sessions;
  const std::size_t before = ::mallinfo2().uordblks;
  for (int i = 0; i < 100; ++i) {
    sessions.push_back(Session::client({}, kStartMs));
    static_cast<void>(take_all(*sessions.back()));
  }
  std::printf("a session without streams: %zu bytes\n", (::mallinfo2().uordblks - before) / 100);
}
