// SPDX-License-Identifier: Apache-2.0
// Server: the agent's three doors for people and machines. On a unix socket the admin API that culvertctl speaks (JSON,
// root and the agent's own user only); on TCP the metrics and the readiness probe, for anyone who can reach the port, with
// nothing in them that names a secret. Control thread; no thread of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "admin/dumps.hpp"
#include "admin/http_server.hpp"
#include "admin/local_routes.hpp"
#include "admin/port_server.hpp"
#include "admin/provider.hpp"
#include "base/address.hpp"
#include "base/result.hpp"
#include "core/reactor.hpp"

namespace culvert::admin {

class Server {
 public:
  struct Options {
    std::string socket_path = "/run/culvert/admin.sock";  // empty: no admin socket
    std::optional<Endpoint> metrics;                      // GET /metrics, /stats/prometheus
    std::optional<Endpoint> readiness;                    // GET /healthz/ready
    // What LocalRoutes answers, on 127.0.0.1 and, where that address exists, ::1. 0: any free port.
    std::optional<std::uint16_t> local_port = std::nullopt;
    PortServer::Tell tell = [](telemetry::Level, const std::string&) {
    };  // that a port is waited for, and that it is there
  };

  // `reactor` and `provider` outlive the server. Makes the socket's directory (0755) when it is missing; an abandoned socket
  // is replaced, one that another agent answers is an error. A port that is taken is waited for: the agent serves its pods without it, and pods
  // whose agent ends are cut off.
  [[nodiscard]] static Result<std::unique_ptr<Server>> start(const Options& options, Reactor& reactor,
                                                             Provider& provider);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // What goes without: ports that are waited for, and addresses of the local port that cannot be served at all.
  [[nodiscard]] std::vector<std::string> notes() const;
  // Of metrics and readiness, those that wait: without them the agent is not ready. Nothing depends on the local port, and whoever may bind
  // that must not be able to keep the agent from being ready.
  [[nodiscard]] std::vector<std::string> pending() const;
  // Draining: metrics, readiness and the local port take no new connection; the admin socket stays until the end, to show how it goes.
  void stop_accepting();
  // The ports in force (useful when 0 was asked for); 0 when there is none.
  [[nodiscard]] std::uint16_t metrics_port() const noexcept { return metrics_ == nullptr ? 0 : metrics_->port(); }
  [[nodiscard]] std::uint16_t readiness_port() const noexcept { return readiness_ == nullptr ? 0 : readiness_->port(); }
  [[nodiscard]] std::uint16_t local_port() const noexcept;

 private:
  Server() = default;
  void start_local(const Options& options, Reactor& reactor, Provider& provider);

  std::string socket_path_;
  std::uint64_t socket_inode_ = 0;
  std::vector<std::string> notes_;  // for as long as it lives
  // They outlive those who call them.
  std::unique_ptr<Dumps> dumps_;
  std::unique_ptr<LocalRoutes> local_routes_;
  std::unique_ptr<HttpServer> admin_;
  std::unique_ptr<PortServer> metrics_;
  std::unique_ptr<PortServer> readiness_;
  std::vector<std::unique_ptr<PortServer>> local_;  // one for each address
};

}  // namespace culvert::admin
