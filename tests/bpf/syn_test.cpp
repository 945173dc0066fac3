// SPDX-License-Identifier: Apache-2.0
// SYNs that are held: the filter on the agent's listeners, live, and what the packets that the agent sends do to the application's connect.
// The agent is played by this process.
#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "bed.hpp"
#include "core/netns.hpp"
#include "proxy/syn_packet.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

constexpr const char* kTargets[] = {kElsewhereV4, kElsewhereV6};

// The agent's side: a ring of one worker, and a socket that sends over the pod's lo.
struct Holder {
  explicit Holder(Bed& bed) : gate(bed.agent->syn_gate()) {
    auto opened = gate.open_ring(0, [this](std::uint32_t slot, ByteView packet) {
      slots.push_back(slot);
      const auto syn = proxy::SynPacket::parse(packet);
      REQUIRE(syn);
      syns.push_back(*syn);
    });
    REQUIRE(opened);
    ring = std::move(*opened);
    for (const UniqueFd* listener : {&bed.outbound_v4, &bed.outbound_v6})
      REQUIRE(gate.hold(listener->get(), bed.plan.slot, 0) == 0);
    const auto guard = NetnsGuard::enter(bed.pod.get(), bed.home.get());
    REQUIRE(guard);
    lo.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    REQUIRE(set_mark(lo.get(), bed.options.mark) == 0);
    const int priority = CV_SYN_PRIORITY;
    REQUIRE(::setsockopt(lo.get(), SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) == 0);
  }
  void send(ByteView frame) const {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(static_cast<std::uint16_t>(frame[12] << 8U | frame[13]));
    to.sll_ifindex = CV_LO_IFINDEX;
    to.sll_halen = ETH_ALEN;
    REQUIRE(::sendto(lo.get(), frame.data(), frame.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) > 0);
  }
  void drain() {
    REQUIRE(wait_readable(ring->fd(), 2000));
    ring->drain(~0U);
  }

  datapath::SynGate gate;
  std::unique_ptr<datapath::SynRing> ring;
  std::vector<std::uint32_t> slots;
  std::vector<proxy::SynPacket> syns;
  UniqueFd lo;
};

UniqueFd& listener_of(Bed& bed, const char* address) {
  return at(address, 0).address.is_v4() ? bed.outbound_v4 : bed.outbound_v6;
}

// A connect that has been begun, in the pod.
UniqueFd pending(const Bed& bed, const char* address) {
  const Endpoint target = at(address, 80);
  auto client = bed.socket(bed.pod.get(), target.address.family());
  REQUIRE(bed.connect(client.get(), target, 50) == ETIMEDOUT);
  return client;
}

// What becomes of it.
int outcome(const UniqueFd& client) {
  if (!wait_readable(client.get(), 2000)) return ETIMEDOUT;
  return connect_error(client.get());
}

}  // namespace

TEST_CASE("a held SYN is told of and not answered; sent again it is taken, with all it has") {
  Bed bed("synhold");
  bed.join();
  Holder holder(bed);
  for (const char* address : kTargets) {
    INFO(address);
    const UniqueFd client = pending(bed, address);
    CHECK_FALSE(accept_within(listener_of(bed, address), 50));
    holder.drain();
    REQUIRE_FALSE(holder.syns.empty());
    CHECK(holder.slots[0] == bed.plan.slot);
    CHECK(holder.syns[0].source() == local_endpoint(client.get()));
    CHECK(holder.syns[0].destination() == at(address, 80));
    proxy::FrameBuffer buffer;
    holder.send(holder.syns[0].make_again(buffer));
    const auto accepted = accept_within(listener_of(bed, address));
    REQUIRE(accepted);
    datapath::SynGate::pass_all(accepted.get());
    CHECK(connect_error(client.get()) == 0);
    CHECK(local_endpoint(accepted.get()) == at(address, 80));
    CHECK(carries(client, accepted, "to the server"));
    CHECK(carries(accepted, client, "to the client"));
    holder.syns.clear();
    holder.slots.clear();
  }
}

TEST_CASE("a held SYN is refused, or the host is unreachable") {
  Bed bed("synrefuse");
  bed.join();
  Holder holder(bed);
  for (const char* address : kTargets) {
    INFO(address);
    proxy::FrameBuffer buffer;
    const UniqueFd refused = pending(bed, address);
    holder.drain();
    holder.send(holder.syns.back().make_reset(buffer));
    CHECK(outcome(refused) == ECONNREFUSED);
    const UniqueFd unreachable = pending(bed, address);
    holder.drain();
    holder.send(holder.syns.back().make_unreachable(buffer));
    CHECK(outcome(unreachable) == EHOSTUNREACH);
  }
}

TEST_CASE("a copy of a held SYN is told of as well") {
  Bed bed("syncopy");
  bed.join();
  Holder holder(bed);
  const UniqueFd client = pending(bed, kElsewhereV4);
  while (holder.syns.size() < 2) holder.drain();  // a second later
  CHECK(holder.syns[0].source() == holder.syns[1].source());
}

TEST_CASE("what finds no room in the ring is answered at once") {
  constexpr unsigned kConnects = 1'900;
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const rlimit before = limit;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 8'192);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  {
    Bed bed("synfull");
    bed.join();
    Holder holder(bed);
    std::vector<UniqueFd> clients;
    for (unsigned i = 0; i < kConnects; ++i) {
      clients.push_back(bed.socket(bed.pod.get(), AF_INET));
      const int error = start_connect(clients.back().get(), at(kElsewhereV4, 80));
      REQUIRE((error == 0 || error == EINPROGRESS || error == EAGAIN));
    }
    holder.drain();
    unsigned accepted = 0;
    while (accept_within(bed.outbound_v4, 100)) ++accepted;
    CHECK(holder.syns.size() > 500);
    CHECK(accepted > 0);
    CHECK(holder.syns.size() + accepted >= kConnects);  // copies beside
    clients.clear();  // on a slow machine their SYNs have come again by now, and would once more
    holder.ring->drain(~0U);
    holder.syns.clear();
    const UniqueFd later = pending(bed, kElsewhereV6);  // there is room again
    holder.drain();
    CHECK_FALSE(holder.syns.empty());
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("a listener that is released answers at once, and so does one without a ring") {
  Bed bed("synfree");
  bed.join();
  {
    Holder holder(bed);
    holder.gate.release(bed.outbound_v4.get());
    auto client = bed.socket(bed.pod.get(), AF_INET);
    CHECK(bed.connect(client.get(), at(kElsewhereV4, 80)) == 0);
    const UniqueFd held = pending(bed, kElsewhereV6);
  }
  auto client = bed.socket(bed.pod.get(), AF_INET6);
  CHECK(bed.connect(client.get(), at(kElsewhereV6, 80)) == 0);
}

TEST_CASE("an agent that is gone answers nothing, whatever it held") {
  Bed bed("syngone");
  bed.join();
  UniqueFd client;
  {
    Holder holder(bed);
    client = pending(bed, kElsewhereV4);
  }
  bed.close_listeners();
  auto other = bed.socket(bed.pod.get(), AF_INET);
  CHECK(bed.connect(other.get(), at(kElsewhereV4, 80), 200) == ETIMEDOUT);
  bed.open_listeners();
  CHECK(accept_within(bed.outbound_v4, 4000));  // a later copy of the first or the second
}
