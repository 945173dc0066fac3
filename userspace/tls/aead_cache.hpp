// SPDX-License-Identifier: Apache-2.0
// AeadCache: expanded keys of the directions that one worker used lately, so that a connection keeps 16 or 32 bytes of key
// and not a kilobyte of key schedule. Set-associative, least recently used goes first; an expansion costs 0.1 to 0.5 us.
// One thread. What leaves the cache is wiped.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.hpp"
#include "base/secret.hpp"
#include "tls/aead.hpp"
#include "tls/cipher.hpp"

namespace culvert::tls {

class AeadCache {
 public:
  static constexpr std::size_t kSets = 32;
  static constexpr std::size_t kWays = 4;

  AeadCache() = default;
  AeadCache(const AeadCache&) = delete;
  AeadCache& operator=(const AeadCache&) = delete;

  // `place` spreads directions over the sets: any number that stays with the direction. An entry is found by the whole key,
  // so two directions can never be mixed up. Null when the library fails.
  [[nodiscard]] Aead* get(std::uint32_t place, Engine engine, Cipher cipher, ByteView key);
  // Forgets a key that is not used any more.
  void drop(std::uint32_t place, ByteView key) noexcept;
  // Frees everything, for an idle agent.
  void clear() noexcept;
  [[nodiscard]] std::uint64_t expansions() const noexcept { return expansions_; }

 private:
  struct Entry {
    std::unique_ptr<Aead> aead;
    Secret<32> key;  // empty: not in use, though `aead` may be there to be used again
    std::uint64_t used_at = 0;
    Engine engine = Engine::UserEvp;
    Cipher cipher = Cipher::Aes128Gcm;
  };
  std::array<std::array<Entry, kWays>, kSets> sets_;
  std::uint64_t clock_ = 0;
  std::uint64_t expansions_ = 0;
};

}  // namespace culvert::tls
