// SPDX-License-Identifier: Apache-2.0
// Sessions in memory: a recorder of what a session tells, a pair of sessions with bytes carried between them in portions of any size, and a
// peer that writes its frames by hand (with its own, plain HPACK), so that it can say what no library would.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hbone/session.hpp"

namespace culvert::hbone::test {

inline constexpr std::uint8_t kData = 0;
inline constexpr std::uint8_t kHeaders = 1;
inline constexpr std::uint8_t kPriority = 2;
inline constexpr std::uint8_t kReset = 3;
inline constexpr std::uint8_t kSettings = 4;
inline constexpr std::uint8_t kPushPromise = 5;
inline constexpr std::uint8_t kPing = 6;
inline constexpr std::uint8_t kGoAway = 7;
inline constexpr std::uint8_t kWindowUpdate = 8;
inline constexpr std::uint8_t kContinuation = 9;

inline constexpr std::uint8_t kEndStream = 1;
inline constexpr std::uint8_t kAck = 1;
inline constexpr std::uint8_t kEndHeaders = 4;
inline constexpr std::uint8_t kPadded = 8;

inline constexpr std::uint64_t kStartMs = 1'000'000;

// What was told, one line each: "connect 1 10.0.0.1:80", "data 1 5", "closed 1 reset 8".
class Recorder final : public Events {
 public:
  void on_connect(StreamId stream, const ConnectRequest& request) override;
  void on_response(StreamId stream, const ConnectResponse& response) override;
  void on_data(StreamId stream, ByteView data) override;
  void on_end(StreamId stream) override;
  void on_closed(StreamId stream, StreamEnd end, std::uint32_t code) override;
  void on_writable(StreamId stream) override;
  void on_go_away(std::uint32_t code) override;

  // The lines since the last call, joined with "; ". Data of one stream that follows itself is one line.
  [[nodiscard]] std::string take();
  [[nodiscard]] const std::string& data(StreamId stream) { return data_[stream]; }

  // Run inside the handler of the same name, after the record.
  std::function<void(StreamId)> when_connect, when_response, when_end, when_closed, when_writable;
  std::function<void(StreamId, ByteView)> when_data;
  std::function<void()> when_go_away;
  ConnectRequest last_request;  // views into strings_
  bool keeps_data = true;

 private:
  void add(std::string line);

  std::vector<std::string> lines_;
  std::map<StreamId, std::string> data_;
  std::map<StreamId, std::size_t> data_bytes_;
  StreamId last_data_ = 0;
  std::vector<std::string> strings_;
};

struct Frame {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  StreamId stream = 0;
  std::string payload;
  [[nodiscard]] std::uint32_t number(std::size_t at = 0) const;  // big-endian, 32 bits
};
// The whole frames in `bytes`, after `skip` bytes of preface.
[[nodiscard]] std::vector<Frame> frames_in(std::string_view bytes, std::size_t skip = 0);
// "HEADERS/5@1[12]": type, flags, stream, payload size; space-separated.
[[nodiscard]] std::string describe(const std::vector<Frame>& frames);

[[nodiscard]] std::string frame(std::uint8_t type, std::uint8_t flags, StreamId stream, std::string_view payload = {});
[[nodiscard]] std::string u32(std::uint32_t value);
[[nodiscard]] std::string setting(std::uint16_t id, std::uint32_t value);
using Fields = std::initializer_list<std::pair<std::string_view, std::string_view>>;
// Literals without indexing, no Huffman code.
[[nodiscard]] std::string header_block(Fields fields);
inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
[[nodiscard]] std::string connect_frame(StreamId stream, std::uint8_t flags = kEndHeaders,
                                        std::string_view authority = "10.0.0.1:80");

// All that waits to be sent.
[[nodiscard]] std::string take_all(Session& session, std::size_t portion = 4096);
// One or more DATA frames, as the caller of a session makes them.
[[nodiscard]] std::string data_frames(Session& session, StreamId stream, std::string_view payload);

// A session, and a peer that is a script. The handshake is done: SETTINGS both ways, acknowledged.
class Scripted {
 public:
  explicit Scripted(bool session_is_server, const Limits& limits = {}, std::string_view peer_settings = {});
  // Bytes of the script; what the session says of it.
  bool feed(std::string_view bytes);
  [[nodiscard]] std::vector<Frame> sent() { return frames_in(take_all(*session)); }
  [[nodiscard]] std::string sent_text() { return describe(sent()); }

  std::unique_ptr<Session> session;
  Recorder told;
  std::uint64_t now_ms = kStartMs;
};

// Two sessions. `portion`: bytes per call of receive.
class Pair {
 public:
  explicit Pair(std::size_t portion_in = 1U << 20U, const Limits& client_limits = {}, const Limits& server_limits = {});
  // Carries bytes to and fro until both are quiet.
  void carry();
  bool carry_to_server(std::string_view bytes);
  bool carry_to_client(std::string_view bytes);
  // A stream with the answer 200, records emptied.
  [[nodiscard]] StreamId open();
  void client_sends(StreamId stream, std::string_view payload);
  void server_sends(StreamId stream, std::string_view payload);

  std::size_t portion;
  std::unique_ptr<Session> client;
  std::unique_ptr<Session> server;
  Recorder client_told;
  Recorder server_told;
  std::uint64_t now_ms = kStartMs;
};

[[nodiscard]] std::string pattern(std::size_t size);

}  // namespace culvert::hbone::test
