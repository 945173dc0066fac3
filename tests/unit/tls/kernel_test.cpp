// SPDX-License-Identifier: Apache-2.0
// Records in the kernel: each cipher and direction against our own records in user space and against the openssl program.
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

TEST_CASE("the probe finds both directions of AES-GCM", "[kernel]") {
  CHECK(has(Cipher::Aes128Gcm));
  CHECK(has(Cipher::Aes256Gcm));
  const std::uint64_t start_ms = monotonic_ms();
  static_cast<void>(probe_engines());
  WARN("probe took " << monotonic_ms() - start_ms << " ms");
}

TEST_CASE("kernel and user-space records understand each other with every cipher", "[kernel]") {
  for (const Cipher cipher : kCiphers) {
    if (!has(cipher)) continue;
    CAPTURE(to_string(cipher));
    const EnginePlan plans[] = {kernel_plan(), user_plan(Engine::UserIpsecMb),
                                kernel_plan(EngineChoice::Kernel, EngineChoice::User),
                                kernel_plan(EngineChoice::User, EngineChoice::Kernel)};
    for (const EnginePlan& client : plans) {
      for (const EnginePlan& server : plans) {
        Pair pair(cipher, client, server);
        const auto index = static_cast<std::size_t>(cipher);
        CHECK(pair.client.tx_engine() == client.tx[index]);
        CHECK(pair.server.rx_engine() == server.rx[index]);
        both_ways(pair, 300'000);
      }
    }
  }
}

TEST_CASE("64 MiB both ways at once arrive byte for byte", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, kernel_plan(), user_plan(Engine::UserIpsecMb));
  both_ways(pair, std::size_t{64} << 20U);
}

TEST_CASE("8 MiB both ways at once between two kernels", "[kernel]") {
  Pair pair(Cipher::Aes256Gcm, kernel_plan(), kernel_plan());
  both_ways(pair, std::size_t{8} << 20U);
}

TEST_CASE("the client's first record right behind its Finished is found by the kernel", "[kernel]") {
  // Nothing of it may be read ahead by the handshake.
  Authority authority;
  for (int round = 0; round < 5; ++round) {
    End client_end;
    End server_end;
    auto [near, far] = tcp_pair();
    auto client =
        std::move(*HandshakeSocket::client(std::move(near), client_options(authority.credentials(kClientId))));
    auto server = std::move(
        *HandshakeSocket::server(std::move(far), server_options(authority.credentials(kServerId), kernel_plan())));
    REQUIRE(client.advance(client_end.context) == HandshakeSocket::Step::WantRead);
    wait_for(server.fd(), POLLIN);
    REQUIRE(server.advance(server_end.context) == HandshakeSocket::Step::WantRead);
    wait_for(client.fd(), POLLIN);
    REQUIRE(client.advance(client_end.context) == HandshakeSocket::Step::Done);
    auto tunnel = client.into_tunnel(client_end.context);
    REQUIRE(tunnel);
    const std::string data = pattern(50'000);
    REQUIRE(tunnel
                ->send(client_end.context,
                       {{RecordType::Control, as_bytes("open")}, {RecordType::ApplicationData, as_bytes(data)}})
                .bytes == data.size());
    wait_for(server.fd(), POLLIN);
    REQUIRE(server.advance(server_end.context) == HandshakeSocket::Step::Done);
    auto far_tunnel = server.into_tunnel(server_end.context);
    REQUIRE(far_tunnel);
    CHECK(far_tunnel->rx_engine() == Engine::Kernel);
    const Got got = receive_until(server_end, *far_tunnel, [&](const Got& g) { return g.data.size() >= data.size(); });
    CHECK(got.control == std::vector<std::string>{"open"});
    CHECK((got.data == data));
  }
}

TEST_CASE("a handshake with kernel records works when it comes in single bytes", "[kernel]") {
  Authority authority;
  End client_end;
  End server_end;
  auto [client_fd, client_wire] = tcp_pair();
  auto [server_fd, server_wire] = tcp_pair();
  auto client = std::move(
      *HandshakeSocket::client(std::move(client_fd), client_options(authority.credentials(kClientId), kernel_plan())));
  auto server = std::move(
      *HandshakeSocket::server(std::move(server_fd), server_options(authority.credentials(kServerId), kernel_plan())));
  using Step = HandshakeSocket::Step;
  Step client_step = client.advance(client_end.context);
  Step server_step = Step::WantRead;
  for (int round = 0; round < 10 && (server_step != Step::Done || client_step != Step::Done); ++round) {
    char byte = 0;
    wait_for(client_wire.get(), POLLIN, 20);
    while (::recv(client_wire.get(), &byte, 1, MSG_DONTWAIT) == 1) {
      REQUIRE(::send(server_wire.get(), &byte, 1, 0) == 1);
      wait_for(server.fd(), POLLIN, 10);
      if (server_step == Step::WantRead) server_step = server.advance(server_end.context);
    }
    wait_for(server_wire.get(), POLLIN, 20);
    while (::recv(server_wire.get(), &byte, 1, MSG_DONTWAIT) == 1) {
      REQUIRE(::send(client_wire.get(), &byte, 1, 0) == 1);
      wait_for(client.fd(), POLLIN, 10);
      if (client_step == Step::WantRead) client_step = client.advance(client_end.context);
    }
  }
  REQUIRE(client_step == Step::Done);
  REQUIRE(server_step == Step::Done);
  CHECK(client.into_tunnel(client_end.context)->rx_engine() == Engine::Kernel);
  CHECK(server.into_tunnel(server_end.context)->rx_engine() == Engine::Kernel);
}

TEST_CASE("control records keep their place between data through the kernel", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, kernel_plan(), kernel_plan());
  for (int i = 0; i < 200; ++i) {
    CHECK(send_control(pair.client_end, pair.client, "c" + std::to_string(i)).status == IoStatus::Ok);
    CHECK(send_data(pair.client_end, pair.client, "d" + std::to_string(i) + ";").status == IoStatus::Ok);
  }
  std::size_t seen = 0;
  std::string data;
  const std::uint64_t limit = monotonic_ms() + 10'000;
  while (seen < 200 && monotonic_ms() < limit) {
    wait_for(pair.server.fd(), POLLIN, 100);
    static_cast<void>(pair.server.receive(pair.server_end.context, IoContext::kBatchBytesMax));
    for (const Segment& segment : pair.server_end.context.segments()) {
      if (segment.type == RecordType::ApplicationData) {
        data += as_text(segment.data);
        continue;
      }
      CHECK(std::string(as_text(segment.data)) == "c" + std::to_string(seen));
      const std::string last = seen == 0 ? "" : "d" + std::to_string(seen - 1) + ";";
      CHECK(data.ends_with(last));
      ++seen;
    }
  }
  CHECK(seen == 200);
}

TEST_CASE("a full socket keeps control records in order and takes data again when it drains", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, kernel_plan(), user_plan(Engine::UserIpsecMb));
  const std::string block = pattern(100'000);
  std::string expected;
  std::size_t controls = 0;
  IoResult sent;
  do {
    sent = send_data(pair.client_end, pair.client, block);
    REQUIRE(sent.status != IoStatus::Error);
    expected += block.substr(0, sent.bytes);
  } while (sent.bytes != 0);
  for (; controls < 50; ++controls)
    CHECK(send_control(pair.client_end, pair.client, "c" + std::to_string(controls)).status == IoStatus::Ok);
  CHECK(pair.client.wants_write());
  CHECK(send_data(pair.client_end, pair.client, "refused").bytes == 0);
  Got all;
  const std::uint64_t limit = monotonic_ms() + 30'000;
  while ((all.control.size() < controls || pair.client.wants_write()) && monotonic_ms() < limit) {
    const Got got = receive(pair.server_end, pair.server);
    all.data += got.data;
    for (const auto& one : got.control) all.control.push_back(one);
    if (pair.client.wants_write()) REQUIRE(pair.client.flush(pair.client_end.context).status != IoStatus::Error);
  }
  REQUIRE(all.control.size() == controls);
  for (std::size_t i = 0; i < controls; ++i) CHECK(all.control[i] == "c" + std::to_string(i));
  CHECK((all.data == expected));
  CHECK(send_data(pair.client_end, pair.client, "taken").bytes == 5);
  CHECK(received(pair.server_end, pair.server, 5) == "taken");
}

TEST_CASE("splice moves a plain socket's bytes into records", "[kernel]") {
  for (const Cipher cipher : {Cipher::Aes128Gcm, Cipher::Aes256Gcm}) {
    Pair pair(cipher, kernel_plan(), user_plan(Engine::UserIpsecMb));
    CHECK(pair.client.can_splice());
    auto [app, agent] = tcp_pair();
    const std::string data = pattern(8'000'000);
    std::string_view left = data;
    std::string arrived;
    bool is_ended = false;
    const std::uint64_t limit = monotonic_ms() + 60'000;
    while ((!is_ended || arrived.size() < data.size()) && monotonic_ms() < limit) {
      if (!left.empty()) {
        const ssize_t put =
            ::send(app.get(), left.data(), std::min<std::size_t>(left.size(), 70'001), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0) left.remove_prefix(static_cast<std::size_t>(put));
        if (left.empty()) REQUIRE(::shutdown(app.get(), SHUT_WR) == 0);
      }
      if (pair.client.wants_write()) REQUIRE(pair.client.flush(pair.client_end.context).status != IoStatus::Error);
      if (!is_ended && !pair.client.wants_write()) {
        const IoResult moved = pair.client.splice_from(pair.client_end.context, agent.get(), 1'000'000);
        REQUIRE(moved.status != IoStatus::Error);
        CHECK(moved.sys_errno == 0);
        is_ended = moved.status == IoStatus::Eof;
      }
      arrived += receive(pair.server_end, pair.server).data;
    }
    CHECK(is_ended);
    CHECK((arrived == data));
    CHECK(send_control(pair.client_end, pair.client, "end").status == IoStatus::Ok);
    const Got got = receive_until(pair.server_end, pair.server, [](const Got& g) { return !g.control.empty(); });
    CHECK(got.control == std::vector<std::string>{"end"});
  }
}

TEST_CASE("a splice tells the plain socket's RST from its end", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, kernel_plan(), user_plan(Engine::UserIpsecMb));
  auto [app, agent] = tcp_pair();
  REQUIRE(::send(app.get(), "last words", 10, 0) == 10);
  wait_for(agent.get(), POLLIN);
  const linger at_once{1, 0};
  REQUIRE(::setsockopt(app.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
  app.reset();
  IoResult moved;
  for (int i = 0; i < 10 && moved.status != IoStatus::Eof; ++i) {
    moved = pair.client.splice_from(pair.client_end.context, agent.get(), 1'000'000);
    REQUIRE(moved.status != IoStatus::Error);
  }
  CHECK(moved.status == IoStatus::Eof);
  CHECK(moved.sys_errno == ECONNRESET);
}

TEST_CASE("a small spliced write leaves at once", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, kernel_plan(), user_plan(Engine::UserIpsecMb));
  auto [app, agent] = tcp_pair();
  for (int i = 0; i < 50; ++i) {
    REQUIRE(::send(app.get(), "ping", 4, 0) == 4);
    wait_for(agent.get(), POLLIN);
    CHECK(pair.client.splice_from(pair.client_end.context, agent.get(), 1'000'000).bytes == 4);
    CHECK(received(pair.server_end, pair.server, 4) == "ping");
  }
}

TEST_CASE("close_notify and truncation are told apart by kernel records", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, kernel_plan(), kernel_plan());
  CHECK(send_data(pair.client_end, pair.client, "last words").bytes == 10);
  SECTION("close_notify") {
    pair.client.send_close_notify(pair.client_end.context);
    pair.client.close();
    const Got got = receive_until(pair.server_end, pair.server, kNever);
    CHECK(got.data == "last words");
    CHECK(got.result.status == IoStatus::Eof);
  }
  SECTION("FIN") {
    pair.client.close();
    const Got got = receive_until(pair.server_end, pair.server, kNever);
    CHECK(got.data == "last words");
    CHECK(got.result.status == IoStatus::Truncated);
  }
  SECTION("RST") {
    CHECK(received(pair.server_end, pair.server, 10) == "last words");
    pair.client.abort();
    const Got got = receive_until(pair.server_end, pair.server, kNever);
    CHECK(got.result.status == IoStatus::Error);
  }
}

TEST_CASE("bad records end a connection with kernel records", "[kernel]") {
  struct Row {
    std::string name;
    std::function<std::string(RawPeer&)> wire;
    IoFailure failure;
  };
  const std::vector<Row> rows = {
      {"changed bit",
       [](RawPeer& p) {
         std::string r = p.seal(23, "data");
         r[9] = static_cast<char>(r[9] ^ 1);
         return r;
       },
       IoFailure::BadRecord},
      {"clear text", [](RawPeer&) { return "GET / HTTP/1.1\r\n"s; }, IoFailure::BadRecord},
      {"unknown inner type", [](RawPeer& p) { return p.seal(99, "?"); }, IoFailure::UnexpectedType},
      {"alert", [](RawPeer& p) { return p.seal(21, "\2\x28"s); }, IoFailure::PeerAlert},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Pair pair(Cipher::Aes128Gcm, user_plan(Engine::UserEvp), kernel_plan());
    RawPeer peer(std::move(pair.client));
    peer.send(23, "before");
    CHECK(received(pair.server_end, pair.server, 6) == "before");
    peer.send_raw(row.wire(peer));
    const Got got = receive_until(pair.server_end, pair.server, kNever);
    CHECK(got.result.status == IoStatus::Error);
    CHECK(got.result.failure == row.failure);
  }
}

TEST_CASE("empty records and padding pass through kernel records", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, user_plan(Engine::UserEvp), kernel_plan());
  RawPeer peer(std::move(pair.client));
  peer.send(23, "");
  peer.send(23, "a");
  peer.send(23, "");
  peer.send(0xc4, "control");
  peer.send(23, "b");
  const Got got = receive_until(pair.server_end, pair.server, [](const Got& g) { return g.data.size() >= 2; });
  CHECK(got.data == "ab");
  CHECK(got.control == std::vector<std::string>{"control"});
  CHECK(got.result.status != IoStatus::Truncated);
}

// What a splice out of kernel records does at each of these is why we do not use one (docs/tls.md): a kernel that behaves otherwise makes
// this test speak up. `receive` must bring every byte all the same.
TEST_CASE("what misleads a splice out of kernel records does not mislead receive", "[kernel]") {
  Pair pair(Cipher::Aes128Gcm, user_plan(Engine::UserEvp), kernel_plan());
  RawPeer peer(std::move(pair.client));
  int ends[2];
  REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  const auto spliced = [&] {
    wait_for(pair.server.fd(), POLLIN);
    const ssize_t moved =
        ::splice(pair.server.fd(), nullptr, write_end.get(), nullptr, 65'536, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return moved < 0 ? -errno : static_cast<int>(moved);
  };
  SECTION("a control record in front: splice fails, the record stays") {
    peer.send(0xc4, "control");
    peer.send(23, "data");
    CHECK(spliced() == -EINVAL);
    CHECK(spliced() == -EINVAL);
    const Got got = receive_until(pair.server_end, pair.server, [](const Got& g) { return g.data.size() >= 4; });
    CHECK(got.control == std::vector<std::string>{"control"});
    CHECK(got.data == "data");
  }
  SECTION("an empty record: splice says 0, as at the end of the stream") {
    peer.send(23, "");
    CHECK(spliced() == 0);
    peer.send(23, "");
    peer.send(23, "data");
    const Got got = receive_until(pair.server_end, pair.server, [](const Got& g) { return g.data.size() >= 4; });
    CHECK(got.data == "data");
    CHECK(got.result.status != IoStatus::Truncated);
  }
  SECTION("a record of which a part was spliced: the rest is received") {
    const std::string data = pattern(16'000);
    peer.send(23, data);
    wait_for(pair.server.fd(), POLLIN);
    const ssize_t moved = ::splice(pair.server.fd(), nullptr, write_end.get(), nullptr, 1000, SPLICE_F_NONBLOCK);
    REQUIRE(moved > 0);
    const auto part = static_cast<std::size_t>(moved);
    const Got got =
        receive_until(pair.server_end, pair.server, [&](const Got& g) { return g.data.size() >= data.size() - part; });
    CHECK((got.data == data.substr(part)));
  }
  SECTION("FIN in the middle of a record: splice says 0, receive says that the stream was cut") {
    const std::string record = peer.seal(23, pattern(5000));
    peer.send_raw(record.substr(0, record.size() / 2));
    peer.shut_down();
    const Got got = receive_until(pair.server_end, pair.server, kNever);
    CHECK(got.data.empty());
    CHECK(got.result.status == IoStatus::Truncated);
  }
}
