// SPDX-License-Identifier: Apache-2.0
// Making a session, its streams as the caller sees them, keepalive and drain.
#include "hbone/session.hpp"

#include <algorithm>
#include <array>

#include "base/assert.hpp"
#include "hbone/session_state.hpp"

namespace culvert::hbone {
namespace {

constexpr std::size_t kPrefaceBytes = 24;
// The rate limit of nghttp2 counts every RST_STREAM of a client, and those of tunnels that have lived are normal: ours counts the others.
constexpr std::uint64_t kNgResetLimitOff = std::uint64_t{1} << 40U;
constexpr std::uint64_t kDrainRoundTripMs = 1'000;
constexpr std::array<std::uint8_t, 8> kPingAlive = {'c', 'v', ' ', 'a', 'l', 'i', 'v', 'e'};

struct OptionDelete {
  void operator()(nghttp2_option* option) const noexcept { ::nghttp2_option_del(option); }
};
using OptionPtr = std::unique_ptr<nghttp2_option, OptionDelete>;

OptionPtr make_options(const Limits& limits) {
  nghttp2_option* raw = nullptr;
  if (::nghttp2_option_new(&raw) != 0) return nullptr;
  OptionPtr option(raw);
  ::nghttp2_option_set_no_auto_window_update(raw, 1);
  ::nghttp2_option_set_peer_max_concurrent_streams(raw, limits.streams_before_settings);
  // Its rules are those of requests and answers in general, and end a stream without an answer; HeaderFields has those of CONNECT.
  ::nghttp2_option_set_no_http_messaging(raw, 1);
  ::nghttp2_option_set_no_closed_streams(raw, 1);
  ::nghttp2_option_set_max_settings(raw, kSettingsEntriesMax);
  ::nghttp2_option_set_max_continuations(raw, kContinuationsMax);
  ::nghttp2_option_set_stream_reset_rate_limit(raw, kNgResetLimitOff, kNgResetLimitOff);
  return option;
}

// NO_RFC7540_PRIORITIES saves the tree of priorities, and with it what PRIORITY frames could do to it.
int submit_settings(nghttp2_session* ng, const Limits& limits, bool is_server) {
  std::array<nghttp2_settings_entry, 5> entries = {{
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, limits.frame_bytes_max},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
       is_server ? limits.server_header_list_bytes_max : limits.client_header_list_bytes_max},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  }};
  if (is_server) entries.back() = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams_max};
  const int rv = ::nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  if (rv != 0) return rv;
  return ::nghttp2_session_set_local_window_size(ng, NGHTTP2_FLAG_NONE, 0,
                                                 static_cast<std::int32_t>(limits.connection_window));
}

std::size_t header_list_max(const Limits& limits, bool is_server) noexcept {
  return is_server ? limits.server_header_list_bytes_max : limits.client_header_list_bytes_max;
}

}  // namespace

std::string_view to_string(SessionFailure failure) noexcept {
  switch (failure) {
    case SessionFailure::None: return "none";
    case SessionFailure::Protocol: return "the peer broke a rule of HTTP/2";
    case SessionFailure::Abuse: return "the peer wasted too much (ENHANCE_YOUR_CALM)";
    case SessionFailure::PeerGoneAway: return "the peer ended the connection with an error";
    case SessionFailure::PingTimeout: return "the peer did not answer a PING";
    case SessionFailure::SettingsTimeout: return "the peer sent no SETTINGS";
    case SessionFailure::NoMemory: return "out of memory";
  }
  return "unknown";
}

Session::State::State(const Limits& limits_in, bool is_server_in, std::uint64_t now) noexcept
    : limits(limits_in),
      is_server(is_server_in),
      now_ms(now),
      heard_ms(now),
      settings_due_ms(now + limits_in.settings_timeout_ms),
      meter(is_server_in ? kPrefaceBytes : 0, header_list_max(limits_in, is_server_in), now),
      wasted_streams(kWastedStreams, now),
      interim_answers(kInterimAnswers, now),
      tiny_windows(kTinyWindows, now),
      fields(header_list_max(limits_in, is_server_in)) {}

std::unique_ptr<Session::State> Session::State::create(const Limits& limits, bool is_server, std::uint64_t now_ms) {
  const OptionPtr option = make_options(limits);
  const nghttp2_session_callbacks* callbacks = session_callbacks();
  if (option == nullptr || callbacks == nullptr) return nullptr;
  auto state = std::make_unique<State>(limits, is_server, now_ms);
  nghttp2_session* ng = nullptr;
  const int rv = is_server ? ::nghttp2_session_server_new2(&ng, callbacks, state.get(), option.get())
                           : ::nghttp2_session_client_new2(&ng, callbacks, state.get(), option.get());
  if (rv != 0) return nullptr;
  state->ng.reset(ng);
  if (submit_settings(ng, limits, is_server) != 0) return nullptr;
  state->pump();
  if (state->has_failed()) return nullptr;
  return state;
}

std::unique_ptr<Session> Session::client(const Limits& limits, std::uint64_t now_ms) {
  auto state = State::create(limits, false, now_ms);
  return state == nullptr ? nullptr : std::unique_ptr<Session>(new Session(std::move(state)));
}

std::unique_ptr<Session> Session::server(const Limits& limits, std::uint64_t now_ms) {
  auto state = State::create(limits, true, now_ms);
  return state == nullptr ? nullptr : std::unique_ptr<Session>(new Session(std::move(state)));
}

Session::Session(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Session::~Session() = default;

SessionFailure Session::failure() const noexcept { return state_->failure; }

bool Session::receive(ByteView bytes, std::uint64_t now_ms, Events& events) {
  State& state = *state_;
  CV_ASSERT(!state.is_busy);
  if (!state.has_failed()) {
    state.now_ms = std::max(state.now_ms, now_ms);
    if (!bytes.empty()) {
      state.heard_ms = state.now_ms;
      state.has_heard = true;
      state.is_ping_out = false;
    }
  }
  state.events = &events;
  const bool is_alive = !state.has_failed() && state.receive(bytes);
  if (!is_alive) state.end_all_streams();
  state.events = nullptr;
  return is_alive;
}

bool Session::can_connect() const noexcept {
  const State& state = *state_;
  return !state.is_server && !state.has_failed() && !is_going_away() && state.streams.size() < streams_max() &&
         ::nghttp2_session_check_request_allowed(state.ng.get()) != 0;
}

std::uint32_t Session::live_streams() const noexcept { return static_cast<std::uint32_t>(state_->streams.size()); }

std::uint32_t Session::streams_max() const noexcept {
  const State& state = *state_;
  if (state.is_server) return state.limits.streams_max;
  const std::uint32_t peers =
      ::nghttp2_session_get_remote_settings(state.ng.get(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  return std::min(peers, state.limits.streams_before_settings);
}

void Session::set_user_word(StreamId stream, std::uint64_t word) noexcept {
  if (StreamEntry* entry = state_->streams.find(stream)) entry->user_word = word;
}

std::uint64_t Session::user_word(StreamId stream) const noexcept {
  const StreamEntry* entry = std::as_const(state_->streams).find(stream);
  if (entry == nullptr) return state_->closing.id == stream ? state_->closing.user_word : 0;
  return entry->user_word;
}

void Session::consume_connection(std::size_t bytes) {
  if (state_->has_failed()) return;
  static_cast<void>(::nghttp2_session_consume_connection(state_->ng.get(), bytes));
  state_->pump_if_outside();
}

void Session::consume_stream(StreamId stream, std::size_t bytes) {
  const StreamEntry* entry = state_->streams.find(stream);
  if (entry == nullptr || entry->has_peer_ended) return;  // nothing more comes that a window would be for
  static_cast<void>(::nghttp2_session_consume_stream(state_->ng.get(), stream, bytes));
  state_->pump_if_outside();
}

void Session::go_away() {
  State& state = *state_;
  if (state.has_failed() || state.drain != Drain::None) return;
  if (state.is_server)
    state.announce_drain();
  else
    state.finish_drain();
  state.pump_if_outside();
}

void Session::go_away_now() {
  State& state = *state_;
  if (state.has_failed() || state.drain == Drain::Final) return;
  state.finish_drain();
  state.pump_if_outside();
}

bool Session::is_going_away() const noexcept { return state_->drain != Drain::None || state_->peer_goes_away; }

bool Session::is_done() const noexcept {
  const State& state = *state_;
  if (state.has_failed()) return !wants_write();
  const bool has_ended = state.drain == Drain::Final || (state.peer_goes_away && state.drain == Drain::None);
  return has_ended && state.streams.size() == 0 && !wants_write();
}

std::uint64_t Session::next_tick_ms() const noexcept {
  const State& state = *state_;
  if (state.has_failed()) return 0;
  std::uint64_t due = state.heard_ms + state.limits.ping_interval_ms;
  if (state.is_ping_out) {
    const std::uint64_t suspect_ms = state.ping_ms + state.limits.ping_suspect_ms;
    due = state.ping_ms + state.limits.ping_timeout_ms;
    if (state.now_ms < suspect_ms) due = std::min(due, suspect_ms);
  }
  if (state.settings_due_ms != 0) due = std::min(due, state.settings_due_ms);
  if (state.drain != Drain::Announced) return due;
  return std::min(due, state.drain_due_ms == 0 ? std::max<std::uint64_t>(state.now_ms, 1) : state.drain_due_ms);
}

std::uint64_t Session::silent_ms(std::uint64_t now_ms) const noexcept {
  return now_ms - std::min(now_ms, state_->heard_ms);
}

bool Session::is_suspect(std::uint64_t now_ms) const noexcept {
  return state_->is_ping_out && now_ms >= state_->ping_ms + state_->limits.ping_suspect_ms;
}

bool Session::tick(std::uint64_t now_ms) {
  State& state = *state_;
  CV_ASSERT(!state.is_busy);
  if (state.has_failed()) return false;
  state.now_ms = std::max(state.now_ms, now_ms);
  if (state.drain == Drain::Announced) {
    if (state.drain_due_ms == 0) state.drain_due_ms = state.now_ms + kDrainRoundTripMs;
    if (state.now_ms >= state.drain_due_ms) state.finish_drain();
  }
  if (state.settings_due_ms != 0 && state.now_ms >= state.settings_due_ms) {
    // One from whom nothing has come at all is gone rather than odd.
    state.fail(state.has_heard ? SessionFailure::SettingsTimeout : SessionFailure::PingTimeout, kSettingsTimeout);
    return false;
  }
  if (state.is_ping_out && state.now_ms >= state.ping_ms + state.limits.ping_timeout_ms) {
    state.fail(SessionFailure::PingTimeout, kNoError);
    return false;
  }
  if (!state.is_ping_out && state.now_ms >= state.heard_ms + state.limits.ping_interval_ms) {
    static_cast<void>(::nghttp2_submit_ping(state.ng.get(), NGHTTP2_FLAG_NONE, kPingAlive.data()));
    state.is_ping_out = true;
    state.ping_ms = state.now_ms;
  }
  state.pump();
  return !state.has_failed();
}

}  // namespace culvert::hbone
