// SPDX-License-Identifier: Apache-2.0
// What both record layers share: the order of things, post-handshake messages, alerts, and the end of a connection.
#include "tls/tunnel_socket.hpp"

#include <array>
#include <cerrno>

#include "base/assert.hpp"
#include "core/socket.hpp"
#include "tls/aead_cache.hpp"
#include "tls/kernel_tls.hpp"
#include "tls/key_schedule.hpp"

namespace culvert::tls {
namespace {

// RFC 8446 section 6.
constexpr std::uint8_t kAlertWarning = 1;
constexpr std::uint8_t kAlertFatal = 2;
constexpr std::uint8_t kCloseNotify = 0;
constexpr std::uint8_t kUnexpectedMessage = 10;
constexpr std::uint8_t kIllegalParameter = 47;
constexpr std::uint8_t kDecodeError = 50;
constexpr std::uint8_t kUserCanceled = 90;

// Handshake messages without any data between them: a peer that sends more wants to keep us busy.
constexpr std::uint16_t kMessagesWithoutDataMax = 1000;

}  // namespace

IoResult TunnelSocket::send(IoContext& context, std::initializer_list<Outgoing> pieces) {
  if (!fd_ || is_tx_ended_) return {0, IoStatus::Error, IoFailure::System, EPIPE};
  const IoResult result = tx_engine_ == Engine::Kernel ? send_kernel(context, pieces) : send_user(context, pieces);
  if (result.status == IoStatus::Error) is_tx_ended_ = true;  // records may be missing: nothing may follow
  return result;
}

IoResult TunnelSocket::flush(IoContext& context) {
  if (!wants_write()) return {};
  if (is_tx_ended_ && rx_end_ == IoStatus::Error) return {0, IoStatus::Error, rx_failure_, rx_errno_};
  const IoResult result = tx_engine_ == Engine::Kernel ? flush_kernel(context) : flush_user(context);
  if (result.status == IoStatus::Error) is_tx_ended_ = true;
  return result;
}

bool TunnelSocket::wants_write() const noexcept {
  return !pending_out_.empty() || pipe_ != nullptr || queue_front_left_ != 0;
}

IoResult TunnelSocket::receive(IoContext& context, std::size_t bytes_max) {
  context.segments_.clear();
  if (!fd_) return {0, IoStatus::Error, IoFailure::System, EBADF};
  if (rx_end_ != IoStatus::Ok) return receive_result(0, IoStatus::Ok);
  // A flight that waits for company must not wait for ever: the peer answers nothing before it has it.
  if (holds_flight_) static_cast<void>(flush(context));
  const IoResult result =
      rx_engine_ == Engine::Kernel ? receive_kernel(context, bytes_max) : receive_user(context, bytes_max);
  if (owes_key_update_ && rx_end_ == IoStatus::Ok) answer_key_update(context);
  return rx_end_ == IoStatus::Ok ? result : receive_result(result.bytes, result.status);
}

IoResult TunnelSocket::receive_result(std::size_t bytes, IoStatus open_status) const noexcept {
  if (rx_end_ == IoStatus::Ok) return {bytes, open_status, IoFailure::None, 0};
  return {bytes, rx_end_, rx_failure_, rx_errno_};
}

bool TunnelSocket::end_receiving(IoContext& context, IoFailure failure, std::uint8_t alert) noexcept {
  if (rx_end_ != IoStatus::Ok) return false;
  rx_end_ = IoStatus::Error;
  rx_failure_ = failure;
  if (alert != 0 && !is_tx_ended_) {
    const std::array<std::uint8_t, 2> content = {kAlertFatal, alert};
    static_cast<void>(send(context, {{RecordType::Alert, content}}));
    is_tx_ended_ = true;
  }
  return false;
}

// One record that is not application data. False: receiving has ended.
bool TunnelSocket::take_special(IoContext& context, std::uint8_t type, ByteView content) {
  const bool is_handshake = type == static_cast<std::uint8_t>(RecordType::Handshake);
  if (post_handshake_.is_within_message() && !is_handshake) {
    return end_receiving(context, IoFailure::UnexpectedType, kUnexpectedMessage);
  }
  switch (static_cast<RecordType>(type)) {
    case RecordType::Control:
      messages_since_data_ = 0;
      context.segments_.push_back({RecordType::Control, content});
      return true;
    case RecordType::Handshake: return take_handshake(context, content);
    case RecordType::Alert:
      if (content.size() != 2) return end_receiving(context, IoFailure::UnexpectedType, kDecodeError);
      return take_alert(content);
    case RecordType::ApplicationData: break;  // the caller's
  }
  return end_receiving(context, IoFailure::UnexpectedType, kUnexpectedMessage);
}

bool TunnelSocket::take_alert(ByteView content) noexcept {
  // The level is of no meaning in TLS 1.3; user_canceled is followed by close_notify (RFC 8446 section 6.1).
  if (content[1] == kUserCanceled) return true;
  if (content[1] == kCloseNotify) {
    rx_end_ = IoStatus::Eof;
    return false;
  }
  rx_end_ = IoStatus::Error;
  rx_failure_ = IoFailure::PeerAlert;
  peer_alert_ = content[1];
  is_tx_ended_ = true;
  return false;
}

bool TunnelSocket::take_handshake(IoContext& context, ByteView content) {
  if (content.empty()) return end_receiving(context, IoFailure::UnexpectedType, kUnexpectedMessage);
  while (!content.empty()) {
    const PostHandshakeEvent event = post_handshake_.next(content, is_client_);
    switch (event) {
      case PostHandshakeEvent::None: return true;
      case PostHandshakeEvent::SessionTicket: break;
      case PostHandshakeEvent::KeyUpdate:
      case PostHandshakeEvent::KeyUpdateRequested:
        if (!next_rx_key(context)) return end_receiving(context, IoFailure::KeyLimit, 0);
        if (event == PostHandshakeEvent::KeyUpdateRequested) owes_key_update_ = true;
        break;
      case PostHandshakeEvent::Unexpected: return end_receiving(context, IoFailure::UnexpectedType, kUnexpectedMessage);
      case PostHandshakeEvent::Malformed: return end_receiving(context, IoFailure::UnexpectedType, kIllegalParameter);
    }
    if (++messages_since_data_ > kMessagesWithoutDataMax) {
      return end_receiving(context, IoFailure::UnexpectedType, kUnexpectedMessage);
    }
  }
  return true;
}

bool TunnelSocket::next_rx_key(IoContext& context) noexcept {
  if (rx_engine_ == Engine::Kernel && !has_kernel_rekey_) return false;
  if (rx_engine_ != Engine::Kernel) context.aead_->drop(place(false), rx_.key.view());
  if (!next_generation(cipher_, rx_)) return false;
  if (rx_engine_ == Engine::Kernel && kernel::install(fd_.get(), kernel::Direction::Rx, cipher_, rx_) != 0)
    return false;
  asked_key_update_ = false;
  ++rekeys_;
  return true;
}

void TunnelSocket::send_close_notify(IoContext& context) noexcept {
  if (!fd_ || is_tx_ended_) return;
  const std::array<std::uint8_t, 2> content = {kAlertWarning, kCloseNotify};
  static_cast<void>(send(context, {{RecordType::Alert, content}}));
  is_tx_ended_ = true;
}

void TunnelSocket::abort() noexcept {
  if (!fd_) return;
  set_reset_on_close(fd_.get(), true);
  *this = TunnelSocket();
}

void TunnelSocket::close() noexcept {
  if (!fd_) return;
  set_reset_on_close(fd_.get(), false);
  *this = TunnelSocket();
}

std::uint64_t TunnelSocket::tx_records() const noexcept { return tx_.sequence; }

bool TunnelSocket::can_rekey() const noexcept {
  return has_kernel_rekey_ || (tx_engine_ != Engine::Kernel && rx_engine_ != Engine::Kernel);
}

}  // namespace culvert::tls
