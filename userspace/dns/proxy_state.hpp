// SPDX-License-Identifier: Apache-2.0
// Proxy::State, for the proxy's sources only: what is one for UDP and TCP is in proxy.cpp, the sockets are in proxy_sockets.cpp.
#pragma once

#include <random>
#include <unordered_map>
#include <vector>

#include "base/bytes.hpp"
#include "dns/forwarder.hpp"
#include "dns/message.hpp"
#include "dns/proxy.hpp"

namespace culvert::dns {

struct Proxy::State {
  State(Reactor& loop, Counters& counting, Options chosen, UniqueFd home_netns);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  using Reply = std::function<void(std::vector<std::uint8_t>)>;

  struct TcpClient {
    UniqueFd fd;
    std::vector<std::uint8_t> in;   // of the question that comes, its length in front
    std::vector<std::uint8_t> out;  // of the answer that goes
    std::size_t sent = 0;
    Reactor::TimerId timer = 0;
    bool is_asking = false;
  };

  // proxy_sockets.cpp
  [[nodiscard]] Result<void> open_sockets();
  [[nodiscard]] Result<UniqueFd> listening_socket(int family, int type) const;
  [[nodiscard]] int pod_socket(int family, int type) const;
  void udp_readable(int fd);
  void tcp_acceptable(int fd);
  void tcp_ready(std::uint64_t number, std::uint32_t events);
  // False: the client is gone.
  bool tcp_read(std::uint64_t number);
  bool tcp_write(std::uint64_t number);
  void tcp_answer(std::uint64_t number, std::vector<std::uint8_t> answer);
  void tcp_limit(std::uint64_t number);
  void tcp_close(std::uint64_t number);

  // proxy.cpp. An empty reply: none is sent.
  void take(ByteView packet, bool is_tcp, Reply reply);
  void forward(ByteView packet, const Query& query, bool is_tcp, CounterKey key, Reply reply);
  void tell(const Query& query, std::string_view result, std::size_t endpoints = 0) const;

  Reactor& reactor;
  Counters& counters;
  Options options;
  UniqueFd home;
  std::vector<UniqueFd> listeners;
  std::unordered_map<std::uint64_t, TcpClient> clients;
  std::uint64_t next_client = 1;
  std::mt19937 random{std::random_device{}()};
  std::unique_ptr<Forwarder> forwarder;
};

}  // namespace culvert::dns
