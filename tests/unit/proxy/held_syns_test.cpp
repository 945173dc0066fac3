// SPDX-License-Identifier: Apache-2.0
// Flows without a client: what they do when the far end answers, speaks, ends or fails before the application has been answered.
#include "proxy/held_syns.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include "parts.hpp"
#include "state/snapshot_builder.hpp"

namespace culvert::proxy::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint8_t kFlagSyn = 0x02;
constexpr std::uint8_t kFlagsRstAck = 0x14;

// From 10.1.0.`source`:4000 to 10.2.0.7:80.
Bytes syn(std::uint8_t sequence, std::uint8_t source = 5, std::uint16_t port = 4'000) {
  Bytes packet(40, 0);
  packet[0] = 0x45, packet[8] = 64, packet[9] = 6;
  const Bytes addresses{
      10, 1,  0, source, 10, 2,       0, 7, static_cast<std::uint8_t>(port >> 8U), static_cast<std::uint8_t>(port),
      0,  80, 0, 0,      0,  sequence};
  std::copy(addresses.begin(), addresses.end(), packet.begin() + 12);
  packet[32] = 0x50, packet[33] = kFlagSyn;
  return packet;
}

// A pod whose SYNs are held, the mesh that it is in, and what is sent over its lo.
struct Held : Parts {
  explicit Held(const Options& options = {}) : Parts(options) {
    state::Workload server;
    server.uid = server.name = "server";
    server.namespace_name = "shop";
    server.identity = SpiffeId::parse(tls::test::kServerId).value();
    server.addresses = {IpAddress::parse("10.2.0.7").value()};
    state::SnapshotBuilder builder;
    REQUIRE(builder.add(std::move(server)));
    state.snapshot = std::move(builder).build(1);
    std::array<int, 2> ends;
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    pod().lo_sender.reset(ends[0]);
    pod().holds_syns = true;
    lo.reset(ends[1]);
  }
  WorkerPod& pod() { return *state.pods.find(kSlot); }
  Tunnel& open(Peer& peer) {
    Tunnel& tunnel = add_tunnel(std::move(peer.near), key());
    REQUIRE(streams.open(tunnel));
    return tunnel;
  }
  Flow* only_flow() {
    Flow* found = nullptr;
    state.flows.for_each([&](SlabHandle, Flow& flow) { found = &flow; });
    return state.flows.size() == 1 ? found : nullptr;
  }
  // The kernel hands a SYN over, and its turn comes.
  void arrive(const Bytes& packet) {
    held.on_syn(kSlot, packet);
    held.begin_arrived();
  }
  // The next frame that was sent: its TCP flags, or 0xff for what is not TCP; none.
  std::optional<std::uint8_t> sent() {
    std::array<std::uint8_t, 256> frame{};
    if (::read(lo.get(), frame.data(), frame.size()) <= 0) return std::nullopt;
    return frame[kEthernetBytes + 9] == 6 ? frame[kEthernetBytes + 33] : std::uint8_t{0xff};
  }
  // The listener has accepted the application's connection; gives the application's end.
  UniqueFd come(std::uint16_t port = 4'000) {
    const Endpoint source{IpAddress::parse("10.1.0.5").value(), port};
    Flow* flow = held.take(pod(), source, Endpoint::parse("10.2.0.7:80").value());
    REQUIRE(flow != nullptr);
    std::array<int, 2> ends;
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0);
    outbound.accept_held(*flow, UniqueFd(ends[0]));
    return UniqueFd(ends[1]);
  }

  UniqueFd lo;
};

// A far end with a tunnel, which takes the CONNECT of a SYN and has not answered it.
struct Asked : Held {
  Asked() {
    open(peer);
    peer.told.when_connect = [this](hbone::StreamId stream) { asked = stream; };
    arrive(syn(1));
  }
  [[nodiscard]] bool wait() {
    return turn_until([&] { peer.carry(); }, [&] { return asked != 0; });
  }
  Peer peer{true};
  hbone::StreamId asked = 0;
};

}  // namespace

TEST_CASE("what the far end says, and its end, wait for the application to be answered") {
  Held parts;
  Peer peer(true);
  parts.open(peer);
  peer.told.when_connect = [&](hbone::StreamId stream) { peer.session->respond(stream, 200, {}); };
  parts.arrive(syn(1));
  REQUIRE(parts.only_flow() != nullptr);
  CHECK(parts.only_flow()->state == FlowState::Open);
  CHECK_FALSE(parts.sent());
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return parts.only_flow()->state == FlowState::AwaitClient; }));
  CHECK(parts.sent() == kFlagSyn);
  peer.send(1, "220 ready");
  peer.session->finish(1);
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return parts.only_flow()->is_end_received; }));

  const UniqueFd application = parts.come();
  CHECK(parts.held.is_empty());
  CHECK(parts.pod().held_syns == 0);
  std::string got;
  CHECK(parts.turn_until([&] { got += read_all(application.get()); }, [&] { return got.size() == 9; }));
  CHECK(got == "220 ready");
  char more = 0;
  CHECK(::read(application.get(), &more, 1) == 0);  // the end, and no reset
  REQUIRE(::write(application.get(), "thanks", 6) == 6);
  REQUIRE(::shutdown(application.get(), SHUT_WR) == 0);
  CHECK(parts.turn_until([&] { peer.carry(); }, [&] { return parts.state.flows.size() == 0; }));
  CHECK(peer.told.data(1) == "thanks");
}

TEST_CASE("a far end that refuses has the application refused") {
  Held parts;
  Peer peer(true);
  parts.open(peer);
  const auto status = static_cast<std::uint16_t>(GENERATE(403, 503, 504));
  peer.told.when_connect = [&](hbone::StreamId stream) { peer.session->respond(stream, status, {}); };
  parts.arrive(syn(1));
  CHECK(parts.turn_until([&] { peer.carry(); }, [&] { return parts.state.flows.size() == 0; }));
  CHECK(parts.sent() == (status == 504 ? std::uint8_t{0xff} : kFlagsRstAck));
  CHECK_FALSE(parts.sent());
  CHECK(parts.held.is_empty());
}

TEST_CASE("a copy of a SYN begins nothing; once the far end has answered it is let through") {
  Asked parts;
  Peer& peer = parts.peer;
  parts.arrive(syn(1));
  REQUIRE(parts.wait());
  CHECK(parts.only_flow() != nullptr);
  CHECK_FALSE(parts.sent());
  peer.session->respond(parts.asked, 200, {});
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return parts.only_flow()->state == FlowState::AwaitClient; }));
  CHECK(parts.sent() == kFlagSyn);
  parts.arrive(syn(9));  // the same ports once more, or the first one was lost
  CHECK(parts.sent() == kFlagSyn);
  CHECK(parts.only_flow() != nullptr);
}

TEST_CASE("a copy that the kernel has let pass finds its flow before the far end has answered") {
  Asked parts;
  Peer& peer = parts.peer;
  REQUIRE(parts.wait());
  const UniqueFd application = parts.come();
  REQUIRE(::write(application.get(), "early", 5) == 5);
  peer.session->respond(parts.asked, 200, {});
  CHECK(parts.turn_until([&] { peer.carry(); }, [&] { return peer.told.data(parts.asked) == "early"; }));
  CHECK_FALSE(parts.sent());
}

TEST_CASE("an application that does not come is given up, and told nothing") {
  Held parts;
  Peer peer(true);
  parts.open(peer);
  peer.told.when_connect = [&](hbone::StreamId stream) { peer.session->respond(stream, 200, {}); };
  parts.arrive(syn(1));
  REQUIRE(parts.turn_until([&] { peer.carry(); }, [&] { return parts.only_flow()->state == FlowState::AwaitClient; }));
  CHECK(parts.sent() == kFlagSyn);
  parts.pass(4'000);
  CHECK(parts.only_flow() != nullptr);
  parts.pass(2'000);
  CHECK(parts.state.flows.size() == 0);
  CHECK_FALSE(parts.sent());
}

TEST_CASE("what is not held is let through at once") {
  Held parts;
  Peer peer(true);
  parts.open(peer);
  SECTION("a source that is not the pod's") { parts.arrive(syn(1, 6)); }
  SECTION("a pod that holds no longer") {
    parts.pod().holds_syns = false;
    parts.arrive(syn(1));
  }
  CHECK(parts.sent() == kFlagSyn);
  CHECK_FALSE(parts.sent());
}

TEST_CASE("what is more than a pod may have pending is let through at once") {
  Options options;
  options.hbone.streams_before_settings = 2 * HeldSyns::kPerPodMax;
  Held parts(options);
  Peer peer(true);
  parts.open(peer);
  for (unsigned i = 0; i < HeldSyns::kPerPodMax; ++i) parts.arrive(syn(1, 5, static_cast<std::uint16_t>(10'000 + i)));
  CHECK(parts.pod().held_syns == HeldSyns::kPerPodMax);
  CHECK_FALSE(parts.sent());
  parts.arrive(syn(1));
  CHECK(parts.sent() == kFlagSyn);
  CHECK(parts.state.flows.size() == HeldSyns::kPerPodMax);
}

TEST_CASE("what is no SYN of a pod is nothing") {
  Held parts;
  parts.arrive({});
  parts.arrive(Bytes(40, 0xff));
  parts.held.on_syn(kSlot + 1, syn(1));
  CHECK(parts.state.flows.size() == 0);
  CHECK_FALSE(parts.sent());
}

TEST_CASE(
    "the pending connects of a pod that leaves are refused, those of an agent that drains wait for the next one") {
  Held parts;
  Peer peer(true);
  parts.open(peer);
  parts.arrive(syn(1));
  REQUIRE(parts.only_flow() != nullptr);
  const bool leaves = GENERATE(true, false);
  if (leaves) {
    parts.held.end_all(kSlot + 1, telemetry::CloseReason::PodLeft);
    CHECK(parts.only_flow() != nullptr);
    parts.held.end_all(kSlot, telemetry::CloseReason::PodLeft);
  } else {
    parts.held.end_all(0, telemetry::CloseReason::Drained);
  }
  CHECK(parts.state.flows.size() == 0);
  CHECK(parts.held.is_empty());
  CHECK(parts.sent().has_value() == leaves);
}

TEST_CASE("a SYN whose turn has not come is known: copies of it begin nothing, and it ends as those that have begun") {
  Asked parts;
  REQUIRE(parts.wait());
  parts.held.on_syn(kSlot, syn(1, 5, 4'001));
  parts.held.on_syn(kSlot, syn(1, 5, 4'001));
  CHECK(parts.pod().held_syns == 2);
  CHECK(parts.state.flows.size() == 1);
  SECTION("it begins once") {
    parts.held.begin_arrived();
    CHECK(parts.state.flows.size() == 2);
    CHECK_FALSE(parts.held.has_arrived());
  }
  SECTION("the kernel has let a copy pass, and the listener has it") {
    const Endpoint source = Endpoint::parse("10.1.0.5:4001").value();
    CHECK(parts.held.take(parts.pod(), source, Endpoint::parse("10.2.0.7:80").value()) == nullptr);
    CHECK(parts.pod().held_syns == 1);
    parts.held.begin_arrived();
    CHECK(parts.state.flows.size() == 1);
  }
  SECTION("its pod leaves") {
    parts.held.end_all(kSlot, telemetry::CloseReason::PodLeft);
    CHECK(parts.sent() == kFlagsRstAck);
    CHECK(parts.sent() == kFlagsRstAck);
  }
  SECTION("the agent drains") {
    parts.pod().holds_syns = false;
    parts.state.is_draining = true;
    parts.held.end_all(0, telemetry::CloseReason::Drained);
    parts.arrive(syn(1, 5, 4'002));
    CHECK(parts.held.is_empty());
  }
  CHECK_FALSE(parts.sent());
}

TEST_CASE("where no more connections are possible a SYN whose turn comes is refused") {
  Options options;
  options.connections_max = 1;
  Held parts(options);
  Peer peer(true);
  parts.open(peer);
  parts.arrive(syn(1));
  parts.arrive(syn(1, 5, 4'001));
  CHECK(parts.sent() == kFlagsRstAck);
  CHECK(parts.pod().held_syns == 1);
  CHECK(parts.state.flows.size() == 1);
}

TEST_CASE("a flood of SYNs begins little by little") {
  Options options;
  options.hbone.streams_before_settings = 1'000;
  Held parts(options);
  Peer peer(true);
  parts.open(peer);
  for (unsigned i = 0; i < 200; ++i) parts.held.on_syn(kSlot, syn(1, 5, static_cast<std::uint16_t>(10'000 + i)));
  parts.held.begin_arrived();
  CHECK(parts.state.flows.size() < 100);
  for (unsigned turns = 0; turns < 200 && parts.held.has_arrived(); ++turns) parts.held.begin_arrived();
  CHECK(parts.state.flows.size() == 200);
}

}  // namespace culvert::proxy::test
