// SPDX-License-Identifier: Apache-2.0
#include "support.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "base/assert.hpp"

namespace culvert::hbone::test {
namespace {

std::string_view name_of(StreamEnd end) {
  switch (end) {
    case StreamEnd::Finished: return "finished";
    case StreamEnd::Reset: return "reset";
    case StreamEnd::Unprocessed: return "unprocessed";
    case StreamEnd::Failed: return "failed";
  }
  return "?";
}

bool deliver(Session& session, Recorder& told, std::string_view bytes, std::size_t portion, std::uint64_t now_ms) {
  while (!bytes.empty()) {
    // Its own allocation, so that a read past the portion is seen by the sanitizer.
    const std::vector<std::uint8_t> part(bytes.begin(),
                                         bytes.begin() + static_cast<std::ptrdiff_t>(std::min(portion, bytes.size())));
    if (!session.receive(part, now_ms, told)) return false;
    bytes.remove_prefix(part.size());
  }
  return true;
}

}  // namespace

void Recorder::add(std::string line) {
  last_data_ = 0;
  lines_.push_back(std::move(line));
}

void Recorder::on_connect(StreamId stream, const ConnectRequest& request) {
  add(fmt::format("connect {} {}", stream, request.authority));
  strings_ = {std::string(request.authority), std::string(request.baggage), std::string(request.forwarded),
              std::string(request.traceparent), std::string(request.forwarded_network)};
  last_request = {strings_[0], strings_[1], strings_[2], strings_[3], strings_[4]};
  if (when_connect) when_connect(stream);
}

void Recorder::on_response(StreamId stream, const ConnectResponse& response) {
  add(fmt::format("response {} {} {}", stream, response.status, response.baggage));
  while (lines_.back().back() == ' ') lines_.back().pop_back();
  if (when_response) when_response(stream);
}

void Recorder::on_data(StreamId stream, ByteView data) {
  CV_ASSERT(!data.empty());
  if (keeps_data) data_[stream] += as_text(data);
  if (last_data_ != stream) {
    add({});
    data_bytes_[stream] = 0;
    last_data_ = stream;
  }
  data_bytes_[stream] += data.size();
  lines_.back() = fmt::format("data {} {}", stream, data_bytes_[stream]);
  if (when_data) when_data(stream, data);
}

void Recorder::on_end(StreamId stream) {
  add(fmt::format("end {}", stream));
  if (when_end) when_end(stream);
}

void Recorder::on_closed(StreamId stream, StreamEnd end, std::uint32_t code) {
  add(fmt::format("closed {} {} {}", stream, name_of(end), code));
  if (when_closed) when_closed(stream);
}

void Recorder::on_writable(StreamId stream) {
  add(fmt::format("writable {}", stream));
  if (when_writable) when_writable(stream);
}

void Recorder::on_go_away(std::uint32_t code) {
  add(fmt::format("go_away {}", code));
  if (when_go_away) when_go_away();
}

std::string Recorder::take() {
  std::string text;
  for (const std::string& line : lines_) text += (text.empty() ? "" : "; ") + line;
  lines_.clear();
  last_data_ = 0;
  return text;
}

std::uint32_t Frame::number(std::size_t at) const {
  ByteReader reader(as_bytes(std::string_view(payload).substr(at)));
  return reader.u32();
}

std::vector<Frame> frames_in(std::string_view bytes, std::size_t skip) {
  std::vector<Frame> frames;
  ByteReader reader(as_bytes(bytes.substr(skip)));
  while (reader.remaining() >= Session::kFrameHeaderBytes) {
    Frame one;
    const std::size_t high = reader.u8();
    const std::size_t size = high << 16U | reader.u16();
    one.type = reader.u8();
    one.flags = reader.u8();
    one.stream = static_cast<StreamId>(reader.u32());
    one.payload = as_text(reader.take(size));
    CV_ASSERT(reader.ok());
    frames.push_back(std::move(one));
  }
  CV_ASSERT(reader.remaining() == 0);
  return frames;
}

std::string describe(const std::vector<Frame>& frames) {
  static constexpr std::array<std::string_view, 10> kNames = {"DATA",          "HEADERS",      "PRIORITY", "RST_STREAM",
                                                              "SETTINGS",      "PUSH_PROMISE", "PING",     "GOAWAY",
                                                              "WINDOW_UPDATE", "CONTINUATION"};
  std::string text;
  for (const Frame& one : frames) {
    if (!text.empty()) text += ' ';
    text += fmt::format("{}/{}@{}[{}]", kNames.at(one.type), one.flags, one.stream, one.payload.size());
  }
  return text;
}

std::string u32(std::uint32_t value) {
  std::string text(4, '\0');
  for (std::size_t i = 0; i < 4; ++i) text[i] = static_cast<char>(value >> (24 - 8 * i));
  return text;
}

std::string setting(std::uint16_t id, std::uint32_t value) {
  return std::string{static_cast<char>(id >> 8U), static_cast<char>(id)} + u32(value);
}

std::string frame(std::uint8_t type, std::uint8_t flags, StreamId stream, std::string_view payload) {
  std::string text = u32(static_cast<std::uint32_t>(payload.size())).substr(1);
  text += static_cast<char>(type);
  text += static_cast<char>(flags);
  text += u32(static_cast<std::uint32_t>(stream));
  return text.append(payload);
}

std::string header_block(Fields fields) {
  std::string block;
  const auto add = [&](std::string_view text) {
    // RFC 7541 section 5.1, prefix of 7 bits.
    std::size_t left = text.size();
    if (left < 127) {
      block += static_cast<char>(left);
    } else {
      block += '\x7f';
      for (left -= 127; left >= 128; left >>= 7U) block += static_cast<char>(0x80U | (left & 0x7fU));
      block += static_cast<char>(left);
    }
    block += text;
  };
  for (const auto& [name, value] : fields) {
    block += '\0';
    add(name);
    add(value);
  }
  return block;
}

std::string connect_frame(StreamId stream, std::uint8_t flags, std::string_view authority) {
  return frame(kHeaders, flags, stream, header_block({{":method", "CONNECT"}, {":authority", authority}}));
}

std::string take_all(Session& session, std::size_t portion) {
  std::string all;
  std::vector<std::uint8_t> buffer(portion);
  while (session.wants_write()) all += as_text(ByteView(buffer).first(session.take_control(buffer)));
  return all;
}

std::string data_frames(Session& session, StreamId stream, std::string_view payload) {
  const std::size_t gap = Session::kFrameHeaderBytes;
  const std::size_t frame_max = session.frame_payload_max();
  // Exactly as long as the frames are.
  std::vector<std::uint8_t> area(session.framed_bytes(payload.size()));
  std::size_t at = 0;
  for (std::size_t done = 0; done < payload.size(); done += frame_max) {
    const std::string_view part = payload.substr(done, frame_max);
    at += gap;
    std::memcpy(area.data() + at, part.data(), part.size());
    at += part.size();
  }
  CV_ASSERT(at == area.size());
  return std::string(as_text(ByteView(area).first(session.frame_data(stream, area, payload.size()))));
}

Scripted::Scripted(bool session_is_server, const Limits& limits, std::string_view peer_settings)
    : session(session_is_server ? Session::server(limits, kStartMs) : Session::client(limits, kStartMs)) {
  static_cast<void>(take_all(*session));
  const std::string settings = frame(kSettings, 0, 0, peer_settings) + frame(kSettings, kAck, 0);
  CV_ASSERT(feed(session_is_server ? std::string(kPreface) + settings : settings));
  static_cast<void>(take_all(*session));
  static_cast<void>(told.take());
}

bool Scripted::feed(std::string_view bytes) { return deliver(*session, told, bytes, bytes.size(), now_ms); }

Pair::Pair(std::size_t portion_in, const Limits& client_limits, const Limits& server_limits)
    : portion(portion_in),
      client(Session::client(client_limits, kStartMs)),
      server(Session::server(server_limits, kStartMs)) {
  carry();
}

bool Pair::carry_to_server(std::string_view bytes) { return deliver(*server, server_told, bytes, portion, now_ms); }
bool Pair::carry_to_client(std::string_view bytes) { return deliver(*client, client_told, bytes, portion, now_ms); }

void Pair::carry() {
  while (client->wants_write() || server->wants_write()) {
    if (!carry_to_server(take_all(*client, portion))) return;
    if (!carry_to_client(take_all(*server, portion))) return;
  }
}

StreamId Pair::open() {
  const StreamId stream = client->connect({.authority = "10.0.0.1:80"});
  carry();
  server->respond(stream, 200, {});
  carry();
  static_cast<void>(client_told.take());
  static_cast<void>(server_told.take());
  return stream;
}

void Pair::client_sends(StreamId stream, std::string_view payload) {
  const std::string control = take_all(*client);
  carry_to_server(control + data_frames(*client, stream, payload));
}

void Pair::server_sends(StreamId stream, std::string_view payload) {
  const std::string control = take_all(*server);
  carry_to_client(control + data_frames(*server, stream, payload));
}

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return text;
}

}  // namespace culvert::hbone::test
