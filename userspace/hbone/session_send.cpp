// SPDX-License-Identifier: Apache-2.0
// What a session sends: control bytes, and DATA whose payload stays where the caller has it.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "base/assert.hpp"
#include "hbone/session_state.hpp"

namespace culvert::hbone {
namespace {

constexpr std::size_t kControlCapacityMax = 1'024;  // what an idle connection may hold on to

// NO_COPY: the views live until the pump at the end of this call; inside a callback of nghttp2 the pump comes later. Never-indexed: values that
// differ each time would push those that repeat out of the compression table.
std::uint8_t field_flags(bool is_busy, bool repeats) noexcept {
  unsigned flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
  if (!is_busy) flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  if (!repeats) flags |= NGHTTP2_NV_FLAG_NO_INDEX;
  return static_cast<std::uint8_t>(flags);
}

ssize_t read_data(nghttp2_session* /*ng*/, StreamId /*stream*/, std::uint8_t* /*buffer*/, std::size_t /*length*/,
                  std::uint32_t* flags, nghttp2_data_source* /*source*/, void* user) {
  const auto& state = *static_cast<const Session::State*>(user);
  const std::size_t payload = state.next_frame_payload();
  *flags = NGHTTP2_DATA_FLAG_NO_COPY | NGHTTP2_DATA_FLAG_NO_END_STREAM;
  if (payload == state.framing_left) *flags |= NGHTTP2_DATA_FLAG_EOF;  // nghttp2 forgets this source
  return static_cast<ssize_t>(payload);
}

// RFC 9113 section 6.8, made here because nghttp2 is not to be asked after an error of its own.
std::array<std::uint8_t, 17> go_away_frame(StreamId last, std::uint32_t code) {
  std::array<std::uint8_t, 17> frame;
  ByteWriter writer(frame);
  writer.u16(0);
  writer.u8(8);
  writer.u8(NGHTTP2_GOAWAY);
  writer.u8(0);
  writer.u32(0);
  writer.u32(static_cast<std::uint32_t>(last));
  writer.u32(code);
  return frame;
}

}  // namespace

void Session::State::append_control(ByteView bytes) { control.insert(control.end(), bytes.begin(), bytes.end()); }

void Session::State::pump() {
  is_busy = true;
  while (!has_failed()) {
    const std::uint8_t* frame = nullptr;
    const ssize_t size = ::nghttp2_session_mem_send(ng.get(), &frame);
    if (size == 0) break;
    if (size < 0) {
      fail(SessionFailure::NoMemory, kInternalError);
      break;
    }
    const std::size_t at = control.size();
    append_control({frame, static_cast<std::size_t>(size)});
    // nghttp2 keeps END_STREAM back while a window is used up, although RFC 9113 section 6.9.1 lets empty DATA pass. So `finish` submits trailers
    // without fields, which no window holds back, and they become what is meant here. A block that is not empty (a changed table size is
    // announced in it) stays as it is, and means the same.
    constexpr std::uint8_t kTrailerFlags = NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS;
    if (size == Session::kFrameHeaderBytes && control[at + 3] == NGHTTP2_HEADERS && control[at + 4] == kTrailerFlags) {
      control[at + 3] = NGHTTP2_DATA;
      control[at + 4] = NGHTTP2_FLAG_END_STREAM;
    }
  }
  is_busy = false;
}

void Session::State::on_sent(const nghttp2_frame& frame) {
  if (frame.hd.type == NGHTTP2_GOAWAY && frame.goaway.error_code != kNoError && !has_failed()) {
    // nghttp2 found an error of the connection; its GOAWAY is on its way.
    failure = frame.goaway.error_code == kEnhanceYourCalm ? SessionFailure::Abuse : SessionFailure::Protocol;
    return;
  }
  if (frame.hd.type == NGHTTP2_GOAWAY && drain == Drain::Announced) {
    // Only now: nghttp2 sends PING before everything else that waits.
    static_cast<void>(::nghttp2_submit_ping(ng.get(), NGHTTP2_FLAG_NONE, kPingDrain.data()));
    return;
  }
  // After a refusal nothing of the client's is wanted any more (RFC 9113 section 8.1).
  const bool is_refusal = is_server && frame.hd.type == NGHTTP2_HEADERS &&
                          streams.find(frame.hd.stream_id) == nullptr &&
                          (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (is_refusal && ::nghttp2_session_get_stream_remote_close(ng.get(), frame.hd.stream_id) == 0)
    static_cast<void>(::nghttp2_submit_rst_stream(ng.get(), NGHTTP2_FLAG_NONE, frame.hd.stream_id, kNoError));
}

void Session::State::fail(SessionFailure why, std::uint32_t code) {
  if (has_failed()) return;
  failure = why;
  if (code == kNoError) return;
  append_control(go_away_frame(::nghttp2_session_get_last_proc_stream_id(ng.get()), code));
}

void Session::State::announce_drain() {
  drain = Drain::Announced;
  static_cast<void>(::nghttp2_submit_shutdown_notice(ng.get()));
}

void Session::State::finish_drain() {
  drain = Drain::Final;
  static_cast<void>(::nghttp2_submit_goaway(ng.get(), NGHTTP2_FLAG_NONE,
                                            ::nghttp2_session_get_last_proc_stream_id(ng.get()), kNoError, nullptr, 0));
}

std::size_t Session::State::next_frame_payload() const noexcept {
  const std::size_t peers = ::nghttp2_session_get_remote_settings(ng.get(), NGHTTP2_SETTINGS_MAX_FRAME_SIZE);
  return std::min({framing_left, peers, std::size_t{limits.frame_bytes_max}});
}

void Session::State::put_frame_header(const std::uint8_t* header, std::size_t payload) noexcept {
  CV_ASSERT(framing_at != nullptr && payload <= framing_left);
  std::memcpy(framing_at, header, kFrameHeaderBytes);
  framing_at += kFrameHeaderBytes + payload;
  framing_left -= payload;
  meter.data_frame_sent();
}

bool Session::wants_write() const noexcept { return state_->control.size() > state_->control_taken; }

std::size_t Session::control_bytes_held() const noexcept { return state_->control.size(); }

std::size_t Session::take_control(MutableBytes out) {
  State& state = *state_;
  const std::size_t count = std::min(out.size(), state.control.size() - state.control_taken);
  if (count > 0) std::memcpy(out.data(), state.control.data() + state.control_taken, count);
  state.control_taken += count;
  if (state.control_taken == state.control.size()) {
    state.control.clear();
    state.control_taken = 0;
    if (state.control.capacity() > kControlCapacityMax) state.control.shrink_to_fit();
  } else if (state.control_taken >= kControlCapacityMax && state.control_taken >= state.control.size() / 2) {
    // A peer that always leaves some of it untaken.
    state.control.erase(state.control.begin(),
                        state.control.begin() + static_cast<std::ptrdiff_t>(state.control_taken));
    state.control_taken = 0;
  }
  return count;
}

StreamId Session::connect(const ConnectRequest& request) {
  if (!can_connect()) return kNoStream;
  State& state = *state_;
  std::array<nghttp2_nv, 6> fields;
  std::size_t count = 0;
  const auto add = [&](std::string_view name, std::string_view value, bool repeats) {
    if (!value.empty()) fields[count++] = field(name, value, field_flags(state.is_busy, repeats));
  };
  add(":method", "CONNECT", true);
  add(":authority", request.authority, true);
  add("baggage", request.baggage, true);
  add("forwarded", request.forwarded, false);
  add("traceparent", request.traceparent, false);
  add("x-forwarded-network", request.forwarded_network, true);
  // Not nghttp2_submit_request: without a data source it would end the stream.
  const StreamId stream =
      ::nghttp2_submit_headers(state.ng.get(), NGHTTP2_FLAG_NONE, -1, nullptr, fields.data(), count, nullptr);
  if (stream < 0) return kNoStream;
  state.streams.insert(stream);
  state.pump_if_outside();
  return stream;
}

void Session::respond(StreamId stream, std::uint16_t status, std::string_view baggage) {
  State& state = *state_;
  StreamEntry* entry = state.streams.find(stream);
  if (entry == nullptr || !state.is_server || entry->is_answered) return;
  CV_ASSERT(status >= 200 && status <= 599);
  std::array<char, 3> digits;
  std::to_chars(digits.data(), digits.data() + digits.size(), status);
  // The digits are in this frame, and the pump below uses them, unless it comes later.
  std::array<nghttp2_nv, 2> fields = {
      field(":status", {digits.data(), digits.size()}, field_flags(state.is_busy, true)),
      field("baggage", baggage, field_flags(state.is_busy, true))};
  const bool is_refusal = status / 100 != 2;
  ::nghttp2_submit_headers(state.ng.get(), is_refusal ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, stream, nullptr,
                           fields.data(), baggage.empty() ? 1 : 2, nullptr);
  entry->is_answered = true;
  if (is_refusal) state.streams.erase(stream);
  state.pump_if_outside();
}

std::size_t Session::send_window(StreamId stream) const noexcept {
  const State& state = *state_;
  const StreamEntry* entry = state.streams.find(stream);
  if (entry == nullptr || entry->has_ended || (state.is_server && !entry->is_answered) || state.has_failed()) return 0;
  const std::int32_t window = std::min(::nghttp2_session_get_stream_remote_window_size(state.ng.get(), stream),
                                       ::nghttp2_session_get_remote_window_size(state.ng.get()));
  return static_cast<std::size_t>(std::max(window, 0));
}

std::size_t Session::connection_window() const noexcept {
  return static_cast<std::size_t>(std::max(::nghttp2_session_get_remote_window_size(state_->ng.get()), 0));
}

std::size_t Session::frame_payload_max() const noexcept {
  const std::size_t peers = ::nghttp2_session_get_remote_settings(state_->ng.get(), NGHTTP2_SETTINGS_MAX_FRAME_SIZE);
  return std::min(peers, std::size_t{state_->limits.frame_bytes_max});
}

std::size_t Session::framed_bytes(std::size_t payload_bytes) const noexcept {
  const std::size_t frame = frame_payload_max();
  return payload_bytes + (payload_bytes + frame - 1) / frame * kFrameHeaderBytes;
}

std::size_t Session::frame_data(StreamId stream, MutableBytes area, std::size_t payload_bytes) {
  State& state = *state_;
  const std::size_t window = send_window(stream);
  if (window == 0) return 0;
  const std::size_t bytes = framed_bytes(payload_bytes);
  CV_ASSERT(!state.is_busy && !wants_write());
  CV_ASSERT(payload_bytes > 0 && payload_bytes <= window && bytes <= area.size());
  state.framing_at = area.data();
  state.framing_left = payload_bytes;
  nghttp2_data_provider source{};
  source.read_callback = read_data;
  if (::nghttp2_submit_data(state.ng.get(), NGHTTP2_FLAG_NONE, stream, &source) == 0) {
    // nghttp2's queues were empty, and the windows allow all of it: one call frames it all, and nothing else.
    state.pump();
    if (state.framing_left != 0) state.fail(SessionFailure::NoMemory, kInternalError);
  }
  const bool is_framed = state.framing_left == 0;
  state.framing_at = nullptr;
  state.framing_left = 0;
  return is_framed ? bytes : 0;
}

bool Session::finish(StreamId stream) {
  State& state = *state_;
  StreamEntry* entry = state.streams.find(stream);
  if (entry == nullptr || entry->has_ended) return entry == nullptr;
  if (state.is_server && !entry->is_answered) {
    reset(stream, kInternalError);
    return true;
  }
  const bool is_gone = entry->has_peer_ended;
  entry->has_ended = true;
  if (is_gone) state.streams.erase(stream);
  static_cast<void>(
      ::nghttp2_submit_headers(state.ng.get(), NGHTTP2_FLAG_END_STREAM, stream, nullptr, nullptr, 0, nullptr));
  state.pump_if_outside();
  return is_gone;
}

void Session::reset(StreamId stream, std::uint32_t code) {
  State& state = *state_;
  if (!state.streams.erase(stream)) return;
  static_cast<void>(::nghttp2_submit_rst_stream(state.ng.get(), NGHTTP2_FLAG_NONE, stream, code));
  state.pump_if_outside();
}

}  // namespace culvert::hbone
