// SPDX-License-Identifier: Apache-2.0
#include "admin/port_server.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>

#include "core/socket.hpp"

namespace culvert::admin {
namespace {

constexpr int kBacklog = 32;

}  // namespace

PortServer::PortServer(Plan plan, Reactor& reactor, Tell tell)
    : plan_(std::move(plan)), reactor_(reactor), tell_(std::move(tell)) {}

PortServer::~PortServer() {
  if (timer_ != 0) reactor_.cancel(timer_);
}

Result<std::unique_ptr<PortServer>> PortServer::start(Plan plan, Reactor& reactor, Tell tell) {
  std::unique_ptr<PortServer> server(new PortServer(std::move(plan), reactor, std::move(tell)));
  if (auto served = server->attempt(); !served) {
    if (served.error().sys_errno() != EADDRINUSE) return std::unexpected(std::move(served).error());
    server->wait(served.error());
  }
  return server;
}

Result<void> PortServer::attempt() {
  // The wildcard of IPv6 takes IPv4 as well; any other address is its own family's.
  auto listener = CV_TRY(tcp_listener(
      plan_.address,
      {.backlog = kBacklog, .is_reuseport = false, .is_v6_only = !plan_.address.address.is_unspecified()}));
  const auto local = local_endpoint(listener.get());
  server_ = CV_TRY(HttpServer::start(std::move(listener), plan_.limits, reactor_, plan_.handler));
  port_ = local ? local->port : plan_.address.port;
  return {};
}

void PortServer::wait(const Error& error) {
  if (waits_for_.empty()) {
    waits_for_ = fmt::format("the {} waits for its port, and tries again within {} s each time: {}; {}", plan_.what,
                             kRetryMostMs / 1'000, error.message(), plan_.remedy);
    tell_(telemetry::Level::Warn, waits_for_);
  }
  timer_ = reactor_.after_ms(std::exchange(retry_ms_, std::min(2 * retry_ms_, kRetryMostMs)), [this] {
    timer_ = 0;
    if (auto served = attempt(); !served) return wait(served.error());
    waits_for_.clear();
    tell_(telemetry::Level::Info, fmt::format("the {} has its port now: {}", plan_.what, plan_.address.to_string()));
  });
}

void PortServer::stop_accepting() {
  if (timer_ != 0) reactor_.cancel(std::exchange(timer_, 0));
  if (server_ != nullptr) server_->stop_accepting();
}

}  // namespace culvert::admin
