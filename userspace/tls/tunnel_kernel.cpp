// SPDX-License-Identifier: Apache-2.0
// TunnelSocket's records in the kernel: plain send and splice for data, sendmsg and recvmsg with the record type for the rest.
// Control records that the socket does not take wait in a queue of {type, length, content} and keep their order behind spliced
// bytes. Never MSG_MORE or SPLICE_F_MORE: on 6.12 and later a record left open stays unsent until more data comes.
#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>

#include "base/assert.hpp"
#include "tls/io_scratch.hpp"
#include "tls/kernel_tls.hpp"
#include "tls/key_schedule.hpp"
#include "tls/record_codec.hpp"
#include "tls/tunnel_socket.hpp"

namespace culvert::tls {
namespace {

constexpr std::size_t kQueueHeaderBytes = 3;
constexpr std::size_t kCopyBytesMax = 64 * 1024;
constexpr std::uint8_t kHandshake = static_cast<std::uint8_t>(RecordType::Handshake);
constexpr std::uint8_t kData = static_cast<std::uint8_t>(RecordType::ApplicationData);
constexpr std::array<std::uint8_t, 5> kKeyUpdate = {24, 0, 0, 1, 0};
constexpr IoResult kWouldBlock = {0, IoStatus::WouldBlock, IoFailure::None, 0};

IoResult system_error(int error) noexcept { return {0, IoStatus::Error, IoFailure::System, error}; }

}  // namespace

IoResult TunnelSocket::send_kernel(IoContext& context, std::initializer_list<Outgoing> pieces) {
  std::size_t bytes = 0;
  for (const Outgoing& piece : pieces) {
    if (piece.type != RecordType::ApplicationData) {
      // The kernel sends no record at all for no bytes.
      CV_ASSERT(!piece.data.empty() && piece.data.size() <= kRecordPlainBytesMax);
      queue_record(context, static_cast<std::uint8_t>(piece.type), piece.data);
      continue;
    }
    if (piece.data.empty()) continue;
    if (const IoResult ready = prepare_kernel_data(context); ready.status != IoStatus::Ok) return ready;
    const ByteView data = piece.data.first(std::min(piece.data.size(), IoContext::kBatchBytesMax));
    const ssize_t sent = ::send(fd_.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR ? kWouldBlock : system_error(errno);
    bytes = static_cast<std::size_t>(sent);
    count_kernel_records(bytes);
  }
  if (bytes == 0) {
    const IoResult result = flush_kernel(context);
    if (result.status == IoStatus::Error) return result;
  }
  return {bytes, IoStatus::Ok, IoFailure::None, 0};
}

// Everything that waits has gone and the key may be used: Ok. Else why not.
IoResult TunnelSocket::prepare_kernel_data(IoContext& context) {
  if (tx_.sequence >= limits_.rekey) {
    if (const auto exact = kernel::tx_sequence(fd_.get(), cipher_)) tx_.sequence = *exact;
    if (tx_.sequence >= limits_.rekey && has_kernel_rekey_) {
      queue_record(context, kHandshake, kKeyUpdate);
    } else if (tx_.sequence >= limits_.hard) {
      return {0, IoStatus::Error, IoFailure::KeyLimit, 0};
    }
  }
  return wants_write() ? flush_kernel(context) : IoResult{};
}

void TunnelSocket::queue_record(IoContext& context, std::uint8_t type, ByteView data) {
  const std::array<std::uint8_t, kQueueHeaderBytes> header = {type, static_cast<std::uint8_t>(data.size() >> 8U),
                                                              static_cast<std::uint8_t>(data.size())};
  context.pool().append(pending_out_, header);
  context.pool().append(pending_out_, data);
}

// 0 when the queue is empty, EAGAIN, or the errno that ends the connection.
int TunnelSocket::send_queue() noexcept {
  while (!pending_out_.empty()) {
    if (queue_front_left_ == 0) {
      const ByteView header = pending_out_.filled().first(kQueueHeaderBytes);
      queue_front_type_ = header[0];
      queue_front_left_ = static_cast<std::uint16_t>(header[1] << 8U | header[2]);
      pending_out_.consume(kQueueHeaderBytes);
    }
    const ssize_t sent =
        kernel::send_record(fd_.get(), queue_front_type_, pending_out_.filled().first(queue_front_left_));
    if (sent < 0) return sent == -EINTR ? EAGAIN : static_cast<int>(-sent);
    pending_out_.consume(static_cast<std::size_t>(sent));
    queue_front_left_ = static_cast<std::uint16_t>(queue_front_left_ - sent);
    if (queue_front_left_ != 0) continue;
    ++tx_.sequence;
    if (queue_front_type_ != kHandshake) continue;
    // That was a KeyUpdate: the next record must have the next key. When the kernel refuses, nothing may follow at all.
    if (!next_generation(cipher_, tx_)) return ENOMEM;
    if (const int error = kernel::install(fd_.get(), kernel::Direction::Tx, cipher_, tx_); error != 0) return error;
    ++rekeys_;
  }
  return 0;
}

int TunnelSocket::drain_pipe() noexcept {
  while (pipe_ && pipe_->bytes != 0) {
    const ssize_t moved =
        ::splice(pipe_->read_end.get(), nullptr, fd_.get(), nullptr, pipe_->bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved < 0) return errno == EINTR ? EAGAIN : errno;
    if (moved == 0) return EPIPE;
    pipe_->bytes -= static_cast<std::size_t>(moved);
    count_kernel_records(static_cast<std::size_t>(moved));
  }
  pipe_.reset();
  return 0;
}

IoResult TunnelSocket::flush_kernel(IoContext& context) {
  int error = drain_pipe();
  if (error == 0) error = send_queue();
  if (error == EAGAIN) return kWouldBlock;
  if (error != 0) return system_error(error);
  if (owes_key_update_ && !is_tx_ended_) answer_key_update(context);
  return {};
}

IoResult TunnelSocket::splice_from(IoContext& context, int plain_fd, std::size_t bytes_max) {
  CV_ASSERT(can_splice());
  if (!fd_ || is_tx_ended_) return system_error(EPIPE);
  if (const IoResult ready = prepare_kernel_data(context); ready.status != IoStatus::Ok) {
    if (ready.status == IoStatus::Error) is_tx_ended_ = true;
    return ready;
  }
  pipe_ = context.pipes_->lend();
  if (!pipe_) return copy_from(context, plain_fd, bytes_max);

  IoResult result;
  while (result.bytes < bytes_max) {
    const ssize_t moved =
        ::splice(plain_fd, nullptr, pipe_->write_end.get(), nullptr,
                 std::min(bytes_max - result.bytes, pipe_->capacity), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved <= 0) {
      const int error = moved == 0 ? 0 : errno;
      const bool is_block = error == EAGAIN || error == EINTR;
      result.status = is_block ? IoStatus::WouldBlock : IoStatus::Eof;
      result.sys_errno = is_block ? 0 : error;
      break;
    }
    pipe_->bytes = static_cast<std::size_t>(moved);
    result.bytes += pipe_->bytes;
    if (const int error = drain_pipe(); error != 0) {
      if (error == EAGAIN) return result;  // wants_write() tells
      is_tx_ended_ = true;
      return system_error(error);
    }
    pipe_ = context.pipes_->lend();
    if (!pipe_) return result;
  }
  pipe_.reset();
  return result;
}

// Without a pipe (limit reached, no descriptors): the same by copying.
IoResult TunnelSocket::copy_from(IoContext& context, int plain_fd, std::size_t bytes_max) {
  const MutableBytes space = context.plain_scratch().first(std::min(bytes_max, kCopyBytesMax));
  const ssize_t got = ::recv(plain_fd, space.data(), space.size(), MSG_DONTWAIT);
  if (got <= 0) {
    const int error = got == 0 ? 0 : errno;
    if (error == EAGAIN || error == EINTR) return kWouldBlock;
    return {0, IoStatus::Eof, IoFailure::None, error};
  }
  ByteView data = space.first(static_cast<std::size_t>(got));
  const IoResult sent = send(context, {{RecordType::ApplicationData, data}});
  if (sent.status == IoStatus::Error) return sent;
  for (data = data.subspan(sent.bytes); !data.empty();) {
    const ByteView part = data.first(std::min(data.size(), kRecordPlainBytesMax));
    queue_record(context, kData, part);
    data = data.subspan(part.size());
  }
  return {static_cast<std::size_t>(got), IoStatus::Ok, IoFailure::None, 0};
}

IoResult TunnelSocket::receive_kernel(IoContext& context, std::size_t bytes_max) {
  std::uint8_t* out = context.scratch_->received.get();
  const std::size_t limit = std::clamp(bytes_max, kRecordPlainBytesMax, IoContext::kBatchBytesMax);
  std::size_t used = 0;
  std::size_t bytes = 0;
  while (used < limit) {
    // A control record is read whole, so there is always room for one.
    const std::size_t room = std::max(limit - used, kRecordPlainBytesMax);
    const kernel::Received received = kernel::receive_records(fd_.get(), {out + used, room});
    if (received.bytes < 0) {
      const int error = static_cast<int>(-received.bytes);
      if (error == EAGAIN || error == EINTR) return {bytes, IoStatus::WouldBlock, IoFailure::None, 0};
      rx_end_ = IoStatus::Error;
      // EBADMSG: wrong MAC; EINVAL: not a record; EMSGSIZE: too long.
      rx_failure_ = error == EBADMSG || error == EINVAL || error == EMSGSIZE ? IoFailure::BadRecord : IoFailure::System;
      rx_errno_ = error;
      break;
    }
    const ByteView content{out + used, static_cast<std::size_t>(received.bytes)};
    if (received.type == 0 && content.empty()) {
      rx_end_ = IoStatus::Truncated;  // FIN, also in the middle of a record
      break;
    }
    if (received.type == 0 || received.type == kData) {
      if (content.empty()) continue;
      messages_since_data_ = 0;
      context.segments_.push_back({RecordType::ApplicationData, content});
      used += content.size();
      bytes += content.size();
      continue;
    }
    if (!take_special(context, received.type, content)) break;
    if (received.type == static_cast<std::uint8_t>(RecordType::Control)) used += content.size();
  }
  return {bytes, IoStatus::Ok, IoFailure::None, 0};
}

}  // namespace culvert::tls
