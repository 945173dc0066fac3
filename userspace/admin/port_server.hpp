// SPDX-License-Identifier: Apache-2.0
// PortServer: an HttpServer on one TCP address, which waits for the address while another process has it: one that is about to end, mostly, such as
// the agent that this one replaces. Control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "admin/http_server.hpp"
#include "base/address.hpp"
#include "base/result.hpp"
#include "core/reactor.hpp"
#include "telemetry/log_format.hpp"

namespace culvert::admin {

class PortServer {
 public:
  static constexpr std::uint64_t kRetryFirstMs = 100;  // doubles with each attempt
  static constexpr std::uint64_t kRetryMostMs = 5'000;

  struct Plan {
    std::string what;    // for people: "metrics listener"
    std::string remedy;  // "free the port, or set admin.metrics and restart"
    Endpoint address;    // port 0: any free one
    HttpServer::Options limits;
    HttpServer::Handler handler;
  };
  // Says once that it waits, and once that it serves then.
  using Tell = std::function<void(telemetry::Level, const std::string&)>;

  // `reactor` outlives the server. The error is what waiting does not help against: an address that this node does not have, a port that needs
  // privileges.
  [[nodiscard]] static Result<std::unique_ptr<PortServer>> start(Plan plan, Reactor& reactor, Tell tell);
  ~PortServer();
  PortServer(const PortServer&) = delete;
  PortServer& operator=(const PortServer&) = delete;

  [[nodiscard]] const std::string& what() const noexcept { return plan_.what; }
  // What it waits for, and what to do; empty: it serves.
  [[nodiscard]] const std::string& waits_for() const noexcept { return waits_for_; }
  // 0: it waits.
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  // No new connection, and no further attempt.
  void stop_accepting();

 private:
  PortServer(Plan plan, Reactor& reactor, Tell tell);
  [[nodiscard]] Result<void> attempt();
  void wait(const Error& error);

  Plan plan_;
  Reactor& reactor_;
  Tell tell_;
  std::string waits_for_;
  std::uint64_t retry_ms_ = kRetryFirstMs;
  Reactor::TimerId timer_ = 0;  // 0: none
  std::uint16_t port_ = 0;
  std::unique_ptr<HttpServer> server_;  // null: it waits
};

}  // namespace culvert::admin
