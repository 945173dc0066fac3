// SPDX-License-Identifier: Apache-2.0
// The listeners of the admin server; see server.hpp.
#include "admin/server.hpp"

#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/routes.hpp"
#include "core/socket.hpp"

namespace culvert::admin {
namespace {

constexpr int kBacklog = 32;
constexpr HttpServer::Options kAdminLimits{
    .connections_max = 16, .body_bytes_max = 64 * 1024, .reply_ms = 10'000, .checks_peer = true};
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

Result<UniqueFd> public_listener(const Endpoint& endpoint) {
  // The wildcard of IPv6 takes IPv4 as well; any other address is its own family's.
  return tcp_listener(endpoint,
                      {.backlog = kBacklog, .is_reuseport = false, .is_v6_only = !endpoint.address.is_unspecified()});
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(const Options& options, Reactor& reactor, Provider& provider) {
  std::unique_ptr<Server> server(new Server());
  const auto bound = [&](auto route) {
    return [&provider, route](const HttpRequest& request, const HttpReply& reply) { route(provider, request, reply); };
  };
  if (!options.socket_path.empty()) {
    auto listener = CV_TRY(unix_listener(options.socket_path));
    server->socket_path_ = options.socket_path;
    struct stat status{};
    if (::lstat(options.socket_path.c_str(), &status) == 0) server->socket_inode_ = status.st_ino;
    server->admin_ = CV_TRY(HttpServer::start(std::move(listener), kAdminLimits, reactor, bound(route_admin)));
  }
  const auto start_public = [&](const Endpoint& endpoint, auto route,
                                std::uint16_t& port) -> Result<std::unique_ptr<HttpServer>> {
    auto listener = CV_TRY(public_listener(endpoint));
    if (const auto local = local_endpoint(listener.get())) port = local->port;
    return HttpServer::start(std::move(listener), kPublicLimits, reactor, bound(route));
  };
  if (options.metrics) {
    server->metrics_ =
        CV_TRY(with_context(start_public(*options.metrics, route_metrics, server->metrics_port_), "metrics listener"));
  }
  if (options.readiness) {
    server->readiness_ = CV_TRY(
        with_context(start_public(*options.readiness, route_readiness, server->readiness_port_), "readiness listener"));
  }
  return server;
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
}

}  // namespace culvert::admin
