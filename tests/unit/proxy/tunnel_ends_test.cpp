// SPDX-License-Identifier: Apache-2.0
// How direct tunnels of a server end when the last things come together: END, RST, a full socket, a client that does not read.
#include <array>
#include <string>

#include <sys/socket.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include "parts.hpp"

namespace culvert::proxy::test {
namespace {

constexpr std::string_view kEndMessage = "\x04";

std::string text_of(const direct::Message& message) {
  std::array<std::uint8_t, direct::kMessageBytesMax> buffer;
  return std::string(as_text(direct::encode(message, buffer)));
}

// With as small buffers as there are.
void narrow(tls::test::Tunnels& link) {
  const int bytes = 4'096;
  for (const int fd : {link.server.fd(), link.client.fd()}) {
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
}

// A server's tunnel with one connection on it, which both sides have accepted.
struct Served {
  explicit Served(bool is_narrow = false) {
    if (is_narrow) narrow(link);
    Tunnel& made = parts.add_tunnel(std::move(link.server), parts.key(), false);
    tunnel = made.self;
    static_cast<void>(made.server.on_message(direct::MessageType::Open));
    made.server.sent_accept();
    Flow& one = *parts.state.new_flow(FlowRole::InboundTunnel, kSlot);
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    one.upstream.fd.reset(ends[0]);
    application.reset(ends[1]);
    one.upstream.is_writable = one.upstream.is_readable = true;
    one.state = FlowState::Open;
    parts.state.note_tunnel(one, made);
    made.flow = one.self;
    flow = one.self;
  }
  void say(const direct::Message& message) {
    static_cast<void>(tls::test::send_control(link.client_end, link.client, text_of(message)));
  }
  // The application's event is the first of its turn.
  void application_ends() {
    REQUIRE(::shutdown(application.get(), SHUT_WR) == 0);
    Relay::note_events(parts.state.flows.find(flow)->upstream, EPOLLIN | EPOLLRDHUP);
    parts.relay.run(flow);
  }

  Parts parts;
  tls::test::Tunnels link;
  UniqueFd application;
  SlabHandle flow;
  SlabHandle tunnel;
};

}  // namespace

TEST_CASE("END and RST of the client are there when the application's end is passed on") {
  Served served;
  served.say(direct::End{});
  served.link.client.abort();
  ::usleep(20'000);
  served.application_ends();
  CHECK(served.parts.turn_until([] {}, [&] { return !served.parts.is_live(served.flow); }));
  CHECK(served.parts.state.tunnels.size() == 0);
}

TEST_CASE("a connection that is opened behind END and RST begins nowhere") {
  Served served;
  served.say(direct::End{});
  direct::Open open;
  open.source = Endpoint::parse("10.1.0.9:1").value();
  open.destination = Endpoint::parse("10.1.0.5:80").value();
  served.say(open);
  served.link.client.abort();
  ::usleep(20'000);
  REQUIRE(::shutdown(served.application.get(), SHUT_WR) == 0);
  served.parts.turn(1);
  served.parts.turn(1);
  CHECK(served.parts.state.flows.size() == 0);
  CHECK(served.parts.state.tunnels.size() == 0);
}

TEST_CASE("END that waits for a full socket leaves before a tunnel that goes away is closed") {
  unsigned lingered = 0;
  for (std::size_t size = 1'000; size < 45'000; size += 1'100) {
    Served served(true);
    served.parts.state.tunnels.find(served.tunnel)->is_going_away = true;  // as in a drain
    served.say(direct::End{});
    const int room = 400'000;
    ::setsockopt(served.application.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    const std::string data(size, 'd');
    REQUIRE(::write(served.application.get(), data.data(), data.size()) == static_cast<ssize_t>(size));
    served.application_ends();
    for (int i = 0; i < 6; ++i) served.parts.turn(1);  // nobody reads yet
    if (served.parts.tunnels.has_lingering() && ++lingered == 3) {
      // One whose peer reads nothing more is not waited for without end.
      served.parts.pass(31'000);
      CHECK_FALSE(served.parts.tunnels.has_lingering());
      CHECK(served.parts.state.tunnels.size() == 0);
      continue;
    }
    std::string got;
    bool has_ended = false;
    tls::IoStatus last = tls::IoStatus::Ok;
    for (int i = 0; i < 2'000 && (last == tls::IoStatus::Ok || last == tls::IoStatus::WouldBlock); ++i) {
      served.parts.turn(0);
      const tls::test::Got part = tls::test::receive(served.link.client_end, served.link.client);
      got += part.data;
      for (const std::string& one : part.control) has_ended = has_ended || one == kEndMessage;
      last = part.result.status;
      if (last == tls::IoStatus::WouldBlock) ::usleep(200);
    }
    INFO(size << " bytes");
    CHECK(got.size() == size);
    CHECK(has_ended);
    CHECK(last == tls::IoStatus::Eof);  // close_notify
    served.parts.turn(1);
    CHECK_FALSE(served.parts.tunnels.has_lingering());
    CHECK(served.parts.state.tunnels.size() == 0);
  }
  CHECK(lingered >= 3);
}

TEST_CASE("refusals that a client does not read take no more memory than the sockets have") {
  Parts parts;
  tls::test::Tunnels link;
  narrow(link);
  const SlabHandle tunnel = parts.add_tunnel(std::move(link.server), parts.key(), false).self;
  const std::string cut_short(1, '\x01');  // OPEN
  const std::string end = text_of(direct::End{});
  for (int i = 0; i < 60'000; ++i) {
    for (const std::string* message : {&cut_short, &end}) {
      static_cast<void>(tls::test::send_control(link.client_end, link.client, *message));
    }
    if (i % 64 == 0) {
      parts.turn(0);
      if (link.client.wants_write()) static_cast<void>(link.client.flush(link.client_end.context));
      if (link.client.wants_write()) break;  // it is not read any more
    }
  }
  CHECK(link.client.wants_write());
  CHECK(parts.state.buffers.lent_bytes() < (1U << 20U));
  // And it is not kept for that.
  parts.pass(60'000);
  parts.turn(1);
  CHECK(parts.state.tunnels.find(tunnel) == nullptr);
}

}  // namespace culvert::proxy::test
