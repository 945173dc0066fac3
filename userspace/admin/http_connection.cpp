// SPDX-License-Identifier: Apache-2.0
// HttpConnection; see http_connection.hpp.
#include "admin/http_connection.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.hpp"
#include "telemetry/text.hpp"

namespace culvert::admin {
namespace {

constexpr std::uint64_t kLingerMs = 1'000;
constexpr std::size_t kLingerBytesMax = 1U << 20U;
constexpr std::size_t kReadBytes = 4'096;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

HttpResponse error_response(int status, std::string_view text) {
  HttpResponse response{.status = status, .content_type = "application/json", .body = "{\"error\":", .allow = {}};
  telemetry::append_json_string(response.body, text);
  response.body += "}\n";
  return response;
}

}  // namespace

HttpConnection::HttpConnection(HttpServer& server, std::uint64_t id, UniqueFd fd)
    : server_(server), fd_(std::move(fd)), id_(id) {}

HttpConnection::~HttpConnection() {
  if (is_watched_) server_.reactor_.unwatch(fd_.get());
  if (timer_ != 0) server_.reactor_.cancel(timer_);
}

void HttpConnection::open(bool is_refused) {
  is_refused_ = is_refused;
  watch(EPOLLIN);
  if (state_ == State::Reading) set_deadline(server_.options_.request_ms);
}

void HttpConnection::begin_stop() {
  is_stopping_ = true;
  if (state_ == State::Reading && input_.empty()) close();
}

void HttpConnection::watch(std::uint32_t events) {
  if (is_watched_) {
    if (watched_events_ != events && !server_.reactor_.modify(fd_.get(), events)) return close();
    watched_events_ = events;
    return;
  }
  // The weak pointer keeps a callback that is already on its way from touching a connection that is gone.
  const auto watched = server_.reactor_.watch(fd_.get(), events, [weak = weak_from_this()](std::uint32_t happened) {
    if (const auto self = weak.lock()) self->on_event(happened);
  });
  if (!watched) return close();
  is_watched_ = true;
  watched_events_ = events;
}

void HttpConnection::set_deadline(std::uint64_t delay_ms) {
  if (timer_ != 0) server_.reactor_.cancel(timer_);
  timer_ = server_.reactor_.after_ms(delay_ms, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->on_deadline();
  });
}

void HttpConnection::on_deadline() {
  timer_ = 0;
  if (state_ == State::Handling)
    return answer(request_number_, error_response(504, "the agent's workers did not answer in time"));
  close();
}

void HttpConnection::on_event(std::uint32_t events) {
  switch (state_) {
    case State::Reading: return read_ready();
    case State::Writing:
      if ((events & EPOLLERR) != 0) return close();
      return write_ready();
    case State::Lingering: return linger_ready();
    case State::Handling:  // nothing is awaited from the client: it went away
      if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) close();
      return;
    case State::Closed: return;
  }
}

void HttpConnection::read_ready() {
  std::array<char, kReadBytes> part;
  const ssize_t got = ::recv(fd_.get(), part.data(), part.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return close();
  if (input_.empty()) set_deadline(server_.options_.request_ms);
  input_.append(part.data(), static_cast<std::size_t>(got));
  process_input();
}

void HttpConnection::process_input() {
  if (is_in_process_) return;  // called from an answer that was given inside the handler; the loop below goes on
  is_in_process_ = true;
  const auto self = shared_from_this();
  while (state_ == State::Reading) {
    if (!has_head_) {
      const ParsedHead parsed = parse_head(input_, server_.options_.body_bytes_max, request_);
      if (parsed.state == ParsedHead::State::NeedMore) break;
      if (parsed.state == ParsedHead::State::Bad) {
        is_head_request_ = false;
        refuse(parsed.status, parsed.reason);
        break;
      }
      input_.erase(0, parsed.head_bytes);
      has_head_ = true;
      if (request_.expects_continue && input_.size() < request_.content_length) {
        // Twenty-five bytes into an empty socket; when that fails the client sends its body anyway, after a while.
        [[maybe_unused]] const auto sent =
            ::send(fd_.get(), kContinue.data(), kContinue.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
    }
    if (input_.size() < request_.content_length) break;
    request_.body = input_.substr(0, request_.content_length);
    input_.erase(0, request_.content_length);
    has_head_ = false;
    is_head_request_ = request_.method == "HEAD";
    takes_chunks_ = request_.is_http_11;
    closes_after_ = !request_.keeps_alive || is_stopping_;
    if (is_refused_) {
      refuse(403, "only root and the agent's own user may ask");
      break;
    }
    state_ = State::Handling;
    ++request_number_;
    watch(0);
    set_deadline(server_.options_.reply_ms);
    if (state_ == State::Handling)
      server_.handler_(std::exchange(request_, {}), HttpReply(weak_from_this(), request_number_));
  }
  is_in_process_ = false;
}

void HttpConnection::refuse(int status, std::string_view reason) {
  closes_after_ = true;
  ++request_number_;
  start_answer(error_response(status, reason));
}

void HttpConnection::expect_answer(std::uint64_t request, std::uint64_t limit_ms) {
  if (!awaits(request)) return;
  set_deadline(limit_ms);
  watch(EPOLLRDHUP);
}

void HttpConnection::answer(std::uint64_t request, HttpResponse response) {
  if (!awaits(request)) return;
  const auto self = shared_from_this();
  start_answer(std::move(response));
}

void HttpConnection::start_answer(HttpResponse response) {
  output_head_ = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nCache-Control: no-store\r\n", response.status,
                             reason_phrase(response.status), response.content_type);
  if (response.source == nullptr) {
    output_head_ += fmt::format("Content-Length: {}\r\n", response.body.size());
  } else if (takes_chunks_) {
    output_head_ += "Transfer-Encoding: chunked\r\n";
  } else {
    closes_after_ = true;  // the end of the connection is the end of the body
  }
  if (!response.content_encoding.empty())
    output_head_ += fmt::format("Content-Encoding: {}\r\n", response.content_encoding);
  if (!response.vary.empty()) output_head_ += fmt::format("Vary: {}\r\n", response.vary);
  if (!response.allow.empty()) output_head_ += fmt::format("Allow: {}\r\n", response.allow);
  output_head_ += closes_after_ ? "Connection: close\r\n\r\n" : "Connection: keep-alive\r\n\r\n";
  output_body_ = is_head_request_ ? std::string() : std::move(response.body);
  source_ = is_head_request_ ? nullptr : std::move(response.source);
  stream_until_ms_ = monotonic_ms() + server_.options_.stream_ms;
  written_ = 0;
  state_ = State::Writing;
  set_write_deadline();
  write_ready();
}

void HttpConnection::write_ready() {
  const std::size_t total = output_head_.size() + output_body_.size();
  while (written_ < total) {
    std::array<iovec, 2> parts{};
    std::size_t count = 0;
    if (written_ < output_head_.size()) {
      parts[count++] = {.iov_base = output_head_.data() + written_, .iov_len = output_head_.size() - written_};
    }
    const std::size_t body_from = written_ < output_head_.size() ? 0 : written_ - output_head_.size();
    if (body_from < output_body_.size()) {
      parts[count++] = {.iov_base = output_body_.data() + body_from, .iov_len = output_body_.size() - body_from};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return watch(EPOLLOUT);
    if (sent < 0) return close();
    written_ += static_cast<std::size_t>(sent);
    set_write_deadline();
  }
  if (source_ == nullptr) return finish_answer();
  if (monotonic_ms() >= stream_until_ms_) return close();
  make_piece();
  watch(EPOLLOUT);  // it goes out when the reactor has served the others
}

void HttpConnection::set_write_deadline() {
  std::uint64_t left_ms = server_.options_.stall_ms;
  if (source_ != nullptr) {
    const std::uint64_t now_ms = monotonic_ms();
    left_ms = std::min(left_ms, stream_until_ms_ - std::min(now_ms, stream_until_ms_));
  }
  set_deadline(left_ms);
}

// The next piece of a body from a source, in the framing of RFC 9112, section 7.1, where the client knows that.
void HttpConnection::make_piece() {
  output_head_.clear();
  output_body_.clear();
  written_ = 0;
  const bool is_last = !source_->next(output_body_);
  if (is_last) source_.reset();
  if (!takes_chunks_) return;
  if (!output_body_.empty()) {
    output_head_ = fmt::format("{:x}\r\n", output_body_.size());
    output_body_ += "\r\n";
  }
  if (is_last) output_body_ += "0\r\n\r\n";
}

void HttpConnection::finish_answer() {
  output_head_ = {};
  output_body_ = {};  // an answer may be megabytes: the memory goes back at once
  if (closes_after_) {
    ::shutdown(fd_.get(), SHUT_WR);
    state_ = State::Lingering;
    input_ = {};
    set_deadline(kLingerMs);
    return watch(EPOLLIN);
  }
  state_ = State::Reading;
  set_deadline(input_.empty() ? server_.options_.idle_ms : server_.options_.request_ms);
  watch(EPOLLIN);
  process_input();
}

void HttpConnection::linger_ready() {
  std::array<char, kReadBytes> part;
  const ssize_t got = ::recv(fd_.get(), part.data(), part.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) linger_bytes_ += static_cast<std::size_t>(got);
  if (got <= 0 || linger_bytes_ > kLingerBytesMax) close();
}

void HttpConnection::close() {
  if (state_ == State::Closed) return;
  state_ = State::Closed;
  const auto self = shared_from_this();  // the server's reference may be the last
  source_.reset();
  if (is_watched_) server_.reactor_.unwatch(fd_.get());
  is_watched_ = false;
  if (timer_ != 0) server_.reactor_.cancel(timer_);
  timer_ = 0;
  fd_.reset();
  server_.remove(id_);
}

}  // namespace culvert::admin
