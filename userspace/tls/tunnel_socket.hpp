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
#include "tls/io_context.hpp"
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
  Eof,         // receive: close_notify arrived; splice_from: the plain socket is at its end
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
  // `wants_write()` application data is not accepted (bytes 0, WouldBlock).
  [[nodiscard]] IoResult send(IoContext& context, std::initializer_list<Outgoing> pieces);
  // After EPOLLOUT: pushes out what waits inside.
  [[nodiscard]] IoResult flush(IoContext& context);
  [[nodiscard]] bool wants_write() const noexcept;

  // Kernel TX only: moves up to `bytes_max` from a plain socket into records without copying them through user space.
  [[nodiscard]] IoResult splice_from(IoContext& context, int plain_fd, std::size_t bytes_max);
  [[nodiscard]] bool can_splice() const noexcept { return tx_engine_ == Engine::Kernel; }

  // Receives up to `bytes_max` (<= kBatchBytesMax) into context.segments(). Alerts, KeyUpdate and session tickets are dealt
  // with inside. Ok: segments hold something, and there may be more. WouldBlock: no more now (segments may hold something).
  // Eof, Truncated, Error: terminal, after the segments that it also gives.
  [[nodiscard]] IoResult receive(IoContext& context, std::size_t bytes_max);

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
  UniqueFd fd_;
  Cipher cipher_ = Cipher::Aes128Gcm;
  Engine tx_engine_ = Engine::UserEvp;
  Engine rx_engine_ = Engine::UserEvp;
  std::uint32_t rekeys_ = 0;
  // the record layer's state (traffic_keys.hpp) and lent buffers
};

}  // namespace culvert::tls
