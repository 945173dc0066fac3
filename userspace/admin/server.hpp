// SPDX-License-Identifier: Apache-2.0
// Server: the agent's three doors for people and machines. On a unix socket the admin API that culvertctl speaks (JSON,
// root and the agent's own user only); on TCP the metrics and the readiness probe, for anyone who can reach the port, with
// nothing in them that names a secret. Control thread; no thread of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "admin/http_server.hpp"
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
  };

  // `reactor` and `provider` outlive the server. Makes the socket's directory (0755) when it is missing; an abandoned socket
  // is replaced, one that another agent answers is an error.
  [[nodiscard]] static Result<std::unique_ptr<Server>> start(const Options& options, Reactor& reactor,
                                                             Provider& provider);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Draining: metrics and readiness take no new connection; the admin socket stays until the end, to show how it goes.
  void stop_accepting();
  // The ports in force (useful when 0 was asked for); 0 when there is none.
  [[nodiscard]] std::uint16_t metrics_port() const noexcept { return metrics_port_; }
  [[nodiscard]] std::uint16_t readiness_port() const noexcept { return readiness_port_; }

 private:
  Server() = default;

  std::string socket_path_;
  std::uint64_t socket_inode_ = 0;
  std::uint16_t metrics_port_ = 0;
  std::uint16_t readiness_port_ = 0;
  std::unique_ptr<HttpServer> admin_;
  std::unique_ptr<HttpServer> metrics_;
  std::unique_ptr<HttpServer> readiness_;
};

}  // namespace culvert::admin
