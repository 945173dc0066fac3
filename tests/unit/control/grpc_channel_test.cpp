// SPDX-License-Identifier: Apache-2.0
// Channels to a control plane that says nothing, over loopback: a server of a few frames, in plain text, which counts pings.
#include "control/grpc_channel.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <catch2/catch.hpp>

#include "base/unique_fd.hpp"
#include "control/istio_ca.hpp"
#include "proto/discovery.grpc.pb.h"

namespace culvert::control {
namespace {

using namespace std::chrono_literals;

// Takes one connection, answers SETTINGS and PING as HTTP/2 (RFC 9113) asks for, and everything else with silence.
class SilentServer {
 public:
  SilentServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_.get(), 4) == 0);
    REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~SilentServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    ::shutdown(connection_, SHUT_RDWR);
    thread_.join();
    ::close(connection_);
  }
  SilentServer(const SilentServer&) = delete;
  SilentServer& operator=(const SilentServer&) = delete;

  [[nodiscard]] std::string address() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::atomic<int> pings{0};
  std::atomic<int> requests{0};  // HEADERS

 private:
  [[nodiscard]] bool read(void* to, std::size_t size) const {
    return ::recv(connection_, to, size, MSG_WAITALL) == static_cast<ssize_t>(size);
  }
  void send(std::uint8_t type, std::uint8_t flags, const std::string& body) const {
    std::string frame{'\0', '\0', static_cast<char>(body.size()), static_cast<char>(type), static_cast<char>(flags)};
    frame += std::string(4, '\0') + body;
    static_cast<void>(::send(connection_, frame.data(), frame.size(), MSG_NOSIGNAL));
  }
  void serve() {
    connection_ = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    std::array<char, 24> preface{};
    if (connection_ < 0 || !read(preface.data(), preface.size())) return;
    send(4, 0, {});
    std::array<std::uint8_t, 9> head{};
    while (read(head.data(), head.size())) {
      std::string body(static_cast<std::size_t>(head[0]) << 16U | static_cast<std::size_t>(head[1]) << 8U | head[2],
                       '\0');
      if (!body.empty() && !read(body.data(), body.size())) return;
      const bool is_answer = (head[4] & 1U) != 0;
      if (head[3] == 1) ++requests;
      if (head[3] == 4 && !is_answer) send(4, 1, {});
      if (head[3] == 6 && !is_answer) {
        ++pings;
        send(6, 1, body);
      }
    }
  }

  UniqueFd listener_;
  int connection_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

template <typename Condition>
bool comes_true(Condition condition, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

TEST_CASE("a stream on which nobody says anything is watched for ever, not for two pings") {
  SilentServer server;
  GrpcEndpoint endpoint;
  endpoint.address = server.address();
  endpoint.keepalive_ms = 1'000;
  auto channel = make_channel(endpoint);
  REQUIRE(channel);
  const auto stub = envoy::service::discovery::v3::AggregatedDiscoveryService::NewStub(*channel);
  grpc::ClientContext context;
  const auto stream = stub->DeltaAggregatedResources(&context);
  std::thread reader([&] {
    envoy::service::discovery::v3::DeltaDiscoveryResponse response;
    static_cast<void>(stream->Read(&response));
  });
  CHECK(comes_true([&] { return server.pings >= 4; }, 15s));
  context.TryCancel();
  reader.join();
  static_cast<void>(stream->Finish());
}

TEST_CASE("a CA client that goes while its call is under way posts nothing any more") {
  SilentServer server;
  std::atomic<int> posted{0};
  auto witness = std::make_shared<int>(0);
  const std::weak_ptr<int> call = witness;
  {
    IstioCa::Options options;
    options.endpoint.address = server.address();
    options.endpoint.token.clear();
    IstioCa ca(std::move(options), [&](const std::function<void()>&) { ++posted; }, [] { return std::int64_t{0}; });
    ca.request(SpiffeId::make("cluster.local", "shop", "cart").value(),
               [witness = std::move(witness)](const auto&) { FAIL("a reply after the end"); });
    REQUIRE(comes_true([&] { return server.requests >= 1; }, 10s));
  }
  // The library lets go of the call when it has told that it was cancelled.
  CHECK(comes_true([&] { return call.expired(); }, 10s));
  CHECK(posted == 0);
}

}  // namespace
}  // namespace culvert::control
