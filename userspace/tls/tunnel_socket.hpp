// SPDX-License-Identifier: Apache-2.0
// TunnelSocket: a TLS 1.3 connection after its handshake. It owns the descriptor, and bytes leave it only as records: the
// one way to make it is HandshakeSocket::into_tunnel, which has keys installed or fails, so clear text cannot be sent by
// construction (docs/tls.md). No SSL object is alive. The whole state is small and plain: keys, sequence numbers, and lent
// buffers while bytes are in flight. Worker thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"
#include "core/buffer_pool.hpp"
#include "tls/cipher.hpp"
#include "tls/engine_plan.hpp"
#include "tls/io_context.hpp"
#include "tls/pipe_pool.hpp"
#include "tls/post_handshake.hpp"
#include "tls/traffic_keys.hpp"

namespace culvert::tls {

// One piece to send: bytes that leave as records of this type. A Control piece is one record (16 KiB at most).
struct Outgoing {
  RecordType type;
  ByteView data;
};

enum class IoStatus : std::uint8_t {
  Ok,
  WouldBlock,  // nothing more can be done until epoll says so
  Eof,         // receive: close_notify arrived; splice_from: the plain socket is at its end, or (sys_errno) has failed
  Truncated,   // receive: FIN without close_notify: the peer's agent died or somebody cut the stream
  Error,       // sys_errno and failure say what
};

enum class IoFailure : std::uint8_t {
  None,
  System,          // errno
  BadRecord,       // decryption or framing failed
  UnexpectedType,  // a record or handshake message that has no place here
  PeerAlert,       // a fatal alert
  KeyLimit,        // this direction may not use its key any longer and cannot rekey
};

struct IoResult {
  std::size_t bytes = 0;  // application-data bytes accepted (send, splice) or received
  IoStatus status = IoStatus::Ok;
  IoFailure failure = IoFailure::None;
  int sys_errno = 0;
};

class TunnelSocket {
 public:
  TunnelSocket() noexcept = default;
  TunnelSocket(TunnelSocket&&) noexcept = default;
  TunnelSocket& operator=(TunnelSocket&&) noexcept = default;
  ~TunnelSocket() = default;

  // For epoll and TCP_INFO only; nobody else reads or writes it.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] bool is_open() const noexcept { return fd_.is_open(); }
  [[nodiscard]] Cipher cipher() const noexcept { return cipher_; }
  [[nodiscard]] Engine tx_engine() const noexcept { return tx_engine_; }
  [[nodiscard]] Engine rx_engine() const noexcept { return rx_engine_; }

  // Sends the pieces in order, in one system call where the engine allows. Control pieces are always accepted whole; what the
  // socket did not take waits inside (`wants_write`). Application data must be the last piece; a user-space engine takes
  // kBatchBytesMax of it at most and then all of what it took is on its way; the kernel may take a part. While
  // `wants_write()` application data is not accepted (bytes 0, WouldBlock); a handshake flight that was held back is the one
  // exception: it leaves in front of the first records, in the same call.
  [[nodiscard]] IoResult send(IoContext& context, std::initializer_list<Outgoing> pieces);
  // After EPOLLOUT: pushes out what waits inside.
  [[nodiscard]] IoResult flush(IoContext& context);
  [[nodiscard]] bool wants_write() const noexcept;

  // Kernel TX only: moves up to `bytes_max` from a plain socket into records without copying them through user space.
  [[nodiscard]] IoResult splice_from(IoContext& context, int plain_fd, std::size_t bytes_max);
  [[nodiscard]] bool can_splice() const noexcept { return tx_engine_ == Engine::Kernel; }

  // Receives up to `bytes_max` (<= kBatchBytesMax; rounded up to whole records) into context.segments(). Alerts, KeyUpdate and
  // session tickets are dealt with inside. Ok: there may be more. WouldBlock: no more now (segments may hold something).
  // Eof, Truncated, Error: terminal, after the segments that it also gives, and given again by every later call.
  [[nodiscard]] IoResult receive(IoContext& context, std::size_t bytes_max);
  // epoll reported RDHUP, HUP or ERR. With edge-triggered events the end of the stream raises no further event, so from now
  // on a short read is not taken for the end of what there is.
  void note_hangup() noexcept { has_hangup_ = true; }
  // The description of the fatal alert that ended this connection (RFC 8446 section 6), after IoFailure::PeerAlert.
  [[nodiscard]] std::uint8_t peer_alert() const noexcept { return peer_alert_; }

  // Queues close_notify; best effort, at most once.
  void send_close_notify(IoContext& context) noexcept;
  // Closes with RST, or orderly.
  void abort() noexcept;
  void close() noexcept;

  // Records sealed with the present key; at kRecordsRetire a direct tunnel is not reused, long before the hard limit.
  [[nodiscard]] std::uint64_t tx_records() const noexcept;
  static constexpr std::uint64_t kRecordsRekey = std::uint64_t{1} << 23U;
  static constexpr std::uint64_t kRecordsMax = std::uint64_t{1} << 24U;
  [[nodiscard]] std::uint32_t rekeys() const noexcept { return rekeys_; }
  // False when this end cannot follow or send a KeyUpdate (kernel records on a kernel without rekey).
  [[nodiscard]] bool can_rekey() const noexcept;

 private:
  friend class HandshakeSocket;
  friend struct TunnelSocketAccess;  // tests: a peer that breaks the rules needs the keys

  // tunnel_socket.cpp
  [[nodiscard]] bool take_special(IoContext& context, std::uint8_t type, ByteView content);
  [[nodiscard]] bool take_handshake(IoContext& context, ByteView content);
  [[nodiscard]] bool take_alert(ByteView content) noexcept;
  [[nodiscard]] bool end_receiving(IoContext& context, IoFailure failure, std::uint8_t alert) noexcept;
  [[nodiscard]] IoResult receive_result(std::size_t bytes, IoStatus open_status) const noexcept;
  [[nodiscard]] bool next_rx_key(IoContext& context) noexcept;
  void answer_key_update(IoContext& context);
  [[nodiscard]] std::uint32_t place(bool is_tx) const noexcept {
    return static_cast<std::uint32_t>(fd_.get()) * 2U + (is_tx ? 1U : 0U);
  }

  // tunnel_user.cpp: records in user space
  struct Sealing;
  [[nodiscard]] IoResult send_user(IoContext& context, std::initializer_list<Outgoing> pieces);
  [[nodiscard]] bool seal(IoContext& context, Sealing& sealing, std::uint8_t type, ByteView data);
  [[nodiscard]] bool seal_key_update(IoContext& context, Sealing& sealing, bool wants_answer);
  [[nodiscard]] int emit(IoContext& context, ByteView sealed);
  [[nodiscard]] IoResult flush_user(IoContext& context);
  [[nodiscard]] IoResult receive_user(IoContext& context, std::size_t bytes_max);
  [[nodiscard]] std::size_t open_all(IoContext& context, ByteView& input);

  // tunnel_kernel.cpp: records in the kernel
  [[nodiscard]] IoResult send_kernel(IoContext& context, std::initializer_list<Outgoing> pieces);
  [[nodiscard]] IoResult copy_from(IoContext& context, int plain_fd, std::size_t bytes_max);
  [[nodiscard]] IoResult flush_kernel(IoContext& context);
  [[nodiscard]] IoResult receive_kernel(IoContext& context, std::size_t bytes_max);
  [[nodiscard]] IoResult prepare_kernel_data(IoContext& context);
  [[nodiscard]] int drain_pipe() noexcept;
  [[nodiscard]] int send_queue() noexcept;
  void queue_record(IoContext& context, std::uint8_t type, ByteView data);
  void count_kernel_records(std::size_t bytes) noexcept { tx_.sequence += bytes / 16384 + 1; }

  UniqueFd fd_;
  Cipher cipher_ = Cipher::Aes128Gcm;
  Engine tx_engine_ = Engine::UserEvp;
  Engine rx_engine_ = Engine::UserEvp;
  bool is_client_ : 1 = false;
  bool has_kernel_rekey_ : 1 = false;
  bool has_hangup_ : 1 = false;
  bool holds_flight_ : 1 = false;     // pending_out_ is the handshake's last flight, not yet sent
  bool owes_key_update_ : 1 = false;  // the peer asked for one
  bool asked_key_update_ : 1 = false;
  bool is_tx_ended_ : 1 = false;  // close_notify was queued, or sending failed
  std::uint32_t rekeys_ = 0;      // both directions together
  int rx_errno_ = 0;
  TrafficKeys tx_;  // with kernel records the sequence number is an upper bound, made exact at the limits
  TrafficKeys rx_;
  Lent pending_out_;  // user space: sealed records; kernel: {type, length, content} of records not sent yet
  Lent pending_in_;   // the beginning of a record, or what the handshake read ahead
  PipeLease pipe_;    // while it holds bytes on their way to the kernel's record layer
  KeyLimits limits_;
  PostHandshakeReader post_handshake_;
  std::uint16_t messages_since_data_ = 0;
  std::uint16_t queue_front_left_ = 0;  // bytes of the queue's first record of which the kernel took a part
  std::uint8_t queue_front_type_ = 0;
  std::uint8_t peer_alert_ = 0;
  IoStatus rx_end_ = IoStatus::Ok;  // terminal once it is not Ok
  IoFailure rx_failure_ = IoFailure::None;
};

static_assert(sizeof(TunnelSocket) <= 280, "an idle connection is mostly this");

}  // namespace culvert::tls
