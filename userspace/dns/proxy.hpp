// SPDX-License-Identifier: Apache-2.0
// Proxy: DNS of one pod. Takes questions on its loopback, port 15053, over UDP and TCP; answers what the mesh knows (mesh_names.hpp) and forwards
// the rest from the pod's own namespace. Control thread.
//
// Limits: kQueryBytesMax of a question, Forwarder::kQuestionsMax out at once (more: SERVFAIL), kTcpMax connections (more are closed), each with one
// question at a time and kTcpIdleMs for the next.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "core/reactor.hpp"
#include "dns/counters.hpp"
#include "state/snapshot.hpp"

namespace culvert::dns {

inline constexpr std::uint16_t kPort = 15053;

class Proxy {
 public:
  static constexpr std::size_t kTcpMax = 64;
  static constexpr std::uint64_t kTcpIdleMs = 5'000;

  // What is known of the pod now. `is_known` false: the mesh does not know it yet, and nothing is answered but SERVFAIL.
  struct View {
    std::shared_ptr<const state::Snapshot> snapshot;
    bool is_known = false;
    const state::WorkloadEntry* workload = nullptr;  // of the snapshot; may be null
  };
  struct Told {
    std::string_view query;   // the type, as text
    std::string_view domain;  // the name
    std::string_view result;
    std::size_t endpoints = 0;  // records of the answer
  };
  struct Options {
    UniqueFd netns;
    std::string namespace_name;
    std::string network;
    std::string domain = "cluster.local";
    std::uint32_t mark = 0;  // of every socket, where rules capture the pod; 0: none
    // Makes a socket known as the agent's own, where programs do: 0 or an errno. May be empty.
    std::function<int(int fd)> claim;
    std::function<View()> look;
    // Hears of each question and what became of it; may be empty.
    std::function<void(const Told&)> log;
  };

  // Opens the sockets. `reactor` and `counters` outlive the proxy.
  [[nodiscard]] static Result<std::unique_ptr<Proxy>> open(Reactor& reactor, Counters& counters, Options options);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

 private:
  struct State;
  explicit Proxy(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace culvert::dns
