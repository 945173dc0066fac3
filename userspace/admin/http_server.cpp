// SPDX-License-Identifier: Apache-2.0
// HttpServer; see http_server.hpp.
#include "admin/http_server.hpp"

#include <algorithm>

#include <sys/socket.h>
#include <unistd.h>

#include "admin/http_connection.hpp"

namespace culvert::admin {
namespace {

constexpr std::uint64_t kAcceptRetryMs = 200;

bool may_ask(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

void HttpReply::send(HttpResponse response) const {
  if (const auto connection = connection_.lock()) connection->answer(request_, std::move(response));
}

void HttpReply::expect_later(std::uint64_t limit_ms) const {
  if (const auto connection = connection_.lock()) connection->expect_answer(request_, limit_ms);
}

bool HttpReply::is_awaited() const {
  const auto connection = connection_.lock();
  return connection != nullptr && connection->awaits(request_);
}

HttpServer::HttpServer(UniqueFd listener, const Options& options, Reactor& reactor, Handler handler)
    : listener_(std::move(listener)), options_(options), reactor_(reactor), handler_(std::move(handler)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::start(UniqueFd listener, const Options& options, Reactor& reactor,
                                                      Handler handler) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(listener), options, reactor, std::move(handler)));
  CV_TRY(server->watch_listener());
  return server;
}

HttpServer::~HttpServer() { stop_accepting(); }

Result<void> HttpServer::watch_listener() {
  return reactor_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
}

void HttpServer::stop_accepting() {
  if (retry_timer_ != 0) {
    reactor_.cancel(retry_timer_);
    retry_timer_ = 0;
  } else if (listener_) {
    reactor_.unwatch(listener_.get());
  }
  listener_.reset();
  const auto present = connections_;
  for (const auto& [id, connection] : present) connection->begin_stop();
}

void HttpServer::accept_ready() {
  // A few at a time, so that a flood of connections leaves the rest of the control thread its turns.
  for (int i = 0; i < 16; ++i) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
      // Descriptors are exhausted and the listener stays readable: look again later instead of spinning.
      reactor_.unwatch(listener_.get());
      retry_timer_ = reactor_.after_ms(kAcceptRetryMs, [this] {
        retry_timer_ = 0;
        if (!watch_listener()) listener_.reset();
      });
      return;
    }
    const bool is_refused = options_.checks_peer && !may_ask(fd.get());
    make_room();
    const std::uint64_t id = next_id_++;
    const auto connection = std::make_shared<HttpConnection>(*this, id, std::move(fd));
    connections_.emplace(id, connection);
    connection->open(is_refused);
  }
}

void HttpServer::make_room() {
  if (connections_.size() < options_.connections_max) return;
  const auto waiting = std::find_if(connections_.begin(), connections_.end(),
                                    [](const auto& entry) { return entry.second->is_waiting(); });
  connections_.erase(waiting != connections_.end() ? waiting : connections_.begin());
}

void HttpServer::remove(std::uint64_t id) { connections_.erase(id); }

}  // namespace culvert::admin
