// SPDX-License-Identifier: Apache-2.0
// KeyUpdate with records in user space: ours, the peer's, both at once, and too many.
#include <catch2/catch.hpp>

#include <poll.h>

#include "raw_peer.hpp"
#include "support.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using namespace std::string_literals;

namespace {

EnginePlan limited(std::uint32_t rekey, std::uint32_t hard, Engine engine = Engine::UserEvp) {
  EnginePlan plan = user_plan(engine);
  plan.limits = {rekey, hard};
  return plan;
}

const auto kNever = [](const Got&) { return false; };

}  // namespace

TEST_CASE("a sender changes its key before its limit, without a break in the data") {
  const Engine engine = GENERATE(Engine::UserEvp, Engine::UserIpsecMb);
  Tunnels tunnels(limited(100, 200, engine), limited(100, 200, engine));
  const std::string data = pattern(8'000'000);  // about 490 records
  CHECK((transfer(tunnels.client_end, tunnels.client, tunnels.server_end, tunnels.server, data) == data));
  CHECK(tunnels.client.rekeys() >= 4);
  CHECK(tunnels.server.rekeys() == tunnels.client.rekeys());
  CHECK(tunnels.client.tx_records() <= 100);
  CHECK((transfer(tunnels.server_end, tunnels.server, tunnels.client_end, tunnels.client, data) == data));
}

TEST_CASE("small records count as well as large ones") {
  Tunnels tunnels(limited(10, 20), limited(10, 20));
  for (int i = 0; i < 95; ++i) {
    CHECK(send_control(tunnels.client_end, tunnels.client, "message").status == IoStatus::Ok);
    CHECK(tunnels.client.tx_records() <= 10);
  }
  const Got got =
      receive_until(tunnels.server_end, tunnels.server, [](const Got& g) { return g.control.size() == 95; });
  CHECK(got.control.size() == 95);
  CHECK(tunnels.server.rekeys() >= 9);
}

TEST_CASE("the peer's KeyUpdate is followed at any place of a batch") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    const std::string data = pattern(1000, static_cast<std::uint32_t>(i));
    peer.send(23, data);
    expected += data;
    peer.update_key(false);
  }
  const Got got =
      receive_until(tunnels.server_end, tunnels.server, [&](const Got& g) { return g.data.size() >= expected.size(); });
  CHECK((got.data == expected));
  CHECK(tunnels.server.rekeys() == 50);
}

TEST_CASE("a requested KeyUpdate is answered before anything else is sent") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  peer.update_key(true);
  wait_for(tunnels.server.fd(), POLLIN);
  CHECK(receive(tunnels.server_end, tunnels.server).result.status == IoStatus::WouldBlock);
  CHECK(send_data(tunnels.server_end, tunnels.server, "after").bytes == 5);
  const RawPeer::Record answer = peer.receive();
  CHECK(answer.type == 22);
  CHECK(answer.content == "\x18\0\0\1\0"s);
  peer.follow_key_update();
  CHECK(peer.receive().content == "after");
}

TEST_CASE("many requests in one batch have one answer") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  std::string wire;
  for (int i = 0; i < 20; ++i) peer.update_key(true);
  ::usleep(20'000);
  static_cast<void>(receive(tunnels.server_end, tunnels.server));
  CHECK(peer.receive().type == 22);
  peer.follow_key_update();
  CHECK(send_data(tunnels.server_end, tunnels.server, "next").bytes == 4);
  CHECK(peer.receive().content == "next");
}

TEST_CASE("answers do not pile up for a peer that asks and does not read") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  const std::string block = pattern(IoContext::kBatchBytesMax);
  while (!tunnels.server.wants_write())
    REQUIRE(send_data(tunnels.server_end, tunnels.server, block).status == IoStatus::Ok);
  const std::size_t lent = tunnels.server_end.pool.lent_bytes();
  for (int i = 0; i < 200; ++i) {
    peer.update_key(true);
    peer.send(23, "x");
  }
  const Got got = receive_until(tunnels.server_end, tunnels.server, [](const Got& g) { return g.data.size() == 200; });
  CHECK(got.data.size() == 200);
  CHECK(tunnels.server_end.pool.lent_bytes() <= lent + 16 * 1024);
}

TEST_CASE("both sides change keys at once without agreement") {
  Tunnels tunnels(limited(7, 200), limited(5, 200));
  std::string to_server;
  std::string to_client;
  std::string at_server;
  std::string at_client;
  for (std::uint32_t i = 0; i < 300; ++i) {
    const std::string a = pattern(i * 37 % 3000 + 1, i);
    const std::string b = pattern(i * 91 % 5000 + 1, i + 1000);
    if (!tunnels.client.wants_write()) {
      CHECK(send_data(tunnels.client_end, tunnels.client, a).bytes == a.size());
      to_server += a;
    }
    if (!tunnels.server.wants_write()) {
      CHECK(send_data(tunnels.server_end, tunnels.server, b).bytes == b.size());
      to_client += b;
    }
    at_server += receive(tunnels.server_end, tunnels.server).data;
    at_client += receive(tunnels.client_end, tunnels.client).data;
  }
  at_server += receive_until(tunnels.server_end, tunnels.server, [&](const Got& g) {
                 return at_server.size() + g.data.size() >= to_server.size();
               }).data;
  at_client += receive_until(tunnels.client_end, tunnels.client, [&](const Got& g) {
                 return at_client.size() + g.data.size() >= to_client.size();
               }).data;
  CHECK((at_server == to_server));
  CHECK((at_client == to_client));
  CHECK(tunnels.client.rekeys() > 50);
}

TEST_CASE("a flood of KeyUpdates without data is refused") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  for (int i = 0; i < 1001; ++i) peer.update_key(false);
  const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
  CHECK(got.result.status == IoStatus::Error);
  CHECK(got.result.failure == IoFailure::UnexpectedType);
}

TEST_CASE("KeyUpdates with data between them are not a flood") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  std::size_t received = 0;
  for (int i = 0; i < 1500; ++i) {
    peer.update_key(false);
    peer.send(23, "d");
    received += receive(tunnels.server_end, tunnels.server).data.size();
  }
  received += receive_until(tunnels.server_end, tunnels.server, [&](const Got& g) {
                return received + g.data.size() == 1500;
              }).data.size();
  CHECK(received == 1500);
}

TEST_CASE("a peer that never changes its key is asked to, and then cut off") {
  Tunnels tunnels(user_plan(Engine::UserEvp), limited(100, 300));
  RawPeer peer(std::move(tunnels.client));
  for (int i = 0; i < 200; ++i) peer.send(23, "d");
  const Got first =
      receive_until(tunnels.server_end, tunnels.server, [](const Got& g) { return g.data.size() == 200; });
  CHECK(first.data.size() == 200);
  const RawPeer::Record request = peer.receive();
  CHECK(request.type == 22);
  CHECK(request.content == "\x18\0\0\1\1"s);
  SECTION("it does") {
    peer.update_key(false);
    for (int i = 0; i < 150; ++i) peer.send(23, "e");
    CHECK(receive_until(tunnels.server_end, tunnels.server, [](const Got& g) {
            return g.data.size() == 150;
          }).data.size() == 150);
  }
  SECTION("it does not") {
    for (int i = 0; i < 150; ++i) peer.send(23, "e");
    const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
    CHECK(got.result.status == IoStatus::Error);
    CHECK(got.result.failure == IoFailure::KeyLimit);
  }
}

TEST_CASE("a record under the old key after a KeyUpdate is refused") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  peer.send(22, "\x18\0\0\1\0"s);  // announces, and does not change
  peer.send(23, "old key");
  CHECK(receive_until(tunnels.server_end, tunnels.server, kNever).result.failure == IoFailure::BadRecord);
}
