// SPDX-License-Identifier: Apache-2.0
// IoContext: what one worker lends to whichever tunnel socket is moving bytes now: scratch memory, the buffer pool, expanded
// AEAD keys, pipes for splice. One per worker, one thread; nothing in it outlives a call except cached keys. It outlives the
// sockets that were used with it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "core/buffer_pool.hpp"
#include "tls/cipher.hpp"

namespace culvert::tls {

class AeadCache;  // expanded keys of recently used directions
class PipePool;
class VerifiedPeers;  // certificate chains that passed lately

// The content types that Culvert sends or understands (RFC 8446 section 5.1; Control is docs/protocol.md section 2).
enum class RecordType : std::uint8_t { Alert = 21, Handshake = 22, ApplicationData = 23, Control = 0xc4 };

// A run of received bytes of one type: application data of adjacent records is one run; a control record is one run.
struct Segment {
  RecordType type;
  ByteView data;
};

class IoContext {
 public:
  // Bytes of plaintext that one send or one receive moves at most.
  static constexpr std::size_t kBatchBytesMax = 256 * 1024;

  // `engine` is the user-space engine (UserEvp or UserIpsecMb) for connections that the kernel turns out to refuse.
  IoContext(BufferPool& pool, Engine engine);
  ~IoContext();
  IoContext(const IoContext&) = delete;
  IoContext& operator=(const IoContext&) = delete;

  [[nodiscard]] BufferPool& pool() noexcept { return pool_; }
  // kBatchBytesMax bytes for plaintext that is about to be sent. Touched only when used.
  [[nodiscard]] MutableBytes plain_scratch() noexcept;
  // What the last receive gave; valid until the next receive with this context (sending leaves it alone).
  [[nodiscard]] const std::vector<Segment>& segments() const noexcept { return segments_; }
  [[nodiscard]] VerifiedPeers& verified_peers() noexcept { return *verified_; }
  // Gives scratch pages, cached keys and pipes back to the system, for an idle worker. Ends the validity of segments().
  void trim() noexcept;

 private:
  friend class TunnelSocket;
  friend class HandshakeSocket;
  BufferPool& pool_;
  Engine engine_;
  std::unique_ptr<AeadCache> aead_;
  std::unique_ptr<PipePool> pipes_;
  std::unique_ptr<VerifiedPeers> verified_;
  std::vector<Segment> segments_;
  struct Scratch;  // io_scratch.hpp
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace culvert::tls
