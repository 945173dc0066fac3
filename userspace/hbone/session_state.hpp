// SPDX-License-Identifier: Apache-2.0
// The inside of Session: nghttp2's state machine, and what it does not do: which streams the caller knows, what waits to be sent, keepalive,
// drain, limits. nghttp2's queues are emptied into `control` at the end of every call from outside ("pump"), so that its view of streams and
// windows is always what the peer will see; inside its callbacks it must not be asked to send, so there the pump waits for the end of `receive`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "hbone/frame_meter.hpp"
#include "hbone/header_fields.hpp"
#include "hbone/session.hpp"
#include "hbone/stream_table.hpp"

namespace culvert::hbone {

// Payload of the PING behind the first GOAWAY of a drain.
inline constexpr std::array<std::uint8_t, 8> kPingDrain = {'c', 'v', ' ', 'd', 'r', 'a', 'i', 'n'};

struct NgSessionDelete {
  void operator()(nghttp2_session* session) const noexcept { ::nghttp2_session_del(session); }
};

// The steps of a server's drain.
enum class Drain : std::uint8_t {
  None,
  Announced,  // GOAWAY without a last stream, and a PING: new streams that are on their way still count
  Final,      // GOAWAY that names the last stream. A client's only step
};

struct Session::State {
  State(const Limits& limits_in, bool is_server_in, std::uint64_t now) noexcept;

  [[nodiscard]] static std::unique_ptr<State> create(const Limits& limits, bool is_server, std::uint64_t now_ms);
  [[nodiscard]] bool has_failed() const noexcept { return failure != SessionFailure::None; }

  // session_send.cpp
  void pump();
  void pump_if_outside() {
    if (!is_busy) pump();
  }
  void append_control(ByteView bytes);
  // The first failure counts. `code`: queue GOAWAY with it; kNoError: the peer is told nothing.
  void fail(SessionFailure why, std::uint32_t code);
  void announce_drain();
  void finish_drain();
  // What nghttp2 calls to send.
  [[nodiscard]] std::size_t next_frame_payload() const noexcept;
  void put_frame_header(const std::uint8_t* header, std::size_t payload) noexcept;
  void on_sent(const nghttp2_frame& frame);

  // session_receive.cpp: the frames that nghttp2 found. Nonzero ends the connection.
  [[nodiscard]] bool receive(ByteView bytes);
  int on_frame(const nghttp2_frame& frame);
  int on_request(const nghttp2_frame& frame);
  int on_answer(const nghttp2_frame& frame);
  int on_trailers(const nghttp2_frame& frame);
  int on_reset(const nghttp2_frame& frame);
  int on_settings(const nghttp2_frame& frame);
  int on_window_update(const nghttp2_frame& frame);
  int on_go_away(const nghttp2_frame& frame);
  int on_data(StreamId stream, ByteView data);
  int on_end(StreamId stream);
  int on_stream_gone(StreamId stream, std::uint32_t code);
  // The peer broke a rule on this stream only.
  int fail_stream(StreamId stream, std::uint32_t code);
  void tell_closed(StreamId stream, StreamEnd end, std::uint32_t code);
  void end_of_peer(StreamId stream);
  void end_all_streams();
  int abuse() noexcept;

  Limits limits;
  bool is_server;
  bool is_busy = false;  // inside a callback of nghttp2, or in pump
  bool peer_goes_away = false;
  Drain drain = Drain::None;
  bool is_ping_out = false;
  bool has_heard = false;
  SessionFailure failure = SessionFailure::None;
  std::uint32_t peer_initial_window = 65'535;

  std::uint64_t now_ms;
  std::uint64_t heard_ms;          // when bytes last came
  std::uint64_t settings_due_ms;   // 0: the peer's are there
  std::uint64_t ping_ms = 0;       // when our PING went out
  std::uint64_t drain_due_ms = 0;  // 0: the next tick sets it

  StreamTable streams;
  StreamEntry closing;  // the stream that on_closed is being told of
  FrameMeter meter;
  TokenBucket wasted_streams;
  TokenBucket interim_answers;
  TokenBucket tiny_windows;
  HeaderFields fields;
  Events* events = nullptr;  // during `receive`

  std::vector<std::uint8_t> control;  // to be sent, from `control_taken` on
  std::size_t control_taken = 0;

  // While frame_data runs: where the next frame header goes, and how much payload is left.
  std::uint8_t* framing_at = nullptr;
  std::size_t framing_left = 0;

  std::unique_ptr<nghttp2_session, NgSessionDelete> ng;
};

// The callbacks, made once for the process.
[[nodiscard]] const nghttp2_session_callbacks* session_callbacks();
[[nodiscard]] inline nghttp2_nv field(std::string_view name, std::string_view value, std::uint8_t flags) noexcept {
  // nghttp2 does not write to them; its structure is older than const.
  const auto bytes = [](std::string_view text) {
    return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), flags};
}

}  // namespace culvert::hbone
