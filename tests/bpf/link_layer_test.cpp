// SPDX-License-Identifier: Apache-2.0
// What a pod with CAP_NET_RAW tries below IP: packet sockets that lie about a frame's type, VLAN tags, and options that send past tc egress.
#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bed.hpp"
#include "core/netns.hpp"

using namespace culvert;
using namespace culvert::test;

namespace {

using Bytes = std::vector<std::uint8_t>;

void append(Bytes& to, std::initializer_list<unsigned> values) {
  for (const unsigned value : values) to.push_back(static_cast<std::uint8_t>(value));
}

// TCP payload without a connection, from the pod to "elsewhere". Checksums are not looked at on the way.
Bytes ip_packet(int family) {
  constexpr std::size_t kTcpBytes = 20 + 8;
  Bytes packet;
  if (family == AF_INET) {
    append(packet, {0x45, 0, 0, 20 + kTcpBytes, 0, 1, 0, 0, 64, IPPROTO_TCP, 0, 0, 10, 91, 0, 2, 10, 92, 0, 1});
  } else {
    append(packet, {0x60, 0, 0, 0, 0, kTcpBytes, IPPROTO_TCP, 64});
    packet.resize(40);
    ::inet_pton(AF_INET6, kPodV6, packet.data() + 8);
    ::inet_pton(AF_INET6, kElsewhereV6, packet.data() + 24);
  }
  append(packet, {0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, TH_ACK | TH_PUSH, 4, 0, 0, 0, 0, 0});
  append(packet, {'c', 'l', 'e', 'a', 'r', ' ', ' ', ' '});
  return packet;
}

// Broadcast, so that any receiver takes it; `types` are the frame's type and whatever tags come before it.
Bytes frame(const Bytes& packet, std::initializer_list<unsigned> types) {
  Bytes bytes;
  append(bytes, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9});
  append(bytes, types);
  bytes.insert(bytes.end(), packet.begin(), packet.end());
  return bytes;
}

UniqueFd socket_in_pod(const Bed& bed, int family, int type, int protocol) {
  const auto guard = NetnsGuard::enter(bed.pod.get(), bed.home.get());
  REQUIRE(guard);
  UniqueFd fd(::socket(family, type | SOCK_CLOEXEC, protocol));
  REQUIRE(fd);
  return fd;
}

// By a packet socket of the pod, which tells the kernel that the frame is of the type `told`.
// Whether it was taken: false is what the kernel says of a frame that a hook has dropped.
bool send_frame(const Bed& bed, int socket_fd, const Bytes& bytes, std::uint16_t told) {
  sockaddr_ll to{};
  {
    const auto guard = NetnsGuard::enter(bed.pod.get(), bed.home.get());
    REQUIRE(guard);
    to.sll_ifindex = static_cast<int>(::if_nametoindex("eth0"));
  }
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(told);
  to.sll_halen = ETH_ALEN;
  std::memset(to.sll_addr, 0xff, ETH_ALEN);
  const ssize_t sent =
      ::sendto(socket_fd, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
  if (sent < 0) REQUIRE(errno == ENOBUFS);
  return sent == static_cast<ssize_t>(bytes.size());
}

// Waits until the counter has moved, or for half a second.
std::uint64_t counted(Bed& bed, const char* name, std::uint64_t before) {
  for (int i = 0; i < 50 && bed.counter(name) == before; ++i) ::usleep(10000);
  return bed.counter(name) - before;
}

unsigned seen_within(Sniffer& wire, int timeout_ms) {
  for (int i = 0; i < timeout_ms / 10; ++i) {
    if (const unsigned seen = wire.tcp_packets(80); seen != 0) return seen;
    ::usleep(10000);
  }
  return 0;
}

int set_option(int fd, int level, int name, const void* value, socklen_t bytes) {
  return ::setsockopt(fd, level, name, value, bytes) == 0 ? 0 : errno;
}

}  // namespace

TEST_CASE("a frame whose sender lies about its type does not leave the pod") {
  Bed bed("lie");
  Sniffer wire(bed.node.get(), bed.home.get(), "n0");
  const UniqueFd liar = socket_in_pod(bed, AF_PACKET, SOCK_RAW, 0);
  const Bytes v4 = frame(ip_packet(AF_INET), {0x08, 0x00});
  const Bytes v6 = frame(ip_packet(AF_INET6), {0x86, 0xdd});
  // The bed itself: without the hooks they arrive as what they are.
  for (const Bytes& bytes : {v4, v6}) {
    send_frame(bed, liar.get(), bytes, ETH_P_ARP);
    REQUIRE(seen_within(wire, 1000) == 1);
  }
  bed.join();
  struct Case {
    const char* text;
    Bytes bytes;
    std::uint16_t told;
    const char* counter;
  };
  const Bytes arp = frame(Bytes(28, 0), {0x08, 0x06});
  for (const auto& tried : {
           Case{"IPv4, said to be ARP", v4, ETH_P_ARP, "drop_ethertype"},
           Case{"IPv6, said to be ARP", v6, ETH_P_ARP, "drop_ethertype"},
           Case{"IPv4, said to be IPv6", v4, ETH_P_IPV6, "drop_ethertype"},
           Case{"IPv6, said to be IPv4", v6, ETH_P_IP, "drop_ethertype"},
           Case{"IPv4, said to be a frame with a length", v4, ETH_P_802_2, "drop_ethertype"},
           Case{"ARP, said to be IPv4", arp, ETH_P_IP, "drop_ethertype"},
           Case{"IPv4, of a sender that says nothing", v4, 0, "drop_raw_payload"},
           Case{"IPv6, of a sender that says nothing", v6, 0, "drop_raw_payload"},
           Case{"IPv4, honest", v4, ETH_P_IP, "drop_raw_payload"},
           Case{"IPv4 in a VLAN tag, said to be ARP", frame(ip_packet(AF_INET), {0x81, 0, 0, 0, 0x08, 0}), ETH_P_ARP,
                "drop_ethertype"},
           Case{"IPv4 in a VLAN tag, honest", frame(ip_packet(AF_INET), {0x81, 0, 0, 0, 0x08, 0}), ETH_P_8021Q,
                "drop_vlan"},
           Case{"IPv6 in a priority tag of 802.1ad, honest", frame(ip_packet(AF_INET6), {0x88, 0xa8, 0, 0, 0x86, 0xdd}),
                ETH_P_8021AD, "drop_vlan"},
           Case{"IPv6 in two VLAN tags, of a sender that says nothing",
                frame(ip_packet(AF_INET6), {0x88, 0xa8, 0, 1, 0x81, 0, 0, 0, 0x86, 0xdd}), 0, "drop_vlan"},
       }) {
    INFO(tried.text);
    const auto before = bed.counter(tried.counter);
    static_cast<void>(send_frame(bed, liar.get(), tried.bytes, tried.told));
    CHECK(counted(bed, tried.counter, before) == 1);
    CHECK(seen_within(wire, 50) == 0);
  }
  // The header is the kernel's: the type is what was said, in the frame as well.
  const UniqueFd cooked = socket_in_pod(bed, AF_PACKET, SOCK_DGRAM, IPPROTO_UDP);
  const auto before = bed.counter("drop_raw_payload");
  static_cast<void>(send_frame(bed, cooked.get(), ip_packet(AF_INET), ETH_P_IP));
  CHECK(counted(bed, "drop_raw_payload", before) == 1);
  CHECK(seen_within(wire, 50) == 0);
}

TEST_CASE("honest frames that are not TCP leave the pod") {
  Bed bed("honest");
  bed.join();
  const UniqueFd raw = socket_in_pod(bed, AF_PACKET, SOCK_RAW, 0);
  Sniffer wire(bed.node.get(), bed.home.get(), "n0");
  Bytes udp = ip_packet(AF_INET);
  udp[9] = IPPROTO_UDP;
  CHECK(send_frame(bed, raw.get(), frame(udp, {0x08, 0x00}), ETH_P_IP));
  CHECK(send_frame(bed, raw.get(), frame(udp, {0x08, 0x00}), ETH_P_ALL));
  CHECK(send_frame(bed, raw.get(), frame(Bytes(28, 0), {0x08, 0x06}), ETH_P_ARP));
  CHECK(send_frame(bed, raw.get(), frame(Bytes(38, 0x42), {0, 38}), ETH_P_802_2));  // as a bridge's spanning tree
  CHECK(send_frame(bed, raw.get(), frame(Bytes(38, 0x42), {0, 38}), 0));
  CHECK(wire.frames_from({2, 0, 0, 0, 0, 9}) == 5);  // veth hands over within the call
  for (const char* name : {"drop_ethertype", "drop_vlan", "drop_truncated", "drop_raw_payload"}) {
    INFO(name);
    CHECK(bed.counter(name) == 0);
  }
}

TEST_CASE("a packet socket of a pod gets no way past tc egress") {
  Bed bed("bypass");
  REQUIRE(bed.agent->capabilities().has_option_hook);
  Sniffer wire(bed.node.get(), bed.home.get(), "n0");
  const int on = 1;
  const int off = 0;
  const Bytes v4 = frame(ip_packet(AF_INET), {0x08, 0x00});
  // Before the pod has joined it may, and what has it already keeps it: a limit that docs/threat-model.md tells.
  const UniqueFd older = socket_in_pod(bed, AF_PACKET, SOCK_RAW, 0);
  REQUIRE(set_option(older.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) == 0);
  bed.join();
  send_frame(bed, older.get(), v4, ETH_P_IP);
  CHECK(seen_within(wire, 1000) == 1);

  const UniqueFd packet = socket_in_pod(bed, AF_PACKET, SOCK_RAW, 0);
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) == EPERM);
  const std::array<int, 2> longer{1, 0};
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_QDISC_BYPASS, longer.data(), sizeof(longer)) == EPERM);
  CHECK(bed.counter("sockopt_refused") == 2);
  // What could be changed when tc has looked at it.
  const tpacket_req ring{.tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048, .tp_frame_nr = 2};
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_TX_RING, &ring, sizeof(ring)) == EPERM);
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) == EPERM);
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_VNET_HDR, &off, sizeof(off)) == 0);
  CHECK(bed.counter("sockopt_refused") == 4);
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &off, sizeof(off)) == 0);
  CHECK(set_option(older.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &off, sizeof(off)) == 0);
  CHECK(bed.counter("sockopt_refused") == 4);
  for (const UniqueFd* sender : {&packet, &older}) {
    const auto before = bed.counter("drop_raw_payload");
    send_frame(bed, sender->get(), v4, ETH_P_IP);
    CHECK(counted(bed, "drop_raw_payload", before) == 1);
  }
  CHECK(seen_within(wire, 50) == 0);

  // Elsewhere on the machine it is as ever.
  const UniqueFd foreign(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  REQUIRE(foreign);
  CHECK(set_option(foreign.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) == 0);

  // And in a pod that has left.
  REQUIRE(bed.agent->detach_pod(bed.plan.slot, bed.pod.get(), bed.home.get()));
  CHECK(set_option(packet.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) == 0);
}

TEST_CASE("an AF_XDP socket of a pod gets no transmit ring") {
  const UniqueFd foreign(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!foreign) {
    WARN("does not apply: this kernel has no AF_XDP");
    return;
  }
  Bed bed("xdp");
  bed.join();
  constexpr std::size_t kBytes = 16 * 4096;
  void* area = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(area != MAP_FAILED);
  xdp_umem_reg memory{};
  memory.addr = reinterpret_cast<std::uintptr_t>(area);
  memory.len = kBytes;
  memory.chunk_size = 4096;
  const int entries = 16;
  const UniqueFd xdp = socket_in_pod(bed, AF_XDP, SOCK_RAW, 0);
  CHECK(set_option(foreign.get(), SOL_XDP, XDP_UMEM_REG, &memory, sizeof(memory)) == 0);
  CHECK(set_option(foreign.get(), SOL_XDP, XDP_TX_RING, &entries, sizeof(entries)) == 0);
  CHECK(set_option(xdp.get(), SOL_XDP, XDP_UMEM_REG, &memory, sizeof(memory)) == EPERM);
  CHECK(set_option(xdp.get(), SOL_XDP, XDP_TX_RING, &entries, sizeof(entries)) == EPERM);
  CHECK(set_option(xdp.get(), SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)) == 0);
  CHECK(bed.counter("sockopt_refused") == 2);
  ::munmap(area, kBytes);
}

TEST_CASE("other options are set as ever, long ones too") {
  Bed bed("options");
  bed.join();
  const UniqueFd tcp = socket_in_pod(bed, AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  CHECK(set_option(tcp.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
  CHECK(set_option(tcp.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
  CHECK(set_option(tcp.get(), SOL_SOCKET, SO_KEEPALIVE, nullptr, 0) == EINVAL);
  CHECK(set_option(tcp.get(), SOL_SOCKET, SO_KEEPALIVE, nullptr, 4) == EFAULT);
  int got = 0;
  socklen_t bytes = sizeof(got);
  REQUIRE(::getsockopt(tcp.get(), IPPROTO_TCP, TCP_NODELAY, &got, &bytes) == 0);
  CHECK(got == 1);
  // Longer than a page, of which the kernel reads the beginning.
  std::vector<std::uint8_t> page(5000, 0);
  page[0] = 1;
  CHECK(set_option(tcp.get(), SOL_SOCKET, SO_KEEPALIVE, page.data(), static_cast<socklen_t>(page.size())) == 0);
  REQUIRE(::getsockopt(tcp.get(), SOL_SOCKET, SO_KEEPALIVE, &got, &bytes) == 0);
  CHECK(got == 1);
}
