// SPDX-License-Identifier: Apache-2.0
// ZdsClient: the connection to a stock istio-cni: connects to its socket, says hello, reads one message at a time and answers each. What the
// messages mean is ZdsSession's. A lost connection is made again, ever later; pods are served all the while. Control thread, never blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"
#include "control/scheduler.hpp"
#include "control/zds_session.hpp"
#include "core/reactor.hpp"

namespace culvert::control {

class ZdsClient {
 public:
  struct Callbacks {
    std::function<void()> connected;
    // Once for each new reason why there is no connection.
    std::function<void(const std::string& why)> lost;
    // istio-cni does not speak as it should. The connection is closed and not made again.
    std::function<void(const Error& error)> protocol_error;
    // A pod could not be started. It is tried again.
    std::function<void(const std::string& why)> not_started;
  };

  // Everything outlives the client.
  ZdsClient(std::string socket_path, Reactor& reactor, Scheduler& scheduler, ZdsSession& session, Callbacks callbacks);
  ~ZdsClient();
  ZdsClient(const ZdsClient&) = delete;
  ZdsClient& operator=(const ZdsClient&) = delete;

  // Begins to connect. Again: nothing.
  void start();

 private:
  void connect();
  void readable();
  // Answers; false: the connection has ended.
  [[nodiscard]] bool answer(std::string_view packet);
  void lose(const std::string& why);
  void close() noexcept;
  void retry_later();
  void protocol_error(const Error& error);

  std::string socket_path_;
  Reactor& reactor_;
  Scheduler& scheduler_;
  ZdsSession& session_;
  Callbacks callbacks_;
  UniqueFd socket_;
  std::string last_loss_;
  std::uint64_t wait_ms_ = 0;  // before the next connect; grows until a message has come
  Scheduler::TimerId connect_timer_ = 0;
  Scheduler::TimerId retry_timer_ = 0;
  bool is_started_ = false;
  bool is_retrying_ = false;
};

}  // namespace culvert::control
