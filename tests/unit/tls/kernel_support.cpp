// SPDX-License-Identifier: Apache-2.0
#include "kernel_support.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <string_view>

#include <poll.h>

#include "base/clock.hpp"

namespace culvert::tls::test {

bool is_kernel_tls_required() {
  const char* value = std::getenv("CULVERT_KERNEL_TLS");
  return value != nullptr && std::string_view(value) == "required";
}

const EngineSupport& machine() {
  static const EngineSupport kSupport = probe_engines();
  return kSupport;
}

bool has(Cipher cipher) {
  const KernelCipherSupport& one = machine().kernel[static_cast<std::size_t>(cipher)];
  const bool works = one.tx && one.rx;
  if (!works && is_kernel_tls_required()) {
    FAIL_CHECK(to_string(cipher) << " has to work here: send " << one.tx << ", receive " << one.rx << ": "
                                 << one.detail);
  } else if (!works) {
    WARN("SKIP: " << to_string(cipher) << ": " << one.detail);
  }
  return works;
}
bool has_rekey() { return machine().kernel[0].tx_rekey && machine().kernel[0].rx_rekey; }

EnginePlan kernel_plan(EngineChoice tx, EngineChoice rx) { return plan_engines(machine(), tx, rx); }

void restrict(const std::shared_ptr<const Credentials>& credentials, Cipher cipher) {
  for (SSL_CTX* context : {credentials->contexts().client.get(), credentials->contexts().server.get()}) {
    REQUIRE(::SSL_CTX_set_ciphersuites(context, to_string(cipher).data()) == 1);
  }
}

Pair::Pair(Cipher cipher, const EnginePlan& client_plan, const EnginePlan& server_plan) {
  const auto client_credentials = authority.credentials(kClientId);
  const auto server_credentials = authority.credentials(kServerId);
  restrict(client_credentials, cipher);
  restrict(server_credentials, cipher);
  Handshaken both = handshake(client_end, client_options(client_credentials, client_plan), server_end,
                              server_options(server_credentials, server_plan));
  INFO(both.client_detail << " / " << both.server_detail);
  REQUIRE(both.client.is_open());
  REQUIRE(both.server.is_open());
  REQUIRE(both.client.cipher() == cipher);
  client = std::move(both.client);
  server = std::move(both.server);
}

void both_ways(Pair& pair, std::size_t size) {
  const std::string there = pattern(size, 3);
  const std::string back = pattern(size, 4);
  struct Flow {
    End& from_end;
    TunnelSocket& from;
    End& to_end;
    TunnelSocket& to;
    std::string_view left;
    const std::string& whole;
    std::size_t arrived = 0;
    bool is_equal = true;
  };
  Flow flows[] = {{pair.client_end, pair.client, pair.server_end, pair.server, there, there},
                  {pair.server_end, pair.server, pair.client_end, pair.client, back, back}};
  const std::uint64_t limit = monotonic_ms() + 240'000;
  while ((flows[0].arrived < size || flows[1].arrived < size) && monotonic_ms() < limit) {
    bool has_moved = false;
    for (Flow& flow : flows) {
      if (flow.from.wants_write()) REQUIRE(flow.from.flush(flow.from_end.context).status != IoStatus::Error);
      if (!flow.left.empty() && !flow.from.wants_write()) {
        const IoResult sent = send_data(flow.from_end, flow.from, flow.left.substr(0, 300'000));
        REQUIRE(sent.status != IoStatus::Error);
        flow.left.remove_prefix(sent.bytes);
        has_moved = has_moved || sent.bytes != 0;
      }
      const IoResult got = flow.to.receive(flow.to_end.context, IoContext::kBatchBytesMax);
      REQUIRE((got.status == IoStatus::Ok || got.status == IoStatus::WouldBlock));
      for (const Segment& segment : flow.to_end.context.segments()) {
        const auto text = as_text(segment.data);
        flow.is_equal = flow.is_equal && std::string_view(flow.whole).substr(flow.arrived, text.size()) == text;
        flow.arrived += text.size();
        has_moved = true;
      }
    }
    if (!has_moved) {
      pollfd entries[2] = {{pair.client.fd(), POLLIN, 0}, {pair.server.fd(), POLLIN, 0}};
      static_cast<void>(::poll(entries, 2, 5));
    }
  }
  CHECK(flows[0].arrived == size);
  CHECK(flows[1].arrived == size);
  CHECK(flows[0].is_equal);
  CHECK(flows[1].is_equal);
}

std::string received(End& end, TunnelSocket& socket, std::size_t size) {
  return receive_until(end, socket, [&](const Got& got) { return got.data.size() >= size; }).data;
}

}  // namespace culvert::tls::test
