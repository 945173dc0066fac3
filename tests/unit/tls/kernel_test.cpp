// SPDX-License-Identifier: Apache-2.0
// Records in the kernel: each cipher and direction against our own records in user space and against the openssl program.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.hpp"
#include "openssl_program.hpp"
#include "raw_peer.hpp"
#include "support.hpp"
#include "tls/credential_contexts.hpp"
#include "tls/kernel_tls.hpp"
#include "tls/key_schedule.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;
using namespace std::string_literals;

namespace {

constexpr Cipher kCiphers[] = {Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305};
const auto kNever = [](const Got&) { return false; };

const EngineSupport& machine() {
  static const EngineSupport kSupport = probe_engines();
  return kSupport;
}

bool has(Cipher cipher) {
  const KernelCipherSupport& one = machine().kernel[static_cast<std::size_t>(cipher)];
  if (!one.tx || !one.rx) WARN("skipped: " << to_string(cipher) << ": " << one.detail);
  return one.tx && one.rx;
}
bool has_rekey() { return machine().kernel[0].tx_rekey && machine().kernel[0].rx_rekey; }

EnginePlan kernel_plan(EngineChoice tx = EngineChoice::Kernel, EngineChoice rx = EngineChoice::Kernel) {
  return plan_engines(machine(), tx, rx);
}

// Only this cipher is offered.
void restrict(const std::shared_ptr<const Credentials>& credentials, Cipher cipher) {
  for (SSL_CTX* context : {credentials->contexts().client.get(), credentials->contexts().server.get()}) {
    REQUIRE(::SSL_CTX_set_ciphersuites(context, to_string(cipher).data()) == 1);
  }
}

struct Pair {
  Pair(Cipher cipher, const EnginePlan& client_plan, const EnginePlan& server_plan) {
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
  Authority authority;
  End client_end{Engine::UserIpsecMb};
  End server_end{Engine::UserIpsecMb};
  TunnelSocket client;
  TunnelSocket server;
};

// `size` bytes each way at once, by send and receive.
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

}  // namespace

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
    WARN("skipped: this kernel takes a second key");
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
