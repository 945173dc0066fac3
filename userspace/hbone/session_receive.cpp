// SPDX-License-Identifier: Apache-2.0
// What a session receives: nghttp2's callbacks, and what each frame means to the streams of the tunnel.
#include <algorithm>
#include <array>

#include "hbone/session_state.hpp"

namespace culvert::hbone {
namespace {

constexpr std::uint16_t kBadRequest = 400;

Session::State& state_of(void* user) noexcept { return *static_cast<Session::State*>(user); }

ByteView bytes_of(const std::uint8_t* data, std::size_t size) noexcept { return {data, size}; }

int on_begin_headers(nghttp2_session* /*ng*/, const nghttp2_frame* /*frame*/, void* user) {
  Session::State& state = state_of(user);
  state.meter.headers_had_a_stream();
  state.fields.clear();
  return 0;
}

int on_header(nghttp2_session* /*ng*/, const nghttp2_frame* /*frame*/, const std::uint8_t* name, std::size_t name_size,
              const std::uint8_t* value, std::size_t value_size, std::uint8_t /*flags*/, void* user) {
  Session::State& state = state_of(user);
  if (state.fields.add(as_text({name, name_size}), as_text({value, value_size}))) return 0;
  return state.abuse();
}

SessionFailure failure_of(ssize_t error) noexcept {
  switch (error) {
    case NGHTTP2_ERR_NOMEM: return SessionFailure::NoMemory;
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_SETTINGS: return SessionFailure::Abuse;
    default: return SessionFailure::Protocol;
  }
}

std::uint32_t code_of(SessionFailure failure) noexcept {
  switch (failure) {
    case SessionFailure::NoMemory: return kInternalError;
    case SessionFailure::Abuse: return kEnhanceYourCalm;
    default: return kProtocolError;
  }
}

}  // namespace

const nghttp2_session_callbacks* session_callbacks() {
  static const nghttp2_session_callbacks* const made = []() -> const nghttp2_session_callbacks* {
    nghttp2_session_callbacks* callbacks = nullptr;
    if (::nghttp2_session_callbacks_new(&callbacks) != 0) return nullptr;
    ::nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    ::nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    ::nghttp2_session_callbacks_set_on_frame_recv_callback(
        callbacks,
        [](nghttp2_session*, const nghttp2_frame* frame, void* user) { return state_of(user).on_frame(*frame); });
    ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, std::uint8_t, StreamId stream, const std::uint8_t* data, std::size_t size,
                      void* user) { return state_of(user).on_data(stream, bytes_of(data, size)); });
    ::nghttp2_session_callbacks_set_on_stream_close_callback(
        callbacks, [](nghttp2_session*, StreamId stream, std::uint32_t code, void* user) {
          return state_of(user).on_stream_gone(stream, code);
        });
    ::nghttp2_session_callbacks_set_on_frame_send_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* user) {
          state_of(user).on_sent(*frame);
          return 0;
        });
    ::nghttp2_session_callbacks_set_send_data_callback(
        callbacks, [](nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* header, std::size_t size,
                      nghttp2_data_source*, void* user) {
          static_cast<void>(frame);
          state_of(user).put_frame_header(header, size);
          return 0;
        });
    ::nghttp2_session_callbacks_set_data_source_read_length_callback(
        callbacks,
        [](nghttp2_session*, std::uint8_t, StreamId, std::int32_t, std::int32_t, std::uint32_t, void* user) -> ssize_t {
          return static_cast<ssize_t>(state_of(user).next_frame_payload());
        });
    return callbacks;
  }();
  return made;
}

bool Session::State::receive(ByteView bytes) {
  if (!meter.scan(bytes, now_ms)) {
    fail(SessionFailure::Abuse, kEnhanceYourCalm);
    return false;
  }
  is_busy = true;
  const ssize_t taken = ::nghttp2_session_mem_recv(ng.get(), bytes.data(), bytes.size());
  is_busy = false;
  if (taken < 0) {
    // What nghttp2 has queued is of no use to a peer that is being left. A callback of ours that ended it has said why.
    const SessionFailure why = failure_of(taken);
    fail(why, code_of(why));
    return false;
  }
  pump();
  if (control.size() - control_taken > kControlBacklogBytesMax) fail(SessionFailure::Abuse, kEnhanceYourCalm);
  return !has_failed();
}

int Session::State::abuse() noexcept {
  fail(SessionFailure::Abuse, kEnhanceYourCalm);
  return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int Session::State::on_frame(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS: {
      const StreamEntry* entry = streams.find(frame.hd.stream_id);
      if (is_server) return frame.headers.cat == NGHTTP2_HCAT_REQUEST ? on_request(frame) : on_trailers(frame);
      if (entry == nullptr) return 0;
      return entry->is_answered ? on_trailers(frame) : on_answer(frame);
    }
    case NGHTTP2_DATA: return (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 ? on_end(frame.hd.stream_id) : 0;
    case NGHTTP2_RST_STREAM: return on_reset(frame);
    case NGHTTP2_SETTINGS: return on_settings(frame);
    case NGHTTP2_WINDOW_UPDATE: return on_window_update(frame);
    case NGHTTP2_GOAWAY: return on_go_away(frame);
    case NGHTTP2_PING:
      // What was on its way when the drain was announced has arrived.
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0 && drain == Drain::Announced &&
          std::equal(kPingDrain.begin(), kPingDrain.end(), frame.ping.opaque_data))
        finish_drain();
      return 0;
    default: return 0;
  }
}

int Session::State::on_request(const nghttp2_frame& frame) {
  const StreamId stream = frame.hd.stream_id;
  const bool is_end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (!fields.is_connect()) {
    const std::array<nghttp2_nv, 1> answer = {field(":status", "400", NGHTTP2_NV_FLAG_NONE)};
    static_assert(kBadRequest == 400);
    ::nghttp2_submit_headers(ng.get(), NGHTTP2_FLAG_END_STREAM, stream, nullptr, answer.data(), answer.size(), nullptr);
    return wasted_streams.take(now_ms) ? 0 : abuse();
  }
  streams.insert(stream);
  events->on_connect(stream, fields.request());
  if (is_end) end_of_peer(stream);
  return 0;
}

int Session::State::on_answer(const nghttp2_frame& frame) {
  const StreamId stream = frame.hd.stream_id;
  const bool is_end = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  const std::uint16_t status = fields.status();
  if (status / 100 == 1 && !is_end) return interim_answers.take(now_ms) ? 0 : abuse();
  if (status < 200) return fail_stream(stream, kProtocolError);
  const ConnectResponse answer{.status = status, .baggage = fields.baggage()};
  if (status / 100 == 2) {
    streams.find(stream)->is_answered = true;
    events->on_response(stream, answer);
    if (is_end) end_of_peer(stream);
    return 0;
  }
  events->on_response(stream, answer);
  if (streams.find(stream) == nullptr) return 0;  // the handler has reset it
  static_cast<void>(::nghttp2_submit_rst_stream(ng.get(), NGHTTP2_FLAG_NONE, stream, kCancel));
  tell_closed(stream, StreamEnd::Finished, kNoError);
  return 0;
}

int Session::State::on_trailers(const nghttp2_frame& frame) {
  if (streams.find(frame.hd.stream_id) == nullptr) return 0;
  if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return fail_stream(frame.hd.stream_id, kProtocolError);
  end_of_peer(frame.hd.stream_id);
  return 0;
}

int Session::State::on_data(StreamId stream, ByteView data) {
  const StreamEntry* entry = streams.find(stream);
  if (entry != nullptr && (is_server || entry->is_answered)) {
    events->on_data(stream, data);
    return 0;
  }
  // Nobody will give it back.
  if (::nghttp2_session_consume_connection(ng.get(), data.size()) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
  return entry == nullptr ? 0 : fail_stream(stream, kProtocolError);
}

int Session::State::on_end(StreamId stream) {
  const StreamEntry* entry = streams.find(stream);
  if (entry != nullptr && !is_server && !entry->is_answered) return fail_stream(stream, kProtocolError);
  end_of_peer(stream);
  return 0;
}

void Session::State::end_of_peer(StreamId stream) {
  StreamEntry* entry = streams.find(stream);
  if (entry == nullptr || entry->has_peer_ended) return;
  entry->has_peer_ended = true;
  events->on_end(stream);
  // If our side had ended before, nghttp2 closes the stream next, and on_stream_gone tells it.
}

int Session::State::on_stream_gone(StreamId stream, std::uint32_t code) {
  const StreamEntry* entry = streams.find(stream);
  if (entry == nullptr) return 0;
  const bool is_finished = entry->has_ended && entry->has_peer_ended;
  if (events == nullptr) {
    streams.erase(stream);
    return 0;
  }
  // REFUSED_STREAM is how nghttp2 says that GOAWAY excluded it.
  const StreamEnd end = is_finished              ? StreamEnd::Finished
                        : code == kRefusedStream ? StreamEnd::Unprocessed
                                                 : StreamEnd::Failed;
  tell_closed(stream, end, code);
  if (end == StreamEnd::Failed && is_server && !wasted_streams.take(now_ms)) return abuse();
  return 0;
}

// The stream is gone before the caller hears of it, so that nothing can be done with it; only its word can still be asked for.
void Session::State::tell_closed(StreamId stream, StreamEnd end, std::uint32_t code) {
  const StreamEntry* entry = streams.find(stream);
  if (entry == nullptr) return;
  closing = *entry;
  streams.erase(stream);
  events->on_closed(stream, end, code);
  closing = {};
}

int Session::State::fail_stream(StreamId stream, std::uint32_t code) {
  static_cast<void>(::nghttp2_submit_rst_stream(ng.get(), NGHTTP2_FLAG_NONE, stream, code));
  tell_closed(stream, StreamEnd::Failed, code);
  return is_server && !wasted_streams.take(now_ms) ? abuse() : 0;
}

int Session::State::on_reset(const nghttp2_frame& frame) {
  const StreamId stream = frame.hd.stream_id;
  const std::uint32_t code = frame.rst_stream.error_code;
  const StreamEntry* entry = streams.find(stream);
  if (entry == nullptr) return meter.stray_reset(now_ms) ? 0 : abuse();
  const bool was_wasted = is_server && !entry->is_answered;
  tell_closed(stream, code == kRefusedStream ? StreamEnd::Unprocessed : StreamEnd::Reset, code);
  return was_wasted && !wasted_streams.take(now_ms) ? abuse() : 0;
}

int Session::State::on_settings(const nghttp2_frame& frame) {
  if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) return 0;
  settings_due_ms = 0;
  const std::uint32_t before = peer_initial_window;
  peer_initial_window = ::nghttp2_session_get_remote_settings(ng.get(), NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
  if (peer_initial_window <= before) return 0;
  const auto more = static_cast<std::int32_t>(peer_initial_window - before);
  for (const StreamId stream : streams.ids()) {
    const std::int32_t window = ::nghttp2_session_get_stream_remote_window_size(ng.get(), stream);
    if (window > 0 && window <= more && streams.find(stream) != nullptr) events->on_writable(stream);
  }
  return 0;
}

int Session::State::on_window_update(const nghttp2_frame& frame) {
  const StreamId stream = frame.hd.stream_id;
  const std::int32_t more = frame.window_update.window_size_increment;
  const std::int32_t window = stream == 0 ? ::nghttp2_session_get_remote_window_size(ng.get())
                                          : ::nghttp2_session_get_stream_remote_window_size(ng.get(), stream);
  if (window <= 0 || window > more) return 0;  // still used up, or it never was
  if (window < kTinyWindowBytes && !tiny_windows.take(now_ms)) return abuse();
  if (stream == 0 || streams.find(stream) != nullptr) events->on_writable(stream);
  return 0;
}

int Session::State::on_go_away(const nghttp2_frame& frame) {
  const std::uint32_t code = frame.goaway.error_code;
  if (!peer_goes_away) {
    peer_goes_away = true;
    events->on_go_away(code);
  }
  // With an error the peer leaves at once; nghttp2 still tells which streams it did not look at, before `receive` ends the others.
  if (code != kNoError) fail(SessionFailure::PeerGoneAway, kNoError);
  return 0;
}

void Session::State::end_all_streams() {
  for (const StreamId stream : streams.ids()) {
    tell_closed(stream, StreamEnd::Failed, kInternalError);
  }
}

}  // namespace culvert::hbone
