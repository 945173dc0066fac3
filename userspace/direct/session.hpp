// SPDX-License-Identifier: Apache-2.0
// The state machines of docs/protocol.md section 5, one for each end of a direct tunnel. Pure: they are told what was
// received and what was sent, and say what to do. No I/O, no clock. Trivially copyable and a few bytes, so that a later
// agent can take a live tunnel over. Telling them of something that may not be sent now is a broken invariant of the caller;
// sent_reset and sent_close_notify are right at any time.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/bytes.hpp"
#include "direct/messages.hpp"

namespace culvert::direct {

// What the caller does about what it received. "Close": send close_notify if that was not done, then close the socket as
// protocol.md section 9 says.
enum class Action : std::uint8_t {
  Deliver,           // data: pass it to the application
  Discard,           // data or message: drop it
  StartConnect,      // server: OPEN: decide, connect, then sent_accept or sent_refuse
  RefuseDraining,    // server: OPEN after our GOAWAY: send REFUSE(Draining), sent_refuse
  RefuseBadRequest,  // server: an OPEN that cannot be read: send REFUSE(BadRequest), sent_refuse
  Accepted,          // client: the application at the far side is connected
  Refused,        // client: it is not: reset the application's connection, or try elsewhere; send END if not sent yet
  PeerEnded,      // END: shut down writing towards the application; is_idle() says whether the exchange is over
  PeerReset,      // reset the application's connection and close the tunnel
  Untried,        // client: OPEN was never looked at: close the tunnel; the OPEN may be sent on another one
  PeerGoingAway,  // client: GOAWAY during an exchange: it goes on, can_reuse() stays false
  KeepTicket,     // client: hand it to tls
  Close,          // nothing is live: close the tunnel
  ProtocolError,  // send RESET, reset the application's connection if there is one, close the tunnel
};

// The end that made the TLS connection and sends OPEN.
class ClientSession {
 public:
  enum class State : std::uint8_t {
    Idle,     // between exchanges
    Opening,  // OPEN sent, no answer yet
    Open,     // ACCEPT received
    Refused,  // REFUSE received, our END is due
    Closed,   // nothing more is sent but close_notify
  };

  // Received. Of an Unknown message the type on the wire (`type_of`).
  [[nodiscard]] Action on_message(MessageType type) noexcept;
  [[nodiscard]] Action on_message(const Message& message) noexcept { return on_message(type_of(message)); }
  [[nodiscard]] Action on_malformed(ByteView record) noexcept;  // decode() gave nothing
  [[nodiscard]] Action on_data() noexcept;                      // at least one byte of application data
  [[nodiscard]] Action on_close_notify() noexcept;
  [[nodiscard]] Action on_truncated() noexcept;  // FIN without close_notify, RST, or a record that cannot be opened

  // Sent: handed to the record layer, which sends in order.
  void sent_open() noexcept;
  void sent_end() noexcept;
  void sent_reset() noexcept;
  void sent_close_notify() noexcept;

  [[nodiscard]] bool may_send_data() const noexcept {
    return (state_ == State::Opening || state_ == State::Open) && !has_sent_end_;
  }
  [[nodiscard]] bool may_send_end() const noexcept { return may_send_data() || state_ == State::Refused; }
  // An exchange is live, so that giving up needs RESET.
  [[nodiscard]] bool may_send_reset() const noexcept { return state_ == State::Opening || state_ == State::Open; }
  // close_notify may be the next that is sent: nothing is live.
  [[nodiscard]] bool may_close() const noexcept { return !may_send_reset(); }
  [[nodiscard]] bool is_idle() const noexcept { return state_ == State::Idle; }
  [[nodiscard]] bool is_closed() const noexcept { return state_ == State::Closed; }
  // OPEN may be sent now. The caller adds its own limits (records sealed, age).
  [[nodiscard]] bool can_reuse() const noexcept { return is_idle() && !is_peer_going_away_; }
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] bool has_sent_end() const noexcept { return has_sent_end_; }
  [[nodiscard]] bool has_received_end() const noexcept { return has_received_end_; }
  [[nodiscard]] bool is_peer_going_away() const noexcept { return is_peer_going_away_; }

 private:
  void become_idle() noexcept;
  Action fail() noexcept;

  State state_ = State::Idle;
  bool has_sent_end_ = false;
  bool has_received_end_ = false;
  bool is_peer_going_away_ = false;
};

// The end that accepted the TLS connection and answers OPEN.
class ServerSession {
 public:
  enum class State : std::uint8_t {
    Idle,        // between exchanges
    Connecting,  // OPEN received, not answered yet
    Open,        // ACCEPT sent
    Discarding,  // REFUSE sent: what comes before the client's END is thrown away
    Closed,      // nothing more is sent but close_notify
  };

  [[nodiscard]] Action on_message(MessageType type) noexcept;
  [[nodiscard]] Action on_message(const Message& message) noexcept { return on_message(type_of(message)); }
  [[nodiscard]] Action on_malformed(ByteView record) noexcept;
  [[nodiscard]] Action on_data() noexcept;
  [[nodiscard]] Action on_close_notify() noexcept;
  [[nodiscard]] Action on_truncated() noexcept;

  void sent_accept() noexcept;
  void sent_refuse() noexcept;
  void sent_end() noexcept;
  void sent_reset() noexcept;
  void sent_go_away() noexcept;
  void sent_close_notify() noexcept;

  // ACCEPT or REFUSE is due.
  [[nodiscard]] bool may_answer() const noexcept { return state_ == State::Connecting; }
  [[nodiscard]] bool may_send_data() const noexcept { return state_ == State::Open && !has_sent_end_; }
  [[nodiscard]] bool may_send_end() const noexcept { return may_send_data(); }
  // Not while connecting: REFUSE says it there, and so a client knows that RESET before ACCEPT is not about its OPEN.
  [[nodiscard]] bool may_send_reset() const noexcept { return state_ == State::Open || state_ == State::Discarding; }
  // close_notify may be the next that is sent: the client is owed nothing.
  [[nodiscard]] bool may_close() const noexcept { return state_ == State::Idle || state_ == State::Closed; }
  [[nodiscard]] bool is_idle() const noexcept { return state_ == State::Idle; }
  [[nodiscard]] bool is_closed() const noexcept { return state_ == State::Closed; }
  // The tunnel may wait for another OPEN.
  [[nodiscard]] bool can_reuse() const noexcept { return is_idle() && !is_going_away_; }
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] bool has_sent_end() const noexcept { return has_sent_end_; }
  [[nodiscard]] bool has_received_end() const noexcept { return has_received_end_; }
  [[nodiscard]] bool is_going_away() const noexcept { return is_going_away_; }

 private:
  void become_idle() noexcept;
  Action fail() noexcept;

  State state_ = State::Idle;
  bool has_sent_end_ = false;
  bool has_received_end_ = false;
  bool is_going_away_ = false;
};

static_assert(sizeof(ClientSession) <= 8 && std::is_trivially_copyable_v<ClientSession>);
static_assert(sizeof(ServerSession) <= 8 && std::is_trivially_copyable_v<ServerSession>);

}  // namespace culvert::direct
