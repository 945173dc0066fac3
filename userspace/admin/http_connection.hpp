// SPDX-License-Identifier: Apache-2.0
// HttpConnection: one client of an HttpServer: reads a request, hands it over, writes the answer, reads the next. Owned by its
// server; control thread only. It lives in exactly one state, and each state has its time limit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "admin/http_server.hpp"

namespace culvert::admin {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpServer& server, std::uint64_t id, UniqueFd fd);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // After construction: begins to read. `refusal` 403 answers that to the first request and closes.
  void open(bool is_refused);
  // The answer to request number `request`; ignored when that was answered already.
  void answer(std::uint64_t request, HttpResponse response);
  // Of request number `request`: HttpReply::expect_later and is_awaited.
  void expect_answer(std::uint64_t request, std::uint64_t limit_ms);
  [[nodiscard]] bool awaits(std::uint64_t request) const noexcept {
    return state_ == State::Handling && request == request_number_;
  }
  // Whether it waits for its client to ask, so that closing it loses no work.
  [[nodiscard]] bool is_waiting() const noexcept { return state_ == State::Reading || state_ == State::Lingering; }
  void begin_stop();

 private:
  enum class State : std::uint8_t {
    Reading,    // for a request, or its rest
    Handling,   // the handler has it
    Writing,    // the answer does not fit into the socket at once
    Lingering,  // answered and shut down; unread input is thrown away so that closing does not reset the answer
    Closed,
  };

  void on_event(std::uint32_t events);
  void read_ready();
  void linger_ready();
  void process_input();
  void refuse(int status, std::string_view reason);
  void start_answer(HttpResponse response);
  void write_ready();
  void set_write_deadline();
  void make_piece();
  void finish_answer();
  void watch(std::uint32_t events);
  void set_deadline(std::uint64_t delay_ms);
  void on_deadline();
  void close();

  HttpServer& server_;
  UniqueFd fd_;
  std::uint64_t id_;
  State state_ = State::Reading;
  std::uint32_t watched_events_ = 0;
  bool is_watched_ = false;
  bool is_refused_ = false;
  bool is_in_process_ = false;  // process_input is on the stack
  bool closes_after_ = false;
  bool is_head_request_ = false;
  bool takes_chunks_ = false;  // HTTP/1.1: an answer of unknown length can be followed by another
  bool has_head_ = false;      // request_ is filled, its body may be missing
  bool is_stopping_ = false;
  std::uint64_t request_number_ = 0;
  std::string input_;
  HttpRequest request_;
  std::string output_head_;
  std::string output_body_;
  std::unique_ptr<BodySource> source_;  // where the rest of the body comes from
  std::uint64_t stream_until_ms_ = 0;   // when it must have gone out
  std::size_t written_ = 0;             // of head and body together
  std::size_t linger_bytes_ = 0;
  Reactor::TimerId timer_ = 0;
};

}  // namespace culvert::admin
