// SPDX-License-Identifier: Apache-2.0
// Aead: one expanded record key in one of the user-space engines. Seals and opens the payload of single TLS 1.3 records; it
// knows nothing of sequence numbers, sockets or connections. Pure but for the key; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/bytes.hpp"
#include "tls/cipher.hpp"

namespace culvert::tls {

inline constexpr std::size_t kTagBytes = 16;
inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kRecordHeaderBytes = 5;  // also the additional data, RFC 8446 section 5.2

class Aead {
 public:
  virtual ~Aead() = default;
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  // Takes another key of the same cipher and engine, so that a cache can reuse the memory.
  [[nodiscard]] virtual bool set_key(ByteView key) noexcept = 0;
  // `content` and the byte `type` are sealed into content.size() + 1 + kTagBytes bytes at `out`, which does not overlap.
  [[nodiscard]] virtual bool seal(const std::uint8_t* nonce, const std::uint8_t* header, ByteView content,
                                  std::uint8_t type, std::uint8_t* out) noexcept = 0;
  // `sealed` (with its tag) is opened into sealed.size() - kTagBytes bytes at `out`, which does not overlap. On false the
  // bytes at `out` mean nothing.
  [[nodiscard]] virtual bool open(const std::uint8_t* nonce, const std::uint8_t* header, ByteView sealed,
                                  std::uint8_t* out) noexcept = 0;
  virtual void wipe() noexcept = 0;

 protected:
  Aead() = default;
};

// Null when the library cannot (out of memory; an engine that this machine does not have).
[[nodiscard]] std::unique_ptr<Aead> make_evp_aead(Cipher cipher, ByteView key);
[[nodiscard]] std::unique_ptr<Aead> make_ipsec_mb_aead(Cipher cipher, ByteView key);
// True when the library has AES instructions to use here and passes its own test. Asked once, then remembered.
[[nodiscard]] bool has_ipsec_mb() noexcept;
// Which of the two user-space engines really carries `cipher` when `wanted` is asked for: intel-ipsec-mb does AES-GCM only.
[[nodiscard]] Engine effective_user_engine(Cipher cipher, Engine wanted) noexcept;
[[nodiscard]] std::unique_ptr<Aead> make_aead(Engine engine, Cipher cipher, ByteView key);

}  // namespace culvert::tls
