// SPDX-License-Identifier: Apache-2.0
#include "bed.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <stdexcept>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/netns.hpp"

namespace culvert::test {
namespace {

template <typename T>
T must(Result<T>&& result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

void write_sysctl(const std::string& path) {
  std::ofstream file("/proc/sys/" + path);
  file << 1 << std::flush;
  if (!file) throw std::runtime_error("cannot set " + path);
}

}  // namespace

std::string ip_batch(const std::string& netns, const std::vector<std::string>& commands) {
  std::string text;
  for (const std::string& command : commands) text += command + "\n";
  return "printf '" + text + "' | ip " + (netns.empty() ? "" : "-n " + netns) + " -batch -";
}

void delete_netns(const std::string& netns) {
  const std::string path = "/run/netns/" + netns;
  ::umount2(path.c_str(), MNT_DETACH);
  ::unlink(path.c_str());
}

void run_or_fail(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

Endpoint at(const char* address, std::uint16_t port) { return {must(IpAddress::parse(address)), port}; }

Bed::Bed(const std::string& bed_name, const datapath::Datapath::Options& wanted)
    : name("cvb-" + bed_name), options(wanted) {
  remove_all();
  // Link-local addresses are given, not generated: the kernel makes its own some time after the carrier has come, and a test that compares two
  // states would find it in the second. In batches, since each exec costs a guest a tenth of a second.
  run_or_fail(ip_batch("", {"netns add " + name + "-node", "netns add " + name + "-pod"}) + " && " +
              ip_batch(name + "-node",
                       {"link add n0 type veth peer name eth0 netns " + name + "-pod", "link set n0 addrgenmode none",
                        "link set lo up", "link set n0 up", "addr add fe80::1/64 dev n0 nodad",
                        "addr add 10.91.0.1/24 dev n0", "addr add fd91::1/64 dev n0 nodad",
                        "addr add 10.92.0.1/32 dev lo", "addr add fd92::1/128 dev lo nodad"}) +
              " && " +
              ip_batch(name + "-pod", {"link set lo up", "link set eth0 addrgenmode none", "link set eth0 up",
                                       "addr add fe80::2/64 dev eth0 nodad", "addr add 10.91.0.2/24 dev eth0",
                                       "addr add fd91::2/64 dev eth0 nodad", "route add default via 10.91.0.1",
                                       "route add default via fd91::1"}));
  home = must(open_current_netns());
  node = must(open_netns("/run/netns/" + name + "-node"));
  pod = must(open_netns("/run/netns/" + name + "-pod"));
  {
    const auto guard = must(NetnsGuard::enter(node.get(), home.get()));
    write_sysctl("net/ipv4/ip_forward");
    write_sysctl("net/ipv6/conf/all/forwarding");
  }
  options.pin_dir = "/sys/fs/bpf/" + name;
  options.node_netns_cookie = must(netns_cookie(node.get()));
  agent = must(datapath::Datapath::open(options));
  plan.slot = must(agent->allocate_slot());
  plan.netns_cookie = must(netns_cookie(pod.get()));
  plan.addresses = {must(IpAddress::parse(kPodV4)), must(IpAddress::parse(kPodV6))};
  plan.devices = {"eth0"};
}

Bed::~Bed() {
  agent.reset();
  remove_all();
}

void Bed::remove_all() const {
  datapath::Datapath::remove_pins("/sys/fs/bpf/" + name);
  for (const char* side : {"-node", "-pod"}) delete_netns(name + side);
}

void Bed::open_listeners() {
  using datapath::ListenerRole;
  const auto open = [&](const char* loopback, std::uint16_t port, ListenerRole role) {
    const auto address = at(loopback, port);
    auto fd = listener(pod.get(), address, true);
    if (const int error = agent->socket_marker().mark_agent(fd.get()); error != 0)
      throw std::runtime_error("cannot mark a listener: " + std::string(std::strerror(error)));
    must(agent->set_listener(plan.slot, role, address.address.family(), fd.get()));
    return fd;
  };
  outbound_v4 = open("127.0.0.1", 15001, ListenerRole::Outbound);
  outbound_v6 = open("::1", 15001, ListenerRole::Outbound);
  inbound_v4 = open("127.0.0.1", 15006, ListenerRole::InboundPlaintext);
  inbound_v6 = open("::1", 15006, ListenerRole::InboundPlaintext);
}

void Bed::close_listeners() {
  outbound_v4.reset();
  outbound_v6.reset();
  inbound_v4.reset();
  inbound_v6.reset();
}

void Bed::join() {
  open_listeners();
  must(agent->attach_pod(plan, pod.get(), home.get()));
  must(agent->settle_pod(plan, pod.get(), home.get()));
}

void Bed::restart_agent() {
  agent.reset();
  close_listeners();
  agent = must(datapath::Datapath::open(options));
}

UniqueFd Bed::listener(int netns_fd, const Endpoint& address, bool is_transparent) const {
  const auto guard = must(NetnsGuard::enter(netns_fd, home.get()));
  return must(tcp_listener(address, {.is_transparent = is_transparent}));
}

UniqueFd Bed::socket(int netns_fd, int family) const {
  const auto guard = must(NetnsGuard::enter(netns_fd, home.get()));
  UniqueFd fd(tcp_socket(family));
  if (!fd) throw std::runtime_error("cannot make a socket");
  return fd;
}

int Bed::connect(int fd, const Endpoint& destination, int timeout_ms) const {
  int family = 0;
  socklen_t bytes = sizeof(family);
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &bytes);
  sockaddr_storage storage{};
  const socklen_t length = destination.to_sockaddr(storage, family == AF_INET6);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&storage), length) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd waited{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&waited, 1, timeout_ms) == 0) return ETIMEDOUT;
  return connect_error(fd);
}

UniqueFd Bed::spoofed_socket(const Endpoint& client) const {
  auto fd = socket(pod.get(), client.address.family());
  if (agent->socket_marker().mark_agent(fd.get()) != 0) throw std::runtime_error("cannot mark a socket");
  if (set_mark(fd.get(), options.mark) != 0) throw std::runtime_error("cannot set the mark");
  if (bind_to_loopback_device(fd.get()) != 0) throw std::runtime_error("cannot bind to lo");
  if (bind_transparent(fd.get(), client.address) != 0) throw std::runtime_error("cannot bind in another's name");
  return fd;
}

std::uint64_t Bed::counter(const std::string& wanted) const {
  for (const auto& counter : must(agent->counters(plan.slot)))
    if (counter.name == wanted) return counter.value;
  throw std::runtime_error("no counter " + wanted);
}

bool wait_readable(int fd, int timeout_ms) {
  pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waited, 1, timeout_ms) == 1;
}

UniqueFd accept_within(const UniqueFd& listener, int timeout_ms) {
  if (!wait_readable(listener.get(), timeout_ms)) return {};
  return UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

bool carries(const UniqueFd& from, const UniqueFd& to, const std::string& text) {
  if (::send(from.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) return false;
  std::string got;
  while (got.size() < text.size()) {
    std::array<char, 4096> buffer{};
    if (!wait_readable(to.get(), 2000)) return false;
    const ssize_t bytes = ::recv(to.get(), buffer.data(), buffer.size(), 0);
    if (bytes <= 0) return false;
    got.append(buffer.data(), static_cast<std::size_t>(bytes));
  }
  return got == text;
}

Sniffer::Sniffer(int netns_fd, int home_fd, const std::string& device) {
  const auto guard = must(NetnsGuard::enter(netns_fd, home_fd));
  fd_.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL)));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(device.c_str()));
  if (!fd_ || ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    throw std::runtime_error("cannot listen on " + device);
}

unsigned Sniffer::tcp_packets(std::uint16_t port) {
  unsigned seen = 0;
  for (;;) {
    std::array<std::uint8_t, 2048> packet{};
    sockaddr_ll from{};
    socklen_t length = sizeof(from);
    const ssize_t bytes =
        ::recvfrom(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
    if (bytes < 0) return seen;
    std::size_t ports = 0;
    if (ntohs(from.sll_protocol) == ETH_P_IP && packet[9] == IPPROTO_TCP) ports = (packet[0] & 15U) * 4U;
    if (ntohs(from.sll_protocol) == ETH_P_IPV6 && packet[6] == IPPROTO_TCP) ports = 40;
    if (ports == 0 || from.sll_pkttype == PACKET_OUTGOING) continue;
    const auto at_offset = [&](std::size_t offset) {
      return static_cast<std::uint16_t>(packet[offset] << 8 | packet[offset + 1]);
    };
    if (port == 0 || at_offset(ports) == port || at_offset(ports + 2) == port) ++seen;
  }
}

unsigned Sniffer::frames_from(const std::array<std::uint8_t, 6>& source) {
  unsigned seen = 0;
  for (;;) {
    std::array<std::uint8_t, 2048> packet{};
    sockaddr_ll from{};
    socklen_t length = sizeof(from);
    if (::recvfrom(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length) <
        0)
      return seen;
    if (from.sll_pkttype != PACKET_OUTGOING && std::equal(source.begin(), source.end(), from.sll_addr)) ++seen;
  }
}

}  // namespace culvert::test
