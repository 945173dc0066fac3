// SPDX-License-Identifier: Apache-2.0
// Against the openssl program: s_server and s_client on the other end of a TCP connection, with every cipher, and their
// KeyUpdate commands.
#include <catch2/catch.hpp>

#include <poll.h>

#include "openssl_program.hpp"
#include "support.hpp"

using namespace culvert;
using namespace culvert::tls;
using namespace culvert::tls::test;

namespace {

struct Row {
  Cipher cipher;
  Engine engine;
};
const Row kRows[] = {{Cipher::Aes128Gcm, Engine::UserEvp},
                     {Cipher::Aes128Gcm, Engine::UserIpsecMb},
                     {Cipher::Aes256Gcm, Engine::UserEvp},
                     {Cipher::Aes256Gcm, Engine::UserIpsecMb},
                     {Cipher::ChaCha20Poly1305, Engine::UserEvp}};

std::string received(End& end, TunnelSocket& socket, std::size_t size) {
  return receive_until(end, socket, [&](const Got& got) { return got.data.size() >= size; }).data;
}

// Text both ways, then KeyUpdates from the program (one that asks for an answer), text after each, then ours.
void exercise(End& end, TunnelSocket& tunnel, OpensslProgram& program) {
  CHECK(send_data(end, tunnel, "from culvert\n").status == IoStatus::Ok);
  CHECK(program.wait_for_output("from culvert\n"));
  program.type("from openssl\n");
  CHECK(received(end, tunnel, 13) == "from openssl\n");
  const std::uint32_t before = tunnel.rekeys();
  program.type("k\n");
  program.type("after its KeyUpdate\n");
  CHECK(received(end, tunnel, 20) == "after its KeyUpdate\n");
  CHECK(tunnel.rekeys() == before + 1);
  program.type("K\n");
  program.type("after its request\n");
  CHECK(received(end, tunnel, 18) == "after its request\n");
  CHECK(tunnel.rekeys() == before + 3);  // its key and, as it asked, ours
  for (int i = 0; i < 60; ++i) {         // beyond our own limit of records
    CHECK(send_data(end, tunnel, "line " + std::to_string(i) + "\n").status == IoStatus::Ok);
  }
  CHECK(program.wait_for_output("line 59\n"));
  CHECK(tunnel.rekeys() >= before + 6);
}

EnginePlan plan_with_small_limit(Engine engine) {
  EnginePlan plan = user_plan(engine);
  plan.limits = {15, 100000};
  return plan;
}

}  // namespace

TEST_CASE("our client talks to openssl s_server, KeyUpdate both ways") {
  for (const Row& row : kRows) {
    CAPTURE(to_string(row.cipher), to_string(row.engine));
    Authority authority;
    End end(row.engine);
    OpensslProgram program(authority, OpensslProgram::Role::Server, row.cipher);
    auto fd = program.connect();
    auto handshake = std::move(*HandshakeSocket::client(
        std::move(fd), client_options(authority.credentials(kClientId), plan_with_small_limit(row.engine))));
    auto tunnel = finish_alone(end, std::move(handshake));
    REQUIRE(tunnel);
    CHECK(tunnel->cipher() == row.cipher);
    exercise(end, *tunnel, program);
    tunnel->send_close_notify(end.context);
    CHECK(program.wait_for_output("CONNECTION CLOSED"));
  }
}

TEST_CASE("openssl s_client talks to our server, KeyUpdate both ways") {
  for (const Row& row : kRows) {
    CAPTURE(to_string(row.cipher), to_string(row.engine));
    Authority authority;
    End end(row.engine);
    OpensslProgram program(authority, OpensslProgram::Role::Client, row.cipher);
    auto fd = program.accept();
    auto handshake = std::move(*HandshakeSocket::server(
        std::move(fd), server_options(authority.credentials(kServerId), plan_with_small_limit(row.engine))));
    auto tunnel = finish_alone(end, std::move(handshake));
    REQUIRE(tunnel);
    CHECK(tunnel->cipher() == row.cipher);
    exercise(end, *tunnel, program);
    program.type("Q\n");  // close_notify
    CHECK(receive_until(end, *tunnel, [](const Got&) { return false; }).result.status == IoStatus::Eof);
  }
}

TEST_CASE("the tickets of openssl s_server are skipped") {
  Authority authority;
  End end;
  OpensslProgram program(authority, OpensslProgram::Role::Server, Cipher::Aes128Gcm, {"-num_tickets", "4"});
  auto handshake =
      std::move(*HandshakeSocket::client(program.connect(), client_options(authority.credentials(kClientId))));
  auto tunnel = finish_alone(end, std::move(handshake));
  REQUIRE(tunnel);
  program.type("after four tickets\n");
  CHECK(received(end, *tunnel, 19) == "after four tickets\n");
}

TEST_CASE("an openssl that is killed is a truncation or a reset, not an end") {
  Authority authority;
  End end;
  OpensslProgram program(authority, OpensslProgram::Role::Server, Cipher::Aes128Gcm);
  auto handshake =
      std::move(*HandshakeSocket::client(program.connect(), client_options(authority.credentials(kClientId))));
  auto tunnel = finish_alone(end, std::move(handshake));
  REQUIRE(tunnel);
  CHECK(send_data(end, *tunnel, "ready\n").status == IoStatus::Ok);
  CHECK(program.wait_for_output("ready\n"));
  program.kill();
  const Got got = receive_until(end, *tunnel, [](const Got&) { return false; });
  CHECK((got.result.status == IoStatus::Truncated || got.result.status == IoStatus::Error));
}

TEST_CASE("a client without a certificate, and one with TLS 1.2 only, are refused") {
  Authority authority;
  End end;
  SECTION("no certificate") {
    OpensslProgram program(authority, OpensslProgram::Role::AnonymousClient, Cipher::Aes128Gcm);
    auto handshake =
        std::move(*HandshakeSocket::server(program.accept(), server_options(authority.credentials(kServerId))));
    CHECK_FALSE(finish_alone(end, std::move(handshake), HandshakeFailure::Protocol));
  }
  SECTION("TLS 1.2") {
    OpensslProgram program(authority, OpensslProgram::Role::OldClient, Cipher::Aes128Gcm);
    auto handshake =
        std::move(*HandshakeSocket::server(program.accept(), server_options(authority.credentials(kServerId))));
    CHECK_FALSE(finish_alone(end, std::move(handshake), HandshakeFailure::Protocol));
  }
}
