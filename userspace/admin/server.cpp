// SPDX-License-Identifier: Apache-2.0
// The listeners of the admin server; see server.hpp.
#include "admin/server.hpp"

#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/routes.hpp"

namespace culvert::admin {
namespace {

constexpr int kBacklog = 32;
constexpr HttpServer::Options kAdminLimits{
    .connections_max = 16, .body_bytes_max = 64 * 1024, .reply_ms = 10'000, .checks_peer = true};
constexpr HttpServer::Options kLocalLimits{.connections_max = 16, .body_bytes_max = 8 * 1024, .request_ms = 2'000};
constexpr HttpServer::Options kPublicLimits{.connections_max = 32};

UniqueFd unix_socket() { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

// Takes an abandoned socket away; one that is answered, or anything that is no socket, stays and is an error.
Result<void> clear_path(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode))
    return fail(ErrorCode::AlreadyExists, "{} exists and is not a socket; remove it or set another admin socket", path);
  const UniqueFd probe = unix_socket();
  if (probe &&
      (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN)) {
    return fail(ErrorCode::AlreadyExists, "another agent answers on {}; stop it or set another admin socket", path);
  }
  if (::unlink(path.c_str()) != 0) return fail_errno(errno, "cannot remove the abandoned socket {}", path);
  return {};
}

Result<UniqueFd> unix_listener(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::InvalidArgument, "the admin socket's path {} is longer than {} bytes", path,
                sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (const auto slash = path.rfind('/'); slash != std::string::npos && slash > 0) {
    const std::string directory = path.substr(0, slash);
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno(errno, "cannot make {} for the admin socket", directory);
  }
  CV_TRY(clear_path(path, address));
  UniqueFd listener = unix_socket();
  if (!listener) return fail_errno(errno, "cannot make the admin socket");
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno(errno, "cannot bind the admin socket {}", path);
  }
  // Nobody can connect before listen, so the mode is right from the first moment on.
  if (::chmod(path.c_str(), 0600) != 0) return fail_errno(errno, "cannot set the mode of {}", path);
  if (::listen(listener.get(), kBacklog) != 0) return fail_errno(errno, "cannot listen on {}", path);
  return listener;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(const Options& options, Reactor& reactor, Provider& provider) {
  std::unique_ptr<Server> server(new Server());
  const auto bound = [&](auto route) {
    return [&provider, route](const HttpRequest& request, const HttpReply& reply) { route(provider, request, reply); };
  };
  server->dumps_ = std::make_unique<Dumps>(provider);
  if (!options.socket_path.empty()) {
    auto listener = CV_TRY(unix_listener(options.socket_path));
    server->socket_path_ = options.socket_path;
    struct stat status{};
    if (::lstat(options.socket_path.c_str(), &status) == 0) server->socket_inode_ = status.st_ino;
    const auto route = [&provider, &dumps = *server->dumps_](const HttpRequest& request, const HttpReply& reply) {
      if (request.path == "/v1/config_dump") return route_dump(dumps, request, reply);
      route_admin(provider, request, reply);
    };
    server->admin_ = CV_TRY(HttpServer::start(std::move(listener), kAdminLimits, reactor, route));
  }
  const auto start_public = [&](const char* what, const char* key, const Endpoint& endpoint, auto route) {
    return with_context(PortServer::start({.what = what,
                                           .remedy = fmt::format("free the port, or set {} and restart", key),
                                           .address = endpoint,
                                           .limits = kPublicLimits,
                                           .handler = bound(route)},
                                          reactor, options.tell),
                        what);
  };
  if (options.metrics) {
    server->metrics_ = CV_TRY(start_public("metrics listener", "admin.metrics", *options.metrics, route_metrics));
  }
  if (options.readiness) {
    server->readiness_ =
        CV_TRY(start_public("readiness listener", "admin.readiness", *options.readiness, route_readiness));
  }
  if (options.local_port) server->start_local(options, reactor, provider);
  return server;
}

void Server::start_local(const Options& options, Reactor& reactor, Provider& provider) {
  local_routes_ = std::make_unique<LocalRoutes>(provider, *dumps_, reactor);
  std::uint16_t port = *options.local_port;
  for (const IpAddress& address : {IpAddress::v4({htonl(INADDR_LOOPBACK)}), IpAddress::v6(in6addr_loopback)}) {
    auto served = PortServer::start(
        {.what = "local admin port",
         .remedy = "free the port, or set admin.local_port and restart",
         .address = {address, port},
         .limits = kLocalLimits,
         .handler = [routes = local_routes_.get()](const HttpRequest& request,
                                                   const HttpReply& reply) { routes->handle(request, reply); }},
        reactor, options.tell);
    if (!served) {
      // IPv6 may be off, as a whole or on lo.
      const int error = served.error().sys_errno();
      if (!address.is_v4() && (error == EADDRNOTAVAIL || error == EAFNOSUPPORT)) continue;
      notes_.push_back(fmt::format("the local admin port is not served: {}; set admin.local_port, and restart",
                                   served.error().message()));
      options.tell(telemetry::Level::Warn, notes_.back());
      continue;
    }
    if ((*served)->port() != 0) port = (*served)->port();
    local_.push_back(std::move(*served));
  }
}

std::vector<std::string> Server::notes() const {
  std::vector<std::string> notes = notes_;
  const auto add = [&notes](const PortServer* server) {
    if (server != nullptr && !server->waits_for().empty()) notes.push_back(server->waits_for());
  };
  add(metrics_.get());
  add(readiness_.get());
  for (const auto& one : local_) add(one.get());
  return notes;
}

std::vector<std::string> Server::pending() const {
  std::vector<std::string> names;
  for (const PortServer* server : {metrics_.get(), readiness_.get()}) {
    if (server != nullptr && !server->waits_for().empty()) names.push_back(server->what());
  }
  return names;
}

std::uint16_t Server::local_port() const noexcept {
  for (const auto& one : local_) {
    if (one->port() != 0) return one->port();
  }
  return 0;
}

Server::~Server() {
  admin_.reset();
  struct stat status{};
  // A successor may have put its own socket there already.
  if (!socket_path_.empty() && ::lstat(socket_path_.c_str(), &status) == 0 && status.st_ino == socket_inode_) {
    ::unlink(socket_path_.c_str());
  }
}

void Server::stop_accepting() {
  if (metrics_) metrics_->stop_accepting();
  if (readiness_) readiness_->stop_accepting();
  for (const auto& one : local_) one->stop_accepting();
}

}  // namespace culvert::admin
