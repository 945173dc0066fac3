// SPDX-License-Identifier: Apache-2.0
// What a pod tries in order to get past the capture, and what must not be captured. The wire is the node's end of the veth.
#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bed.hpp"
#include "core/netns.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

std::uint16_t checksum(const void* data, std::size_t bytes, std::uint32_t sum = 0) {
  const auto* at_byte = static_cast<const std::uint8_t*>(data);
  for (std::size_t i = 0; i + 1 < bytes; i += 2) sum += static_cast<std::uint32_t>(at_byte[i] << 8 | at_byte[i + 1]);
  if (bytes % 2 != 0) sum += static_cast<std::uint32_t>(at_byte[bytes - 1] << 8);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

struct Forged {
  std::uint8_t flags = TH_ACK | TH_PUSH;
  bool has_payload = true;
  std::uint16_t fragment = 0;  // host order, as in the IP header
  std::uint16_t port = 80;
};

// One IPv4 TCP packet from a raw socket of the pod to "elsewhere".
void send_raw(Bed& bed, const Forged& forged) {
  const auto guard = NetnsGuard::enter(bed.pod.get(), bed.home.get());
  REQUIRE(guard);
  UniqueFd raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  REQUIRE(raw);
  struct Packet {
    iphdr ip;
    tcphdr tcp;
    char payload[16];
  } packet{};
  const std::size_t bytes = sizeof(packet) - (forged.has_payload ? 0 : sizeof(packet.payload));
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_TCP;
  packet.ip.frag_off = htons(forged.fragment);
  packet.ip.tot_len = htons(static_cast<std::uint16_t>(bytes));
  ::inet_pton(AF_INET, kPodV4, &packet.ip.saddr);
  ::inet_pton(AF_INET, kElsewhereV4, &packet.ip.daddr);
  packet.tcp.source = htons(40000);
  packet.tcp.dest = htons(forged.port);
  packet.tcp.doff = 5;
  packet.tcp.window = htons(1000);
  reinterpret_cast<std::uint8_t*>(&packet.tcp)[13] = forged.flags;
  std::memcpy(packet.payload, "clear text......", sizeof(packet.payload));
  std::array<std::uint8_t, 12> pseudo{};
  std::memcpy(pseudo.data(), &packet.ip.saddr, 8);
  pseudo[9] = IPPROTO_TCP;
  pseudo[11] = static_cast<std::uint8_t>(bytes - sizeof(iphdr));
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < pseudo.size(); i += 2) sum += static_cast<std::uint32_t>(pseudo[i] << 8 | pseudo[i + 1]);
  packet.tcp.check = checksum(&packet.tcp, bytes - sizeof(iphdr), sum);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = packet.ip.daddr;
  REQUIRE(::sendto(raw.get(), &packet, bytes, 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) ==
          static_cast<ssize_t>(bytes));
}

// Waits until the counter has moved, or for half a second.
std::uint64_t counted(Bed& bed, const char* name, std::uint64_t before) {
  for (int i = 0; i < 50 && bed.counter(name) == before; ++i) ::usleep(10000);
  return bed.counter(name) - before;
}

}  // namespace

TEST_CASE("TCP payload from a raw socket does not leave the pod") {
  Bed bed("raw");
  Sniffer wire(bed.node.get(), bed.home.get(), "n0");
  send_raw(bed, {});
  // The bed itself: without the hooks the packet is seen.
  for (int i = 0; i < 50; ++i) ::usleep(2000);
  REQUIRE(wire.tcp_packets(80) >= 1);
  bed.join();
  static_cast<void>(wire.tcp_packets());

  struct Case {
    const char* text;
    Forged forged;
    const char* counter;
  };
  for (const auto& tried : {Case{"payload", {}, "drop_raw_payload"},
                            Case{"payload with the SYN-ACK flags", {.flags = TH_SYN | TH_ACK}, "drop_raw_payload"},
                            Case{"a first fragment", {.fragment = IP_MF}, "drop_fragment"},
                            Case{"a later fragment", {.fragment = 64}, "drop_fragment"},
                            Case{"a SYN", {.flags = TH_SYN, .has_payload = false}, "egress_syn_redirected"},
                            Case{"a SYN with payload", {.flags = TH_SYN}, "egress_syn_redirected"}}) {
    INFO(tried.text);
    const auto before = bed.counter(tried.counter);
    send_raw(bed, tried.forged);
    CHECK(counted(bed, tried.counter, before) == 1);
    CHECK(wire.tcp_packets(80) == 0);
  }
  // Without payload nothing leaks: resets and acknowledgements of closed connections look like this.
  send_raw(bed, {.flags = TH_RST, .has_payload = false});
  for (int i = 0; i < 50; ++i) ::usleep(2000);
  CHECK(wire.tcp_packets(80) == 1);
}

TEST_CASE("a pod cannot mark its way past the capture") {
  Bed bed("forge");
  bed.join();
  for (const std::uint32_t forged : {0U, 1U, bed.options.mark}) {
    INFO(forged);
    Sniffer wire(bed.node.get(), bed.home.get(), "n0");
    auto client = bed.socket(bed.pod.get(), AF_INET);
    REQUIRE(set_mark(client.get(), forged) == 0);
    REQUIRE(bed.connect(client.get(), at(kElsewhereV4, 80)) == 0);
    auto accepted = accept_within(bed.outbound_v4);
    REQUIRE(accepted);
    // Now it takes the mark away: its packets reach the device and are sent back to lo.
    REQUIRE(set_mark(client.get(), 0) == 0);
    CHECK(carries(client, accepted, "still to the agent"));
    CHECK(carries(accepted, client, "and back"));
    CHECK(wire.tcp_packets() == 0);
  }
  CHECK(bed.counter("egress_captured_redirected") > 0);
}

TEST_CASE("an application that clears its accepted socket's mark still answers the agent") {
  Bed bed("clear");
  bed.join();
  for (const auto& [own, client] : {std::pair{kPodV4, "10.77.0.9"}, std::pair{kPodV6, "fd77::9"}}) {
    INFO(own);
    Sniffer wire(bed.node.get(), bed.home.get(), "n0");
    auto application = bed.listener(bed.pod.get(), at(own, 8080));
    auto upstream = bed.spoofed_socket(at(client, 0));
    REQUIRE(bed.connect(upstream.get(), at(own, 8080)) == 0);
    auto accepted = accept_within(application);
    REQUIRE(accepted);
    REQUIRE(set_mark(accepted.get(), 0) == 0);
    CHECK(carries(accepted, upstream, "response"));
    CHECK(carries(upstream, accepted, "request"));
    CHECK(wire.tcp_packets() == 0);
    // The agent is gone without a word: what the application still sends stays in the pod.
    upstream.reset();
    static_cast<void>(::send(accepted.get(), "late", 4, MSG_NOSIGNAL));
    ::usleep(300000);
    CHECK(wire.tcp_packets() == 0);
  }
}

TEST_CASE("a captured connection without an agent stalls or fails, and nothing leaves the pod") {
  for (const bool has_hook : {true, false}) {
    INFO(has_hook);
    datapath::Datapath::Options options;
    options.allow_connect_hook = has_hook;
    Bed bed("gone", options);
    bed.join();
    auto live = bed.socket(bed.pod.get(), AF_INET);
    REQUIRE(bed.connect(live.get(), at(kElsewhereV4, 80)) == 0);
    auto accepted = accept_within(bed.outbound_v4);
    REQUIRE(accepted);
    const auto server_v4 = bed.listener(bed.node.get(), at(kElsewhereV4, 80));
    const auto server_v6 = bed.listener(bed.node.get(), at(kElsewhereV6, 80));
    Sniffer wire(bed.node.get(), bed.home.get(), "n0");
    bed.agent.reset();
    bed.close_listeners();
    accepted.reset();
    for (const auto* address : {kElsewhereV4, kElsewhereV6}) {
      auto client = bed.socket(bed.pod.get(), at(address, 80).address.family());
      // Long enough for a retransmitted SYN.
      CHECK(bed.connect(client.get(), at(address, 80), 1500) != 0);
    }
    static_cast<void>(::send(live.get(), "clear text", 10, MSG_NOSIGNAL));
    ::usleep(500000);
    CHECK(wire.tcp_packets() == 0);
    CHECK_FALSE(accept_within(server_v4, 10));
    CHECK_FALSE(accept_within(server_v6, 10));
  }
}

TEST_CASE("outbound exclusions leave the pod as without a mesh") {
  for (const bool has_hook : {true, false}) {
    INFO(has_hook);
    datapath::Datapath::Options options;
    options.allow_connect_hook = has_hook;
    Bed bed("exclude", options);
    bed.plan.excluded_ports = {{.port = 5432, .is_inbound = false}};
    bed.plan.excluded_cidrs = {{.cidr = *Cidr::parse("fd92::/64"), .is_inbound = false}};
    bed.join();
    const auto database = bed.listener(bed.node.get(), at(kElsewhereV4, 5432));
    const auto server_v6 = bed.listener(bed.node.get(), at(kElsewhereV6, 80));

    auto to_port = bed.socket(bed.pod.get(), AF_INET);
    REQUIRE(bed.connect(to_port.get(), at(kElsewhereV4, 5432)) == 0);
    auto at_database = accept_within(database);
    REQUIRE(at_database);
    CHECK(carries(to_port, at_database, "select 1"));
    CHECK(carries(at_database, to_port, "1"));

    auto to_range = bed.socket(bed.pod.get(), AF_INET6);
    REQUIRE(bed.connect(to_range.get(), at(kElsewhereV6, 80)) == 0);
    CHECK(accept_within(server_v6));

    auto other = bed.socket(bed.pod.get(), AF_INET);
    REQUIRE(bed.connect(other.get(), at(kElsewhereV4, 80)) == 0);
    CHECK(accept_within(bed.outbound_v4));
    CHECK(bed.counter("egress_excluded") >= 2);
    CHECK(bed.counter("connect_excluded") == (has_hook ? 2 : 0));
  }
}

TEST_CASE("a socket that connects anew is decided anew") {
  for (const bool has_hook : {true, false}) {
    INFO(has_hook);
    datapath::Datapath::Options options;
    options.allow_connect_hook = has_hook;
    Bed bed("anew", options);
    bed.plan.excluded_ports = {{.port = 5432, .is_inbound = false}};
    bed.join();
    const auto database = bed.listener(bed.node.get(), at(kElsewhereV4, 5432));
    const sockaddr nowhere{.sa_family = AF_UNSPEC, .sa_data = {}};
    auto client = bed.socket(bed.pod.get(), AF_INET);

    REQUIRE(bed.connect(client.get(), at(kElsewhereV4, 5432)) == 0);
    CHECK(accept_within(database));
    REQUIRE(::connect(client.get(), &nowhere, sizeof(nowhere)) == 0);

    REQUIRE(bed.connect(client.get(), at(kElsewhereV4, 80)) == 0);
    CHECK(accept_within(bed.outbound_v4));
    REQUIRE(::connect(client.get(), &nowhere, sizeof(nowhere)) == 0);

    // Without the hook nothing tells a captured socket that it connects anew: it stays captured, which is the strict side.
    CHECK(bed.connect(client.get(), at(kElsewhereV4, 5432)) == 0);
    CHECK(static_cast<bool>(accept_within(database, 200)) == has_hook);
  }
}
