// SPDX-License-Identifier: Apache-2.0
// CniServer: the agent's unix socket for the CNI plugin (messages: culvert/cni/messages.hpp). Control thread only, on its
// Reactor; it holds no state of pods, it asks a PodService. Only root may talk to it (SO_PEERCRED); every malformed, oversized
// or slow client gets a defined answer or is closed, and there is a limit on connections.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <sys/types.h>

#include "base/result.hpp"
#include "core/reactor.hpp"
#include "culvert/cni/messages.hpp"
#include "enroll/pod_service.hpp"

namespace culvert::enroll {

class CniServer {
 public:
  struct Options {
    std::string socket_path = cni::kDefaultSocketPath;  // its directory is made (0755); the socket is 0600
    unsigned connections_max = 256;                     // one more is answered "try again" and closed
    std::uint64_t idle_timeout_ms = 5'000;              // a client that sends nothing for so long is closed
    uid_t allowed_uid = 0;
    // Requests that were refused before they reached the service: one sentence each, for the log.
    std::function<void(const std::string&)> on_refusal;
  };
  struct Counters {
    std::uint64_t requests = 0;  // reached the service
    std::uint64_t refusals = 0;  // malformed, denied, over a limit
  };

  // `reactor` and `service` outlive the server. A stale socket is replaced; one on which an agent answers is an error.
  [[nodiscard]] static Result<std::unique_ptr<CniServer>> open(Options options, Reactor& reactor, PodService& service);
  // Closes every connection and removes the socket.
  ~CniServer();
  CniServer(const CniServer&) = delete;
  CniServer& operator=(const CniServer&) = delete;

  [[nodiscard]] const Counters& counters() const noexcept;
  [[nodiscard]] unsigned connections() const noexcept;

 private:
  struct State;
  explicit CniServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace culvert::enroll
