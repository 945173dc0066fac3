// SPDX-License-Identifier: Apache-2.0
// One function per row group of the tables in docs/protocol.md section 5; the unit test walks every cell.
#include "direct/session.hpp"

#include "base/assert.hpp"

namespace culvert::direct {
namespace {

constexpr bool is_ignorable(MessageType type) noexcept { return (static_cast<std::uint8_t>(type) & 0x80U) != 0; }

}  // namespace

void ClientSession::become_idle() noexcept {
  state_ = State::Idle;
  has_sent_end_ = false;
  has_received_end_ = false;
}

Action ClientSession::fail() noexcept {
  state_ = State::Closed;
  return Action::ProtocolError;
}

Action ClientSession::on_message(MessageType type) noexcept {
  if (state_ == State::Closed) return Action::Discard;
  switch (type) {
    case MessageType::Accept:
      if (state_ != State::Opening) return fail();
      state_ = State::Open;
      return Action::Accepted;
    case MessageType::Refuse:
      if (state_ != State::Opening) return fail();
      state_ = State::Refused;
      if (has_sent_end_) become_idle();
      return Action::Refused;
    case MessageType::End:
      if (state_ != State::Open || has_received_end_) return fail();
      has_received_end_ = true;
      if (has_sent_end_) become_idle();
      return Action::PeerEnded;
    case MessageType::Reset: {
      // A server never resets what it has not answered: before the answer RESET is about the exchange that came before,
      // whose end crossed with it, and a server that reset does not look at any later OPEN.
      const State was = state_;
      state_ = State::Closed;
      if (was == State::Open) return Action::PeerReset;
      return was == State::Opening ? Action::Untried : Action::Close;
    }
    case MessageType::GoAway:
      if (is_peer_going_away_) return Action::Discard;
      is_peer_going_away_ = true;
      if (state_ != State::Idle) return Action::PeerGoingAway;
      state_ = State::Closed;
      return Action::Close;
    case MessageType::Ticket: return Action::KeepTicket;
    case MessageType::Open: return fail();
  }
  return is_ignorable(type) ? Action::Discard : fail();
}

Action ClientSession::on_malformed(ByteView) noexcept { return state_ == State::Closed ? Action::Discard : fail(); }

Action ClientSession::on_data() noexcept {
  if (state_ == State::Closed) return Action::Discard;
  if (state_ != State::Open || has_received_end_) return fail();
  return Action::Deliver;
}

Action ClientSession::on_close_notify() noexcept {
  const State was = state_;
  state_ = State::Closed;
  // A server sends close_notify between exchanges, or after RESET; before the answer it has not looked at OPEN.
  if (was == State::Open) return Action::PeerReset;
  return was == State::Opening ? Action::Untried : Action::Close;
}

Action ClientSession::on_truncated() noexcept {
  const State was = state_;
  state_ = State::Closed;
  return was == State::Opening || was == State::Open ? Action::PeerReset : Action::Close;
}

void ClientSession::sent_open() noexcept {
  CV_ASSERT(can_reuse());
  state_ = State::Opening;
}

void ClientSession::sent_end() noexcept {
  CV_ASSERT(may_send_end());
  has_sent_end_ = true;
  if (state_ == State::Refused || has_received_end_) become_idle();
}

void ClientSession::sent_reset() noexcept { state_ = State::Closed; }
void ClientSession::sent_close_notify() noexcept { state_ = State::Closed; }

void ServerSession::become_idle() noexcept {
  state_ = State::Idle;
  has_sent_end_ = false;
  has_received_end_ = false;
}

Action ServerSession::fail() noexcept {
  state_ = State::Closed;
  return Action::ProtocolError;
}

Action ServerSession::on_message(MessageType type) noexcept {
  if (state_ == State::Closed) return Action::Discard;
  switch (type) {
    case MessageType::Open:
      if (state_ != State::Idle) return fail();
      state_ = State::Connecting;
      return is_going_away_ ? Action::RefuseDraining : Action::StartConnect;
    case MessageType::End:
      if (state_ == State::Discarding) {
        become_idle();
        return Action::Discard;
      }
      if (state_ == State::Idle || has_received_end_) return fail();
      has_received_end_ = true;
      if (has_sent_end_) become_idle();
      return Action::PeerEnded;
    case MessageType::Reset: {
      // Idle: the client gave up while our END, the last thing it waited for, was on its way.
      const State was = state_;
      state_ = State::Closed;
      return was == State::Connecting || was == State::Open ? Action::PeerReset : Action::Close;
    }
    case MessageType::Accept:
    case MessageType::Refuse:
    case MessageType::GoAway:
    case MessageType::Ticket: return fail();
  }
  return is_ignorable(type) ? Action::Discard : fail();
}

Action ServerSession::on_malformed(ByteView record) noexcept {
  if (state_ == State::Closed) return Action::Discard;
  const bool is_open = !record.empty() && record[0] == static_cast<std::uint8_t>(MessageType::Open);
  if (!is_open || state_ != State::Idle) return fail();
  state_ = State::Connecting;
  return Action::RefuseBadRequest;
}

Action ServerSession::on_data() noexcept {
  if (state_ == State::Closed || state_ == State::Discarding) return Action::Discard;
  if (state_ == State::Idle || has_received_end_) return fail();
  return Action::Deliver;
}

Action ServerSession::on_close_notify() noexcept {
  const State was = state_;
  state_ = State::Closed;
  return was == State::Connecting || was == State::Open ? Action::PeerReset : Action::Close;
}

Action ServerSession::on_truncated() noexcept { return on_close_notify(); }

void ServerSession::sent_accept() noexcept {
  CV_ASSERT(may_answer());
  state_ = State::Open;
}

void ServerSession::sent_refuse() noexcept {
  CV_ASSERT(may_answer());
  state_ = State::Discarding;
  if (has_received_end_) become_idle();
}

void ServerSession::sent_end() noexcept {
  CV_ASSERT(may_send_end());
  has_sent_end_ = true;
  if (has_received_end_) become_idle();
}

void ServerSession::sent_reset() noexcept { state_ = State::Closed; }
void ServerSession::sent_go_away() noexcept { is_going_away_ = true; }
void ServerSession::sent_close_notify() noexcept { state_ = State::Closed; }

}  // namespace culvert::direct
