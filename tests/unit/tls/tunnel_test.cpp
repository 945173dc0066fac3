// SPDX-License-Identifier: Apache-2.0
// Records in user space: order, batches, what a socket does not take, and the end of a connection.
#include <catch2/catch.hpp>

#include <poll.h>
#include <sys/socket.h>

#include "raw_peer.hpp"
#include "support.hpp"
#include "tls/aead.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using namespace std::string_literals;

namespace {

const auto kNever = [](const Got&) { return false; };

void shrink_buffers(int sender, int receiver) {
  const int size = 4096;
  REQUIRE(::setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
  REQUIRE(::setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == 0);
}

}  // namespace

TEST_CASE("bytes go both ways through a tunnel") {
  const Engine engine = GENERATE(Engine::UserEvp, Engine::UserIpsecMb);
  Tunnels tunnels(user_plan(engine), user_plan(engine));
  CHECK(send_data(tunnels.client_end, tunnels.client, "hello").bytes == 5);
  CHECK(receive_until(tunnels.server_end, tunnels.server, [](const Got& got) { return got.data.size() >= 5; }).data ==
        "hello");
  CHECK(send_data(tunnels.server_end, tunnels.server, "welcome").bytes == 7);
  CHECK(receive_until(tunnels.client_end, tunnels.client, [](const Got& got) { return got.data.size() >= 7; }).data ==
        "welcome");
  CHECK(tunnels.client.tx_engine() == effective_user_engine(Cipher::Aes128Gcm, engine));
  CHECK(tunnels.client.can_rekey());
  CHECK_FALSE(tunnels.client.can_splice());
}

TEST_CASE("three megabytes arrive byte for byte, and no memory stays lent") {
  const Engine engine = GENERATE(Engine::UserEvp, Engine::UserIpsecMb);
  Tunnels tunnels(user_plan(engine), user_plan(engine));
  const std::string data = pattern(3'000'000);
  CHECK((transfer(tunnels.client_end, tunnels.client, tunnels.server_end, tunnels.server, data) == data));
  CHECK((transfer(tunnels.server_end, tunnels.server, tunnels.client_end, tunnels.client, data) == data));
  CHECK(tunnels.client_end.pool.lent_bytes() == 0);
  CHECK(tunnels.server_end.pool.lent_bytes() == 0);
}

TEST_CASE("one send seals a whole batch, one receive opens it as one run") {
  Tunnels tunnels;
  const std::string data = pattern(100'000);
  const IoResult sent =
      tunnels.client.send(tunnels.client_end.context,
                          {{RecordType::Control, as_bytes("open")}, {RecordType::ApplicationData, as_bytes(data)}});
  CHECK(sent.bytes == data.size());
  CHECK(tunnels.client.tx_records() == 8);
  wait_for(tunnels.server.fd(), POLLIN);
  ::usleep(20'000);
  const IoResult got = tunnels.server.receive(tunnels.server_end.context, IoContext::kBatchBytesMax);
  CHECK(got.bytes == data.size());
  CHECK(got.status == IoStatus::WouldBlock);  // a short read: no second system call to learn that there is no more
  const auto& segments = tunnels.server_end.context.segments();
  REQUIRE(segments.size() == 2);
  CHECK(segments[0].type == RecordType::Control);
  CHECK(as_text(segments[0].data) == "open");
  CHECK(segments[1].type == RecordType::ApplicationData);
  CHECK((as_text(segments[1].data) == data));
}

TEST_CASE("a send takes no more than one batch") {
  Tunnels tunnels;
  const std::string data = pattern(IoContext::kBatchBytesMax + 1000);
  CHECK(send_data(tunnels.client_end, tunnels.client, data).bytes == IoContext::kBatchBytesMax);
}

TEST_CASE("control and data keep their order, whatever the socket takes") {
  Tunnels tunnels;
  shrink_buffers(tunnels.client.fd(), tunnels.server.fd());
  std::string expected;
  std::string arrived;
  std::vector<std::string> control;
  std::size_t accepted = 0;
  bool was_refused = false;
  const auto drain = [&] {
    static_cast<void>(tunnels.server.receive(tunnels.server_end.context, 16 * 1024));
    for (const Segment& segment : tunnels.server_end.context.segments()) {
      if (segment.type == RecordType::ApplicationData) {
        arrived += as_text(segment.data);
      } else {
        CHECK(std::string(as_text(segment.data)) == std::to_string(arrived.size()));
        control.emplace_back(as_text(segment.data));
      }
    }
  };
  for (int i = 0; i < 400; ++i) {
    const std::string data = pattern(5000, static_cast<std::uint32_t>(i) + 1);
    const bool waits = tunnels.client.wants_write();
    const IoResult sent = send_data(tunnels.client_end, tunnels.client, data);
    CHECK(sent.status == (waits ? IoStatus::WouldBlock : IoStatus::Ok));
    CHECK(sent.bytes == (waits ? 0 : data.size()));
    was_refused = was_refused || waits;
    if (sent.bytes != 0) {
      expected += data;
      // A control record is taken also while something waits, and says how many bytes were before it.
      CHECK(send_control(tunnels.client_end, tunnels.client, std::to_string(expected.size())).status == IoStatus::Ok);
      ++accepted;
    }
    if (tunnels.client.wants_write()) static_cast<void>(tunnels.client.flush(tunnels.client_end.context));
    if (i % 8 == 7) drain();
  }
  while (control.size() < accepted) {
    if (tunnels.client.wants_write()) static_cast<void>(tunnels.client.flush(tunnels.client_end.context));
    wait_for(tunnels.server.fd(), POLLIN, 100);
    drain();
  }
  CHECK(was_refused);
  CHECK((arrived == expected));
}

TEST_CASE("records delivered byte by byte come out whole") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  std::string wire = peer.seal(23, "one");
  wire += peer.seal(0xc4, "two");
  wire += peer.seal(23, "");
  wire += peer.seal(23, "three");
  Got all;
  for (const char byte : wire) {
    peer.send_raw({&byte, 1});
    wait_for(tunnels.server.fd(), POLLIN, 100);
    const Got got = receive(tunnels.server_end, tunnels.server);
    REQUIRE(got.result.status == IoStatus::WouldBlock);
    all.data += got.data;
    for (const std::string& message : got.control) all.control.push_back(message);
  }
  CHECK(all.data == "onethree");
  CHECK(all.control == std::vector<std::string>{"two"});
}

TEST_CASE("a receive gives at most what was asked, rounded up to a record") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  for (int i = 0; i < 10; ++i) peer.send(23, pattern(16384));
  ::usleep(50'000);
  std::size_t total = 0;
  for (int i = 0; i < 50 && total < 163840; ++i) {
    const Got got = receive(tunnels.server_end, tunnels.server, 1000);
    CHECK(got.data.size() <= 2 * 16384);
    total += got.data.size();
  }
  CHECK(total == 163840);
}

TEST_CASE("close_notify is the end, FIN without it is truncation, and both stay") {
  Tunnels tunnels;
  CHECK(send_data(tunnels.client_end, tunnels.client, "last words").bytes == 10);
  SECTION("close_notify") {
    tunnels.client.send_close_notify(tunnels.client_end.context);
    CHECK(send_data(tunnels.client_end, tunnels.client, "too late").status == IoStatus::Error);
    tunnels.client.close();
    const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
    CHECK(got.data == "last words");
    CHECK(got.result.status == IoStatus::Eof);
    CHECK(receive(tunnels.server_end, tunnels.server).result.status == IoStatus::Eof);
    // The other direction is still open (RFC 8446 section 6.1).
    CHECK(send_data(tunnels.server_end, tunnels.server, "answer").status == IoStatus::Ok);
  }
  SECTION("FIN between two records") {
    tunnels.client.close();
    const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
    CHECK(got.data == "last words");
    CHECK(got.result.status == IoStatus::Truncated);
    CHECK(receive(tunnels.server_end, tunnels.server).result.status == IoStatus::Truncated);
  }
  SECTION("FIN in the middle of a record") {
    RawPeer peer(std::move(tunnels.client));
    peer.send_raw(peer.seal(23, "half of this").substr(0, 12));
    peer.shut_down();
    const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
    CHECK(got.data == "last words");
    CHECK(got.result.status == IoStatus::Truncated);
  }
  SECTION("reset") {
    CHECK(receive_until(tunnels.server_end, tunnels.server, [](const Got& got) { return !got.data.empty(); }).data ==
          "last words");
    tunnels.client.abort();
    const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
    CHECK(got.result.status == IoStatus::Error);
    CHECK(got.result.failure == IoFailure::System);
    CHECK(got.result.sys_errno == ECONNRESET);
  }
}

TEST_CASE("a hangup that was reported makes a receive read on to the end") {
  // FIN that is in the socket together with the data raises no further edge.
  Tunnels tunnels;
  CHECK(send_data(tunnels.client_end, tunnels.client, "x").bytes == 1);
  tunnels.client.close();
  ::usleep(20'000);
  tunnels.server.note_hangup();
  Got got = receive(tunnels.server_end, tunnels.server);
  CHECK(got.result.status == IoStatus::Ok);
  got = receive(tunnels.server_end, tunnels.server);
  CHECK(got.result.status == IoStatus::Truncated);
}

TEST_CASE("what is not a good record ends the connection and tells the peer") {
  struct Row {
    std::string name;
    std::function<std::string(RawPeer&)> wire;
    IoFailure failure;
    std::uint8_t alert;
  };
  const std::vector<Row> rows = {
      {"changed bit",
       [](RawPeer& p) {
         std::string r = p.seal(23, "data");
         r[9] = static_cast<char>(r[9] ^ 1);
         return r;
       },
       IoFailure::BadRecord, 20},
      {"too long", [](RawPeer&) { return "\x17\x03\x03\x48\x00"s; }, IoFailure::BadRecord, 22},
      {"too short", [](RawPeer&) { return "\x17\x03\x03\x00\x03xxx"s; }, IoFailure::BadRecord, 50},
      {"clear alert", [](RawPeer&) { return "\x15\x03\x03\x00\x02\x02\x28"s; }, IoFailure::UnexpectedType, 10},
      {"change_cipher_spec", [](RawPeer&) { return "\x14\x03\x03\x00\x01\x01"s; }, IoFailure::UnexpectedType, 10},
      {"clear text", [](RawPeer&) { return "GET / HTTP/1.1\r\n"s; }, IoFailure::UnexpectedType, 10},
      {"unknown inner type", [](RawPeer& p) { return p.seal(99, "?"); }, IoFailure::UnexpectedType, 10},
      {"inner change_cipher_spec", [](RawPeer& p) { return p.seal(20, "\x01"); }, IoFailure::UnexpectedType, 10},
      {"empty handshake record", [](RawPeer& p) { return p.seal(22, ""); }, IoFailure::UnexpectedType, 10},
      {"ticket to a server", [](RawPeer& p) { return p.seal(22, "\x04\0\0\1x"s); }, IoFailure::UnexpectedType, 10},
      {"malformed KeyUpdate", [](RawPeer& p) { return p.seal(22, "\x18\0\0\1\x07"s); }, IoFailure::UnexpectedType, 47},
      {"alert of three bytes", [](RawPeer& p) { return p.seal(21, "\1\0\0"s); }, IoFailure::UnexpectedType, 50},
      {"data within a handshake message",
       [](RawPeer& p) {
         std::string a = p.seal(22, "\x18\0"s);
         return a + p.seal(23, "x");
       },
       IoFailure::UnexpectedType, 10},
      {"control within a handshake message",
       [](RawPeer& p) {
         std::string a = p.seal(22, "\x18\0"s);
         return a + p.seal(0xc4, "x");
       },
       IoFailure::UnexpectedType, 10},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Tunnels tunnels;
    RawPeer peer(std::move(tunnels.client));
    peer.send(23, "before");
    peer.send_raw(row.wire(peer));
    const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
    CHECK(got.data == "before");
    CHECK(got.result.status == IoStatus::Error);
    CHECK(got.result.failure == row.failure);
    const RawPeer::Record answer = peer.receive();
    CHECK(answer.type == 21);
    CHECK(answer.content == std::string{2, static_cast<char>(row.alert)});
    CHECK(send_data(tunnels.server_end, tunnels.server, "x").status == IoStatus::Error);
    CHECK(receive(tunnels.server_end, tunnels.server).result.failure == row.failure);
  }
}

TEST_CASE("a fatal alert of the peer is an error with its number, user_canceled is not") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.client));
  peer.send(21, "\1\x5a"s);  // user_canceled
  peer.send(23, "still here");
  CHECK(receive_until(tunnels.server_end, tunnels.server, [](const Got& got) { return !got.data.empty(); }).data ==
        "still here");
  peer.send(21, "\2\x30"s);  // unknown_ca
  const Got got = receive_until(tunnels.server_end, tunnels.server, kNever);
  CHECK(got.result.failure == IoFailure::PeerAlert);
  CHECK(tunnels.server.peer_alert() == 48);
}

TEST_CASE("session tickets are skipped by a client, also in pieces") {
  Tunnels tunnels;
  RawPeer peer(std::move(tunnels.server));
  const std::string ticket = "\x04\0\x01\0"s + std::string(256, 't');
  peer.send(22, ticket);
  peer.send(22, ticket.substr(0, 3));
  peer.send(22, ticket.substr(3));
  peer.send(23, "data");
  CHECK(receive_until(tunnels.client_end, tunnels.client, [](const Got& got) { return !got.data.empty(); }).data ==
        "data");
}

TEST_CASE("a send to a peer that is gone is an error, and nothing is sent after it") {
  Tunnels tunnels;
  tunnels.server.abort();
  ::usleep(20'000);
  const IoResult first = send_data(tunnels.client_end, tunnels.client, "x");
  CHECK(first.status == IoStatus::Error);
  CHECK(first.failure == IoFailure::System);
  CHECK(send_data(tunnels.client_end, tunnels.client, "x").status == IoStatus::Error);
}

TEST_CASE("a closed tunnel socket refuses politely") {
  End end;
  TunnelSocket none;
  CHECK_FALSE(none.is_open());
  CHECK(send_data(end, none, "x").status == IoStatus::Error);
  CHECK(receive(end, none).result.status == IoStatus::Error);
  CHECK(none.flush(end.context).status == IoStatus::Ok);
  none.send_close_notify(end.context);
  none.close();
  none.abort();
}

TEST_CASE("scratch memory that was given back works again") {
  Tunnels tunnels;
  const std::string data = pattern(200'000);
  CHECK((transfer(tunnels.client_end, tunnels.client, tunnels.server_end, tunnels.server, data) == data));
  tunnels.client_end.context.trim();
  tunnels.server_end.context.trim();
  CHECK((transfer(tunnels.client_end, tunnels.client, tunnels.server_end, tunnels.server, data) == data));
}

TEST_CASE("two hundred tunnels share one context without mixing up") {
  Authority authority;
  End client_end(Engine::UserIpsecMb);
  End server_end;
  const auto client = client_options(authority.credentials(kClientId), user_plan(Engine::UserIpsecMb));
  const auto server = server_options(authority.credentials(kServerId));
  std::vector<Handshaken> pairs;
  for (int i = 0; i < 200; ++i) {
    pairs.push_back(handshake(client_end, client, server_end, server));
    REQUIRE(pairs.back().server.is_open());
  }
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      CHECK(send_data(client_end, pairs[i].client, "tunnel " + std::to_string(i)).status == IoStatus::Ok);
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      wait_for(pairs[i].server.fd(), POLLIN);
      CHECK(receive(server_end, pairs[i].server).data == "tunnel " + std::to_string(i));
    }
  }
}
