// SPDX-License-Identifier: Apache-2.0
// Records in the kernel at their limits: key updates, refused keys, what cannot be attached; and the openssl program as peer.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.hpp"
#include "kernel_support.hpp"
#include "tls/kernel_tls.hpp"
#include "tls/key_schedule.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using namespace std::string_literals;

TEST_CASE("the peer's KeyUpdate: followed where the kernel can, an end with KeyLimit where it cannot", "[kernel]") {
  for (const Cipher cipher : kCiphers) {
    if (!has(cipher)) continue;
    CAPTURE(to_string(cipher));
    Pair pair(cipher, user_plan(Engine::UserEvp), kernel_plan());
    RawPeer peer(std::move(pair.client));
    peer.send(23, "one");
    peer.update_key(false);
    peer.send(23, "two");
    CHECK(pair.server.can_rekey() == has_rekey());
    const Got got = receive_until(pair.server_end, pair.server, [](const Got& g) { return g.data.size() >= 6; });
    if (!has_rekey()) {
      CHECK(got.data == "one");
      CHECK(got.result.failure == IoFailure::KeyLimit);
      continue;
    }
    CHECK(got.data == "onetwo");
    CHECK(pair.server.rekeys() == 1);
    peer.update_key(true);
    peer.send(23, "three");
    CHECK(received(pair.server_end, pair.server, 5) == "three");
    CHECK(peer.receive().type == 22);
    peer.follow_key_update();
    CHECK(send_data(pair.server_end, pair.server, "answer").bytes == 6);
    CHECK(peer.receive().content == "answer");
  }
}

TEST_CASE("our own key limit: a KeyUpdate where the kernel can, an end at the hard limit where it cannot", "[kernel]") {
  EnginePlan plan = kernel_plan();
  plan.limits = {50, 100};
  Pair pair(Cipher::Aes128Gcm, plan, user_plan(Engine::UserIpsecMb));
  std::size_t sent = 0;
  for (int i = 0; i < 200; ++i) {
    const IoResult result = send_data(pair.client_end, pair.client, "0123456789");
    if (result.status == IoStatus::Error) {
      CHECK_FALSE(has_rekey());
      CHECK(result.failure == IoFailure::KeyLimit);
      CHECK(pair.client.tx_records() == 100);
      break;
    }
    sent += result.bytes;
  }
  CHECK(sent == (has_rekey() ? 2000 : 1000));
  CHECK(received(pair.server_end, pair.server, sent).size() == sent);
  if (has_rekey()) {
    CHECK(pair.client.rekeys() >= 3);
    CHECK(pair.server.rekeys() == pair.client.rekeys());
    both_ways(pair, 3'000'000);
  }
}

TEST_CASE("the count of records is made exact by the kernel's own number", "[kernel]") {
  EnginePlan plan = kernel_plan();
  plan.limits = {1000, 2000};
  Pair pair(Cipher::Aes128Gcm, plan, user_plan(Engine::UserIpsecMb));
  for (int i = 0; i < 700; ++i) REQUIRE(send_data(pair.client_end, pair.client, "x").bytes == 1);
  CHECK(pair.client.tx_records() >= 700);
  CHECK(kernel::tx_sequence(pair.client.fd(), Cipher::Aes128Gcm) == 700);
}

TEST_CASE("a socket on which the ULP cannot be attached goes on in user space", "[kernel]") {
  Authority authority;
  End client_end;
  End server_end(Engine::UserIpsecMb);
  auto [near, far] = tcp_pair();
  REQUIRE(kernel::attach_ulp(far.get()) == 0);  // a second time: EEXIST
  Handshaken both =
      handshake(client_end,
                std::move(*HandshakeSocket::client(std::move(near), client_options(authority.credentials(kClientId)))),
                server_end,
                std::move(*HandshakeSocket::server(std::move(far),
                                                   server_options(authority.credentials(kServerId), kernel_plan()))));
  REQUIRE(both.server.is_open());
  CHECK(both.server.tx_engine() != Engine::Kernel);
  CHECK(both.server.rx_engine() != Engine::Kernel);
  CHECK(send_data(server_end, both.server, "hello").bytes == 5);
  CHECK(received(client_end, both.client, 5) == "hello");
}

TEST_CASE("a refused sending key closes the connection: no clear text, no second way", "[kernel]") {
  if (has_rekey()) {
    WARN("does not apply: this kernel takes a second key");
    return;
  }
  Authority authority;
  End client_end;
  auto [near, far] = tcp_pair();
  End server_end;
  auto client = std::move(
      *HandshakeSocket::client(std::move(near), client_options(authority.credentials(kClientId), kernel_plan())));
  auto server = std::move(*HandshakeSocket::server(std::move(far), server_options(authority.credentials(kServerId))));
  REQUIRE(client.advance(client_end.context) == HandshakeSocket::Step::WantRead);
  wait_for(server.fd(), POLLIN);
  REQUIRE(server.advance(server_end.context) == HandshakeSocket::Step::WantRead);
  wait_for(client.fd(), POLLIN);
  REQUIRE(client.advance(client_end.context) == HandshakeSocket::Step::Done);
  // Somebody else's key is there already: the kernel answers EBUSY to ours.
  TrafficKeys keys;
  const std::string secret(32, 's');
  REQUIRE(install_secret(Cipher::Aes128Gcm, as_bytes(secret), keys));
  REQUIRE(kernel::install(client.fd(), kernel::Direction::Tx, Cipher::Aes128Gcm, keys) == 0);
  CHECK_FALSE(client.into_tunnel(client_end.context));
  CHECK(client.failure() == HandshakeFailure::RecordLayer);
  CHECK_THAT(client.failure_detail(), Catch::Contains("sending key"));
}

TEST_CASE("kernel records against the openssl program, both roles, every cipher", "[kernel]") {
  for (const Cipher cipher : kCiphers) {
    if (!has(cipher)) continue;
    CAPTURE(to_string(cipher));
    for (const auto role : {OpensslProgram::Role::Server, OpensslProgram::Role::Client}) {
      Authority authority;
      End end(Engine::UserIpsecMb);
      OpensslProgram program(authority, role, cipher);
      auto tunnel =
          role == OpensslProgram::Role::Server
              ? finish_alone(end,
                             std::move(*HandshakeSocket::client(
                                 program.connect(), client_options(authority.credentials(kClientId), kernel_plan()))))
              : finish_alone(end,
                             std::move(*HandshakeSocket::server(
                                 program.accept(), server_options(authority.credentials(kServerId), kernel_plan()))));
      REQUIRE(tunnel);
      CHECK(tunnel->tx_engine() == Engine::Kernel);
      CHECK(tunnel->rx_engine() == Engine::Kernel);
      CHECK(send_data(end, *tunnel, "from culvert\n").status == IoStatus::Ok);
      CHECK(program.wait_for_output("from culvert\n"));
      program.type("from openssl\n");  // behind two tickets, when it is the server
      CHECK(received(end, *tunnel, 13) == "from openssl\n");
      program.type("K\n");
      program.type("after\n");
      const Got got = receive_until(end, *tunnel, [](const Got& g) { return g.data.size() >= 6; });
      if (!has_rekey()) {
        CHECK(got.result.failure == IoFailure::KeyLimit);
        continue;
      }
      CHECK(got.data == "after\n");
      CHECK(tunnel->rekeys() == 2);
      CHECK(send_data(end, *tunnel, "with the next key\n").status == IoStatus::Ok);
      CHECK(program.wait_for_output("with the next key\n"));
      tunnel->send_close_notify(end.context);
      CHECK(program.wait_for_output(role == OpensslProgram::Role::Server ? "CONNECTION CLOSED" : "closed"));
    }
  }
}
