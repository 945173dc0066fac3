// SPDX-License-Identifier: Apache-2.0
// Session: one HTTP/2 connection of an HBONE tunnel (RFC 9113; CONNECT as in its section 8.5), either role. Bytes in, bytes out: no socket, no
// clock, no thread of its own; the caller carries the bytes and tells the time. The payload of DATA is never copied here: it is
// received as a view of the caller's bytes, and sent from the caller's memory, into whose gaps the frame headers are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/bytes.hpp"
#include "hbone/messages.hpp"

namespace culvert::hbone {

using StreamId = std::int32_t;  // 1 .. 2^31-1; client streams are odd
inline constexpr StreamId kNoStream = -1;

// What this end announces and enforces. Bytes.
struct Limits {
  std::uint32_t stream_window = std::uint32_t{4} << 20U;
  std::uint32_t connection_window = std::uint32_t{16} << 20U;
  std::uint32_t frame_bytes_max = std::uint32_t{1} << 20U;
  std::uint32_t client_header_list_bytes_max = 16'384;
  std::uint32_t server_header_list_bytes_max = 65'536;
  std::uint32_t streams_max = 200;  // server: SETTINGS_MAX_CONCURRENT_STREAMS
  std::uint32_t streams_before_settings =
      100;                                  // client: until the peer's SETTINGS arrived, and the upper bound afterwards
  std::uint64_t ping_interval_ms = 10'000;  // of silence
  std::uint64_t ping_timeout_ms = 20'000;   // silence after our PING
  std::uint64_t ping_suspect_ms = 2'000;    // likewise, after which no further stream is begun
  std::uint64_t settings_timeout_ms = 10'000;  // from the session's begin to the peer's preface and SETTINGS
};

// Why a stream is gone.
enum class StreamEnd : std::uint8_t {
  Finished,  // END_STREAM went both ways
  Reset,     // RST_STREAM from the peer, `code` says which (RFC 9113 section 7)
  Unprocessed,  // the peer never looked at it (REFUSED_STREAM, or above GOAWAY's last stream): may be tried again elsewhere
  Failed,       // the connection failed, or the peer broke a rule on this stream
};

// Why the connection failed; for the log and the counters.
enum class SessionFailure : std::uint8_t {
  None,
  Protocol,         // a rule of RFC 9113 or 7541 was broken; preface garbage
  Abuse,            // one of the limits on wasteful frames: ENHANCE_YOUR_CALM was queued
  PeerGoneAway,     // GOAWAY with an error code
  PingTimeout,      // or nothing came from the very begin
  SettingsTimeout,  // bytes came, but neither a whole preface nor SETTINGS
  NoMemory,
};
[[nodiscard]] std::string_view to_string(SessionFailure failure) noexcept;

// Told from inside `receive` only. The handler may call connect, respond, finish, reset, consume and go_away of the session, never
// receive, tick or framing calls.
class Events {
 public:
  virtual ~Events() = default;
  // Server: a whole CONNECT. Answer with `respond`, now or later. A request that is not a well-formed CONNECT never gets here: it has
  // been answered with 400.
  virtual void on_connect(StreamId stream, const ConnectRequest& request) = 0;
  // Client: the answer. `response.status` 200: connected. Another status: the stream is closed next.
  virtual void on_response(StreamId stream, const ConnectResponse& response) = 0;
  // Points into the bytes that `receive` was given. Count it back with consume_connection and consume_stream.
  virtual void on_data(StreamId stream, ByteView data) = 0;
  // END_STREAM: the peer sends no more on it.
  virtual void on_end(StreamId stream) = 0;
  // The stream is gone; its number means nothing any more. Not told for a stream that a call of the caller's ended: `reset`, a refusal
  // by `respond`, and `finish` after the peer's END_STREAM. Told as Failed for every live stream before `receive` returns false.
  virtual void on_closed(StreamId stream, StreamEnd end, std::uint32_t code) = 0;
  // WINDOW_UPDATE or SETTINGS made room where there was none: on this stream, or (0) on the connection.
  virtual void on_writable(StreamId stream) = 0;
  // The peer takes no new streams on this connection; those that it has not processed are told as Unprocessed.
  virtual void on_go_away(std::uint32_t code) = 0;
};

class Session {
 public:
  static constexpr std::size_t kFrameHeaderBytes = 9;
  struct State;  // hbone/session_state.hpp

  // Null: out of memory. SETTINGS and the connection's window are queued at once.
  [[nodiscard]] static std::unique_ptr<Session> client(const Limits& limits, std::uint64_t now_ms);
  [[nodiscard]] static std::unique_ptr<Session> server(const Limits& limits, std::uint64_t now_ms);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Decrypted bytes in any portions. False: the connection has failed (`failure`); what `take_control` still has (GOAWAY) is sent, then
  // the connection is closed.
  [[nodiscard]] bool receive(ByteView bytes, std::uint64_t now_ms, Events& events);
  [[nodiscard]] SessionFailure failure() const noexcept;

  // Everything but DATA payload that waits to be sent (SETTINGS, HEADERS, WINDOW_UPDATE, PING, RST_STREAM, GOAWAY, empty DATA with END_STREAM):
  // up to out.size() bytes, always in order; call again while `wants_write`.
  [[nodiscard]] bool wants_write() const noexcept;
  [[nodiscard]] std::size_t take_control(MutableBytes out);
  // What its control frames take in memory, taken ones included until they are let go.
  [[nodiscard]] std::size_t control_bytes_held() const noexcept;

  // Client. kNoStream: at the peer's stream limit, or going away. The request's views are copied.
  [[nodiscard]] StreamId connect(const ConnectRequest& request);
  // May `connect` succeed?
  [[nodiscard]] bool can_connect() const noexcept;
  [[nodiscard]] std::uint32_t live_streams() const noexcept;
  // Streams that the peer allows at once, and this end's own limit: the smaller one.
  [[nodiscard]] std::uint32_t streams_max() const noexcept;

  // Server: 200 with `baggage` (may be empty: no header), or a refusal, which ends the stream both ways: it is gone with this call.
  void respond(StreamId stream, std::uint16_t status, std::string_view baggage);

  // A word of the caller's for each stream (a slab handle); 0 when never set, or for a stream that is gone (but in its
  // on_closed).
  void set_user_word(StreamId stream, std::uint64_t word) noexcept;
  [[nodiscard]] std::uint64_t user_word(StreamId stream) const noexcept;

  // Sending data. `send_window`: payload bytes that may be framed now (the smaller of both windows; 0: wait for on_writable).
  // `frame_payload_max`: payload bytes of one DATA frame at most.
  [[nodiscard]] std::size_t send_window(StreamId stream) const noexcept;
  // `connection_window`: what the connection's window alone allows; while it is 0, on_writable(0) is what a stream waits for.
  [[nodiscard]] std::size_t connection_window() const noexcept;
  [[nodiscard]] std::size_t frame_payload_max() const noexcept;
  // `area` is gap, payload, gap, payload, ... : gaps of kFrameHeaderBytes, payloads of frame_payload_max() bytes and a shorter last one;
  // `payload_bytes` (> 0, <= send_window) in total. Writes the headers into the gaps. The first payload + gaps bytes of `area` are then
  // ready to be sent as they are. Take all control bytes first and send them in front. Returns the bytes of `area` that are ready; 0: the
  // stream is gone or may not send.
  [[nodiscard]] std::size_t frame_data(StreamId stream, MutableBytes area, std::size_t payload_bytes);
  // Bytes that `payload_bytes` take up with their headers.
  [[nodiscard]] std::size_t framed_bytes(std::size_t payload_bytes) const noexcept;
  // END_STREAM (an empty DATA frame among the control bytes; no window holds it back). Nothing is sent on the stream afterwards. True:
  // the peer had ended its side before, so the stream is gone now. A server must have answered first: otherwise the stream is reset.
  bool finish(StreamId stream);
  // RST_STREAM with this code (RFC 9113 section 7); the stream is gone, on_closed is not told.
  void reset(StreamId stream, std::uint32_t code);

  // Flow control follows what the application has read: every byte of on_data is given back once to each.
  void consume_connection(std::size_t bytes);
  void consume_stream(StreamId stream, std::size_t bytes);

  // Server, drain, in two steps: GOAWAY that names no stream as last, then, at the next `tick` after a round trip's time or 1 s, the final one. The client
  // role sends one GOAWAY. New streams of the peer that arrive after the last are refused.
  void go_away();
  // The final GOAWAY at once, in front of the end of the connection: the peer can tell which of its streams were not looked at.
  void go_away_now();
  [[nodiscard]] bool is_going_away() const noexcept;  // either end said so
  // Nothing can happen on it any more: going away, the last GOAWAY has been taken, and no stream is live. Close the connection.
  [[nodiscard]] bool is_done() const noexcept;

  // How long nothing has come.
  [[nodiscard]] std::uint64_t silent_ms(std::uint64_t now_ms) const noexcept;
  // A PING has not been answered for a while: what is under way may yet be, but whoever has a choice goes another way.
  [[nodiscard]] bool is_suspect(std::uint64_t now_ms) const noexcept;
  // Keepalive: PING after silence (data counts as life). When to call `tick` next; 0: never.
  [[nodiscard]] std::uint64_t next_tick_ms() const noexcept;
  // False: the peer has been silent for too long, or has not begun to speak HTTP/2; close the connection.
  [[nodiscard]] bool tick(std::uint64_t now_ms);

 private:
  explicit Session(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace culvert::hbone
