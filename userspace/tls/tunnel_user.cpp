// SPDX-License-Identifier: Apache-2.0
// TunnelSocket's records in user space: a batch of records for each system call, sealed from the caller's memory into
// scratch memory and opened from there into one run of plaintext. Connections hold memory only for what a socket did not take.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "base/assert.hpp"
#include "tls/aead_cache.hpp"
#include "tls/io_scratch.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"
#include "tls/tunnel_socket.hpp"

namespace culvert::tls {
namespace {

constexpr std::uint8_t kUnexpectedMessage = 10;
constexpr std::uint8_t kBadRecordMac = 20;
constexpr std::uint8_t kRecordOverflow = 22;
constexpr std::uint8_t kDecodeError = 50;

constexpr std::uint8_t number(RecordType type) noexcept { return static_cast<std::uint8_t>(type); }

}  // namespace

// The records of one send while they are put together in scratch memory.
struct TunnelSocket::Sealing {
  explicit Sealing(IoContext& context) noexcept : area(context.scratch_->cipher.get()) {}
  [[nodiscard]] ByteView sealed() const noexcept { return {area, used}; }

  std::uint8_t* area;
  std::size_t used = 0;
  int error = 0;
};

IoResult TunnelSocket::send_user(IoContext& context, std::initializer_list<Outgoing> pieces) {
  Sealing sealing(context);
  IoResult result;
  bool is_ok = true;
  if (owes_key_update_) is_ok = seal_key_update(context, sealing, false);
  for (const Outgoing& piece : pieces) {
    if (!is_ok) break;
    if (piece.type != RecordType::ApplicationData) {
      CV_ASSERT(piece.data.size() <= kRecordPlainBytesMax);
      is_ok = seal(context, sealing, number(piece.type), piece.data);
    } else if (!pending_out_.empty() && !holds_flight_) {
      result.status = IoStatus::WouldBlock;
    } else if (!piece.data.empty()) {
      const ByteView data = piece.data.first(std::min(piece.data.size(), IoContext::kBatchBytesMax));
      is_ok = seal(context, sealing, number(piece.type), data);
      result.bytes = data.size();
    }
  }
  if (is_ok && sealing.used != 0) sealing.error = emit(context, sealing.sealed());
  if (!is_ok && sealing.error == 0) sealing.error = ENOMEM;
  if (sealing.error != 0) return {0, IoStatus::Error, IoFailure::System, sealing.error};
  return result;
}

bool TunnelSocket::seal(IoContext& context, Sealing& sealing, std::uint8_t type, ByteView data) {
  if (tx_.sequence + record_count(data.size()) > limits_.rekey && tx_.sequence != 0) {
    if (!seal_key_update(context, sealing, false)) return false;
  }
  const std::size_t size = sealed_bytes(data.size());
  if (sealing.used + size > IoContext::Scratch::kAreaBytes) {
    sealing.error = emit(context, sealing.sealed());
    sealing.used = 0;
    if (sealing.error != 0) return false;
  }
  Aead* aead = context.aead_->get(place(true), tx_engine_, cipher_, tx_.key.view());
  if (aead == nullptr || !seal_records(*aead, tx_, type, data, sealing.area + sealing.used)) return false;
  sealing.used += size;
  return true;
}

// RFC 8446 section 4.6.3: the message goes out under the old key, everything after it under the next.
bool TunnelSocket::seal_key_update(IoContext& context, Sealing& sealing, bool wants_answer) {
  const std::array<std::uint8_t, 5> message = {24, 0, 0, 1, static_cast<std::uint8_t>(wants_answer ? 1 : 0)};
  Aead* aead = context.aead_->get(place(true), tx_engine_, cipher_, tx_.key.view());
  CV_ASSERT(sealing.used + sealed_bytes(message.size()) <= IoContext::Scratch::kAreaBytes);
  if (aead == nullptr) return false;
  if (!seal_records(*aead, tx_, number(RecordType::Handshake), message, sealing.area + sealing.used)) return false;
  sealing.used += sealed_bytes(message.size());
  context.aead_->drop(place(true), tx_.key.view());
  owes_key_update_ = false;
  ++rekeys_;
  return next_generation(cipher_, tx_);
}

// Sends behind what waits; what the socket does not take waits. 0 or an errno.
int TunnelSocket::emit(IoContext& context, ByteView sealed) {
  if (!pending_out_.empty() && !holds_flight_) {
    context.pool().append(pending_out_, sealed);
    return 0;
  }
  std::array<iovec, 2> parts;
  std::size_t count = 0;
  const ByteView flight = pending_out_.filled();
  if (holds_flight_) parts[count++] = {const_cast<std::uint8_t*>(flight.data()), flight.size()};
  parts[count++] = {const_cast<std::uint8_t*>(sealed.data()), sealed.size()};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  const ssize_t status = ::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (status < 0 && errno != EAGAIN && errno != EINTR) return errno;
  auto sent = status < 0 ? std::size_t{0} : static_cast<std::size_t>(status);
  if (holds_flight_) {
    const std::size_t of_flight = std::min(sent, flight.size());
    pending_out_.consume(of_flight);
    sent -= of_flight;
    holds_flight_ = false;
  }
  if (sent < sealed.size()) context.pool().append(pending_out_, sealed.subspan(sent));
  return 0;
}

IoResult TunnelSocket::flush_user(IoContext& context) {
  holds_flight_ = false;
  const ByteView waiting = pending_out_.filled();
  const ssize_t sent = ::send(fd_.get(), waiting.data(), waiting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno == EAGAIN || errno == EINTR) return {0, IoStatus::WouldBlock, IoFailure::None, 0};
    return {0, IoStatus::Error, IoFailure::System, errno};
  }
  pending_out_.consume(static_cast<std::size_t>(sent));
  if (!pending_out_.empty()) return {0, IoStatus::WouldBlock, IoFailure::None, 0};
  if (owes_key_update_ && !is_tx_ended_) answer_key_update(context);
  return {};
}

void TunnelSocket::answer_key_update(IoContext& context) {
  // Nothing piles up behind a peer that asks and does not read: one answer serves all its requests.
  if (wants_write() && !holds_flight_) return;
  if (is_tx_ended_) return;
  if (tx_engine_ == Engine::Kernel) {
    if (!has_kernel_rekey_) {
      static_cast<void>(end_receiving(context, IoFailure::KeyLimit, 0));
      return;
    }
    owes_key_update_ = false;
    static constexpr std::array<std::uint8_t, 5> kMessage = {24, 0, 0, 1, 0};
    queue_record(context, number(RecordType::Handshake), kMessage);
    const IoResult result = flush_kernel(context);
    if (result.status == IoStatus::Error) is_tx_ended_ = true;
    return;
  }
  Sealing sealing(context);
  if (!seal_key_update(context, sealing, false) || emit(context, sealing.sealed()) != 0) is_tx_ended_ = true;
}

IoResult TunnelSocket::receive_user(IoContext& context, std::size_t bytes_max) {
  std::uint8_t* area = context.scratch_->cipher.get();
  const std::size_t carried = pending_in_.size();
  const std::size_t wanted = std::clamp(bytes_max, kRecordBytesMax, IoContext::kBatchBytesMax);
  CV_ASSERT(carried + wanted <= IoContext::Scratch::kAreaBytes);
  if (carried != 0) std::memcpy(area, pending_in_.filled().data(), carried);
  const ssize_t status = ::recv(fd_.get(), area + carried, wanted, MSG_DONTWAIT);
  const int error = status < 0 ? errno : 0;
  const std::size_t got = status < 0 ? 0 : static_cast<std::size_t>(status);

  // A record that is still incomplete stays where it is while nothing new came.
  std::size_t bytes = 0;
  if (got != 0 || carried != 0) {
    ByteView input{area, carried + got};
    bytes = open_all(context, input);
    if (input.size() != carried || got != 0) {
      pending_in_.reset();
      if (rx_end_ == IoStatus::Ok && !input.empty()) context.pool().append(pending_in_, input);
    }
  }
  if (rx_end_ == IoStatus::Ok) {
    if (status == 0) {
      rx_end_ = IoStatus::Truncated;
    } else if (error != 0 && error != EAGAIN && error != EINTR) {
      rx_end_ = IoStatus::Error;
      rx_failure_ = IoFailure::System;
      rx_errno_ = error;
    } else if (rx_.sequence >= limits_.hard) {
      static_cast<void>(end_receiving(context, IoFailure::KeyLimit, 0));
    } else if (!asked_key_update_ && rx_.sequence >= limits_.rekey + (limits_.hard - limits_.rekey) / 2 &&
               !wants_write() && tx_engine_ != Engine::Kernel && !is_tx_ended_) {
      // The peer should have changed its key long ago: ask.
      asked_key_update_ = true;
      Sealing sealing(context);
      if (!seal_key_update(context, sealing, true) || emit(context, sealing.sealed()) != 0) is_tx_ended_ = true;
    }
  }
  const bool is_drained = error != 0 || (got < wanted && !has_hangup_);
  return {bytes, is_drained ? IoStatus::WouldBlock : IoStatus::Ok, IoFailure::None, 0};
}

// Opens every complete record at the front of `input`: plaintext goes to context.segments().
std::size_t TunnelSocket::open_all(IoContext& context, ByteView& input) {
  std::uint8_t* out = context.scratch_->received.get();
  auto& segments = context.segments_;
  std::size_t bytes = 0;
  Aead* aead = context.aead_->get(place(false), rx_engine_, cipher_, rx_.key.view());
  while (rx_end_ == IoStatus::Ok) {
    if (aead == nullptr) {
      rx_errno_ = ENOMEM;
      static_cast<void>(end_receiving(context, IoFailure::System, 0));
      break;
    }
    const OpenedRecord record = open_record(*aead, rx_, input, out);
    switch (record.status) {
      case OpenStatus::Record: break;
      case OpenStatus::Incomplete: return bytes;
      case OpenStatus::TooLong:
        static_cast<void>(end_receiving(context, IoFailure::BadRecord, kRecordOverflow));
        return bytes;
      case OpenStatus::TooShort:
        static_cast<void>(end_receiving(context, IoFailure::BadRecord, kDecodeError));
        return bytes;
      case OpenStatus::BadMac:
        static_cast<void>(end_receiving(context, IoFailure::BadRecord, kBadRecordMac));
        return bytes;
      case OpenStatus::NotSealed:
      case OpenStatus::NoType:
        static_cast<void>(end_receiving(context, IoFailure::UnexpectedType, kUnexpectedMessage));
        return bytes;
    }
    input = input.subspan(record.consumed_bytes);
    const ByteView content{out, record.content_bytes};
    if (record.type == number(RecordType::ApplicationData) && !post_handshake_.is_within_message()) {
      if (content.empty()) continue;
      messages_since_data_ = 0;
      if (!segments.empty() && segments.back().type == RecordType::ApplicationData &&
          segments.back().data.data() + segments.back().data.size() == out) {
        segments.back().data = {segments.back().data.data(), segments.back().data.size() + content.size()};
      } else {
        segments.push_back({RecordType::ApplicationData, content});
      }
      bytes += content.size();
      out += content.size();
      continue;
    }
    if (!take_special(context, record.type, content)) break;
    if (record.type == number(RecordType::Control)) out += content.size();
    if (record.type == number(RecordType::Handshake)) {
      aead = context.aead_->get(place(false), rx_engine_, cipher_, rx_.key.view());
    }
  }
  return bytes;
}

}  // namespace culvert::tls
