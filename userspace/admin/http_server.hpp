// SPDX-License-Identifier: Apache-2.0
// HttpServer: one listening socket and its connections, HTTP/1.1, driven by the Reactor; control thread only. It knows no
// routes: a handler gets each request and answers through an HttpReply, at once or later. Small on purpose: libmicrohttpd
// brings GnuTLS along, 2.7 MB of resident memory in an agent that must idle below 8.
//
// Limits: kHeadBytesMax and Options::body_bytes_max for a request; Options::connections_max connections, beyond which the one
// that has waited longest for its client makes room; Options::request_ms to send a request, idle_ms between two, stall_ms
// without progress of an answer, reply_ms for the handler (then 504), stream_ms for an answer that is made as it is taken.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "admin/http_request.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "core/reactor.hpp"

namespace culvert::admin {

// A body that is made as its client takes it: the server asks for the next piece when the last one has gone out, one piece in
// a turn of the reactor, so that neither a fast client nor a slow one holds up anybody else. What is in memory is one piece.
class BodySource {
 public:
  virtual ~BodySource() = default;
  // Appends a piece to `out`, some tens of KiB. False: that was the last.
  virtual bool next(std::string& out) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string allow{};                           // of a 405: the methods that are allowed
  std::string content_encoding{};                // empty: none
  std::string vary{};                            // request fields that the answer depends on
  std::unique_ptr<BodySource> source = nullptr;  // not null: in the place of `body`, which is empty
};

class HttpConnection;

// A way back to whoever asked. Copies are the same reply; the first answer counts. Safe after the client or the server went.
class HttpReply {
 public:
  HttpReply(std::weak_ptr<HttpConnection> connection, std::uint64_t request)
      : connection_(std::move(connection)), request_(request) {}
  void send(HttpResponse response) const;
  // The answer takes longer than Options::reply_ms, up to `limit_ms` from now. A client that closes its side meanwhile is taken to have gone.
  void expect_later(std::uint64_t limit_ms) const;
  // Whether somebody still waits for it.
  [[nodiscard]] bool is_awaited() const;

 private:
  std::weak_ptr<HttpConnection> connection_;
  std::uint64_t request_;
};

class HttpServer {
 public:
  using Handler = std::function<void(const HttpRequest&, HttpReply)>;
  struct Options {
    std::size_t connections_max = 16;
    std::size_t body_bytes_max = 0;
    std::uint64_t request_ms = 5'000;
    std::uint64_t idle_ms = 60'000;
    std::uint64_t stall_ms = 10'000;
    std::uint64_t reply_ms = 5'000;
    std::uint64_t stream_ms = 120'000;
    bool checks_peer = false;  // unix socket: only root and the agent's own user are answered
  };

  // `listener` is a listening non-blocking socket. `reactor` outlives the server.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(UniqueFd listener, const Options& options,
                                                                 Reactor& reactor, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // No new connection; the present ones finish what they asked for.
  void stop_accepting();
  [[nodiscard]] std::size_t connections() const noexcept { return connections_.size(); }

 private:
  friend class HttpConnection;
  HttpServer(UniqueFd listener, const Options& options, Reactor& reactor, Handler handler);

  [[nodiscard]] Result<void> watch_listener();
  void accept_ready();
  void make_room();
  void remove(std::uint64_t id);

  UniqueFd listener_;
  Options options_;
  Reactor& reactor_;
  Handler handler_;
  std::map<std::uint64_t, std::shared_ptr<HttpConnection>> connections_;  // by id, the oldest first
  std::uint64_t next_id_ = 1;
  Reactor::TimerId retry_timer_ = 0;
};

}  // namespace culvert::admin
