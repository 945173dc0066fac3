// SPDX-License-Identifier: Apache-2.0
// HBONE tunnels of a worker against a peer that does as the test says.
#include "proxy/streams.hpp"

#include <catch2/catch.hpp>

#include "parts.hpp"

using namespace culvert;
using namespace culvert::proxy;
using namespace culvert::proxy::test;

namespace {

// A client's tunnel to `peer`, and what the peer is asked for.
Tunnel& open(Parts& parts, Peer& peer) {
  Tunnel& tunnel = parts.add_tunnel(std::move(peer.near), parts.key());
  REQUIRE(parts.streams.open(tunnel));
  return tunnel;
}

}  // namespace

TEST_CASE("any status from 200 to 299 says that a stream is connected") {
  const auto status = static_cast<std::uint16_t>(GENERATE(200, 204, 299));
  Parts parts;
  Peer peer(true);
  Tunnel& tunnel = open(parts, peer);
  UniqueFd application;
  Flow& flow = parts.new_flow(application);
  const SlabHandle handle = flow.self;
  peer.told.when_connect = [&](hbone::StreamId stream) { peer.session->respond(stream, status, {}); };
  REQUIRE(parts.streams.start(tunnel, flow));
  CHECK(parts.turn_until([&] { peer.carry(); }, [&] { return !parts.is_live(handle) || flow.is_answered; }));
  REQUIRE(parts.is_live(handle));
  peer.send(1, "hello");
  std::string got;
  CHECK(parts.turn_until([&] { got += read_all(application.get()); }, [&] { return got.size() == 5; }));
}

TEST_CASE("a reader that has stopped takes no window from its siblings, even when the worker's memory is used up") {
  Options options;
  options.hbone.stream_window = 128 << 10U;
  options.hbone.connection_window = 256 << 10U;
  options.buffer_bytes_max = 32 << 10U;
  Parts parts(options);
  Peer peer(true);
  Tunnel& tunnel = open(parts, peer);
  peer.told.when_connect = [&](hbone::StreamId stream) { peer.session->respond(stream, 200, {}); };
  UniqueFd stopped;
  UniqueFd reading;
  REQUIRE(parts.streams.start(tunnel, parts.new_flow(stopped)));
  REQUIRE(parts.streams.start(tunnel, parts.new_flow(reading)));
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return peer.session->send_window(3) > 0; }));
  peer.send(1, std::string(100 << 10U, 'x'));
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return parts.state.buffers.is_exhausted(); }));

  constexpr std::size_t kBytes = 2 << 20U;
  std::size_t sent = 0;
  std::size_t got = 0;
  CHECK(parts.turn_until(
      [&] {
        peer.carry();
        const std::size_t window = std::min({peer.session->send_window(3), kBytes - sent, std::size_t{16'384}});
        if (window > 0) peer.send(3, std::string(window, 'y'));
        sent += window;
        got += read_all(reading.get()).size();
      },
      [&] { return got == kBytes; }));
  CHECK(parts.state.buffers.is_exhausted());
  // The memory comes back, and so does what was withheld for it.
  std::size_t late = 0;
  CHECK(parts.turn_until(
      [&] {
        peer.carry();
        late += read_all(stopped.get()).size();
      },
      [&] { return late == 100 << 10U; }));
  parts.turn();
  CHECK_FALSE(tunnel.hbone->is_withholding);
}

TEST_CASE("many readers that have stopped take no more memory than twice the limit and a window") {
  Options options;
  options.hbone.stream_window = 64 << 10U;
  options.hbone.connection_window = 64 << 10U;
  options.buffer_bytes_max = 32 << 10U;
  Parts parts(options);
  constexpr std::size_t kPeers = 8;
  constexpr std::size_t kLimit = (2 * 32 + 64) << 10U;
  std::vector<std::unique_ptr<Peer>> peers;
  std::vector<UniqueFd> stopped(kPeers);
  std::size_t most = 0;
  for (UniqueFd& application : stopped) {
    Peer& peer = *peers.emplace_back(std::make_unique<Peer>(true));
    Tunnel& tunnel = open(parts, peer);
    peer.told.when_connect = [&](hbone::StreamId stream) { peer.session->respond(stream, 200, {}); };
    REQUIRE(parts.streams.start(tunnel, parts.new_flow(application)));
    REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return peer.session->send_window(1) > 0; }));
    peer.send(1, std::string(60 << 10U, 'x'));
    for (int i = 0; i < 20; ++i) {
      parts.turn(1);
      peer.carry();
      most = std::max(most, parts.state.buffers.lent_bytes());
    }
  }
  CHECK(most < kLimit + (64 << 10U));
  CHECK(parts.state.flows.size() >= 1);
  CHECK(parts.state.flows.size() < kPeers);
}

TEST_CASE("streams that were not looked at come again on another tunnel, byte for byte") {
  Parts parts;
  Peer before(true);
  Peer after(true);
  Tunnel& tunnel = open(parts, before);
  UniqueFd application;
  Flow& flow = parts.new_flow(application);
  const SlabHandle handle = flow.self;
  REQUIRE(::write(application.get(), "early", 5) == 5);
  REQUIRE(parts.streams.start(tunnel, flow));
  REQUIRE(parts.turn_until([&] { before.carry(); }, [&] { return before.told.data(1) == "early"; }));
  open(parts, after);
  before.session->reset(1, hbone::kRefusedStream);
  before.session->go_away();
  REQUIRE(parts.turn_until(
      [&] {
        before.carry();
        after.carry();
      },
      [&] { return after.told.data(1) == "early"; }));
  REQUIRE(::write(application.get(), " and late", 9) == 9);
  after.session->respond(1, 200, {});
  CHECK(parts.turn_until([&] { after.carry(); }, [&] { return after.told.data(1) == "early and late"; }));
  CHECK(parts.state.flows.find(handle)->received_bytes == 14);
}

TEST_CASE("a tunnel whose handshake ends during a drain says GOAWAY and serves what is on its way") {
  Parts parts;
  Peer peer(false);
  parts.state.is_draining = true;
  Tunnel& tunnel = parts.add_tunnel(std::move(peer.near), {}, false);
  REQUIRE(parts.streams.open(tunnel));
  const SlabHandle handle = tunnel.self;
  CHECK(peer.session->connect({.authority = "10.1.0.5:80"}) == 1);
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return peer.session->is_going_away(); }));
  // Looked at: the pod's application cannot be reached here, and that is what it is told. Then nothing keeps the tunnel.
  CHECK(parts.turn_until([&] { peer.carry(); }, [&] { return parts.state.tunnels.find(handle) == nullptr; }));
  CHECK(peer.told.take().find("response 1 503") != std::string::npos);
}
