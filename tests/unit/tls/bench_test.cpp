// SPDX-License-Identifier: Apache-2.0
// Measurements, hidden: unit_tls "[.bench]" in a release build. CPU time of this thread, both ends together.
#include <catch2/catch.hpp>

#include <cstdio>
#include <ctime>

#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.hpp"
#include "support.hpp"
#include "tls/aead.hpp"
#include "tls/credential_contexts.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"
#include "tls/resumption.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;

namespace {

double cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

template <typename Work>
double us_each(int count, Work&& work) {
  const double start = cpu_us();
  for (int i = 0; i < count; ++i) work();
  return (cpu_us() - start) / count;
}

std::size_t heap_bytes() { return ::mallinfo2().uordblks; }

}  // namespace

TEST_CASE("cost of full handshakes", "[.bench]") {
  Authority authority;
  const auto client_credentials = authority.credentials(kClientId);
  const auto server_credentials = authority.credentials(kServerId);
  for (const char* groups : {"X25519", "P-256"}) {
    for (SSL_CTX* context :
         {client_credentials->contexts().client.get(), server_credentials->contexts().server.get()}) {
      REQUIRE(SSL_CTX_set1_groups_list(context, groups) == 1);
    }
    End client_end;
    End server_end;
    const auto once = [&] {
      const auto both =
          handshake(client_end, client_options(client_credentials), server_end, server_options(server_credentials));
      if (!both.server.is_open()) std::abort();
    };
    once();
    std::printf("%s: full handshake, both ends, sockets included: %.0f us\n", groups, us_each(300, once));
    const auto cold = [&] {
      client_end.context.trim();
      server_end.context.trim();
      once();
    };
    std::printf("%s: the same, nothing remembered: %.0f us\n", groups, us_each(300, cold));
  }
}

TEST_CASE("cost of resumed handshakes", "[.bench]") {
  Authority authority;
  const auto client_credentials = authority.credentials(kClientId);
  const auto server_credentials = authority.credentials(kServerId);
  End client_end;
  End server_end;
  ResumptionStore store;
  ResumptionIssuer issuer;
  auto client = client_options(client_credentials);
  auto server = server_options(server_credentials);
  client.resumption = &store;
  server.resumption = &issuer;
  const auto first = handshake(client_end, client, server_end, server);
  REQUIRE(store.keep(first.server_outcome.ticket, 600, static_cast<std::int64_t>(wall_us() / 1'000'000)));
  for (const char* groups : {"X25519", "P-256"}) {
    for (SSL_CTX* context :
         {client_credentials->contexts().client.get(), server_credentials->contexts().server.get()}) {
      REQUIRE(SSL_CTX_set1_groups_list(context, groups) == 1);
    }
    const auto once = [&] {
      if (!handshake(client_end, client, server_end, server).server_outcome.is_resumed) std::abort();
    };
    std::printf("%s: resumed handshake, both ends, sockets included: %.0f us\n", groups, us_each(1000, once));
  }
}

TEST_CASE("cost of parts of a handshake", "[.bench]") {
  Authority authority;
  const auto credentials = authority.credentials(kClientId);
  End end;
  std::printf("tcp_pair: %.1f us\n", us_each(500, [] { static_cast<void>(tcp_pair()); }));
  std::printf("SSL_new + free: %.1f us\n",
              us_each(2000, [&] { SslPtr(::SSL_new(credentials->contexts().client.get())); }));
  std::printf("secret to keys: %.1f us\n", us_each(2000, [] {
                TrafficKeys keys;
                const std::string secret(32, 'x');
                static_cast<void>(install_secret(Cipher::Aes128Gcm, as_bytes(secret), keys));
              }));
  std::printf("credentials from PEM: %.0f us\n",
              us_each(100, [&] { static_cast<void>(authority.credentials(kClientId)); }));
}

TEST_CASE("memory", "[.bench]") {
  Authority authority;
  std::vector<std::shared_ptr<const Credentials>> many;
  many.push_back(authority.credentials(kClientId));
  std::size_t before = heap_bytes();
  for (int i = 0; i < 100; ++i) many.push_back(authority.credentials(kClientId));
  std::printf("credentials: %zu bytes each\n", (heap_bytes() - before) / 100);
  End client_end;
  End server_end;
  static_cast<void>(
      handshake(client_end, client_options(many[0]), server_end, server_options(authority.credentials(kServerId))));
  std::vector<HandshakeSocket> waiting;
  std::vector<UniqueFd> peers;
  for (int i = 0; i < 100; ++i) {
    auto [near, far] = tcp_pair();
    waiting.push_back(std::move(*HandshakeSocket::client(std::move(near), client_options(many[0]))));
    peers.push_back(std::move(far));
  }
  before = heap_bytes();
  for (HandshakeSocket& one : waiting) static_cast<void>(one.advance(client_end.context));
  std::printf("client handshake after ClientHello: +%zu bytes each\n", (heap_bytes() - before) / 100);
  waiting.clear();
  std::printf("TunnelSocket: %zu bytes\n", sizeof(TunnelSocket));
}

TEST_CASE("throughput of records over loopback", "[.bench]") {
  for (const Engine engine : {Engine::UserEvp, Engine::UserIpsecMb}) {
    for (const std::size_t batch : {16U * 1024U, 64U * 1024U, 128U * 1024U, 256U * 1024U}) {
      Tunnels tunnels(user_plan(engine), user_plan(engine));
      const std::string data = pattern(batch);
      const std::size_t total = std::size_t{1} << 30U;
      std::size_t sent = 0;
      std::size_t arrived = 0;
      std::size_t stuck = 0;
      const double start = cpu_us();
      while (arrived < total) {
        if (tunnels.client.wants_write()) {
          ++stuck;
          static_cast<void>(tunnels.client.flush(tunnels.client_end.context));
        }
        if (!tunnels.client.wants_write() && sent < total)
          sent += send_data(tunnels.client_end, tunnels.client, data).bytes;
        arrived += tunnels.server.receive(tunnels.server_end.context, IoContext::kBatchBytesMax).bytes;
      }
      const double us = cpu_us() - start;
      std::printf("%s, %zu KiB: %.2f GB/s of one CPU (seal, send, receive, open), %zu flushes\n",
                  to_string(engine).data(), batch / 1024, static_cast<double>(total) / us / 1000, stuck);
    }
  }
}

TEST_CASE("cost of small messages over loopback", "[.bench]") {
  for (const Engine engine : {Engine::UserEvp, Engine::UserIpsecMb}) {
    Tunnels tunnels(user_plan(engine), user_plan(engine));
    const std::string data = pattern(64);
    const auto once = [&] {
      static_cast<void>(send_data(tunnels.client_end, tunnels.client, data));
      static_cast<void>(tunnels.server.receive(tunnels.server_end.context, IoContext::kBatchBytesMax));
    };
    const double us = us_each(100'000, once);
    std::printf("%s: 64 bytes sent and received: %.2f us\n", to_string(engine).data(), us);
  }
  auto [near, far] = tcp_pair();
  char buffer[128] = {};
  const double plain = us_each(100'000, [&] {
    static_cast<void>(::send(near.get(), buffer, 86, 0));
    static_cast<void>(::recv(far.get(), buffer, 128, 0));
  });
  std::printf("plain: 86 bytes sent and received: %.2f us\n", plain);
}
