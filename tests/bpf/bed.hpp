// SPDX-License-Identifier: Apache-2.0
// A test bed: one pod and its node as two network namespaces on a veth pair, a datapath, and sockets on either side. Everything is
// named after the bed, made by the constructor (after cleaning up what a crash left) and removed by the destructor.
//
//   node: n0 10.91.0.1/24 fd91::1/64; lo also 10.92.0.1, fd92::1 ("elsewhere")      pod: eth0 10.91.0.2/24 fd91::2/64
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "core/socket.hpp"
#include "datapath/datapath.hpp"

namespace culvert::test {

inline constexpr const char* kPodV4 = "10.91.0.2";
inline constexpr const char* kPodV6 = "fd91::2";
inline constexpr const char* kNodeV4 = "10.91.0.1";
inline constexpr const char* kNodeV6 = "fd91::1";
inline constexpr const char* kElsewhereV4 = "10.92.0.1";
inline constexpr const char* kElsewhereV6 = "fd92::1";

// By the shell. Each exec costs a guest a tenth of a second: commands of ip go in batches.
void run_or_fail(const std::string& command);
// The shell's command that runs these commands of ip in a namespace ("": here).
[[nodiscard]] std::string ip_batch(const std::string& netns, const std::vector<std::string>& commands);
// As `ip netns delete`; of one that is not there too.
void delete_netns(const std::string& netns);
[[nodiscard]] Endpoint at(const char* address, std::uint16_t port);

class Bed {
 public:
  explicit Bed(const std::string& name, const datapath::Datapath::Options& options = {});
  ~Bed();
  Bed(const Bed&) = delete;
  Bed& operator=(const Bed&) = delete;

  // Opens the agent's four listeners in the pod, marks and registers them, attaches the hooks.
  void join();
  // Only the listeners; `close_listeners` is an agent that is gone.
  void open_listeners();
  void close_listeners();
  // Another agent process: the old one's descriptors go, its pins stay.
  void restart_agent();

  [[nodiscard]] UniqueFd listener(int netns_fd, const Endpoint& address, bool is_transparent = false) const;
  // A socket of an application, not yet connected; blocking calls go through the functions below.
  [[nodiscard]] UniqueFd socket(int netns_fd, int family) const;
  // Connects and waits for the outcome: 0 or an errno; ETIMEDOUT after `timeout_ms`.
  [[nodiscard]] int connect(int fd, const Endpoint& destination, int timeout_ms = 2000) const;
  // The agent's connection to an application in a client's name.
  [[nodiscard]] UniqueFd spoofed_socket(const Endpoint& client) const;
  [[nodiscard]] std::uint64_t counter(const std::string& name) const;

  std::string name;
  UniqueFd home, node, pod;
  datapath::Datapath::Options options;
  std::unique_ptr<datapath::Datapath> agent;
  datapath::PodPlan plan;
  UniqueFd outbound_v4, outbound_v6, inbound_v4, inbound_v6;

 private:
  void remove_all() const;
};

// An accepted connection within the time, or an invalid descriptor.
[[nodiscard]] UniqueFd accept_within(const UniqueFd& listener, int timeout_ms = 2000);
// Sends `text`, and reads as many bytes at the other end; true if they are the same.
[[nodiscard]] bool carries(const UniqueFd& from, const UniqueFd& to, const std::string& text);
[[nodiscard]] bool wait_readable(int fd, int timeout_ms);

// Sees every frame that reaches a device; for "nothing has left the pod".
class Sniffer {
 public:
  Sniffer(int netns_fd, int home_fd, const std::string& device);
  // TCP packets seen since the last call, IPv4 and IPv6, to or from `port` (0: any).
  [[nodiscard]] unsigned tcp_packets(std::uint16_t port = 0);
  // Frames of any kind that came from that Ethernet address since the last call.
  [[nodiscard]] unsigned frames_from(const std::array<std::uint8_t, 6>& source);

 private:
  UniqueFd fd_;
};

}  // namespace culvert::test
