// SPDX-License-Identifier: Apache-2.0
// The part of the TLS 1.3 key schedule that comes after the handshake: HKDF-Expand-Label (RFC 8446 section 7.1), record key
// and IV of a traffic secret (7.3), the next generation's secret (7.2). Pure; any thread.
#pragma once

#include <string_view>

#include "base/bytes.hpp"
#include "tls/cipher.hpp"
#include "tls/traffic_keys.hpp"

namespace culvert::tls {

// Bytes of the cipher suite's hash, and with it of its traffic secrets: 32 or 48.
[[nodiscard]] std::size_t hash_bytes(Cipher cipher) noexcept;
// Bytes of its record key: 16 or 32.
[[nodiscard]] std::size_t key_bytes(Cipher cipher) noexcept;

// HKDF-Expand-Label with the cipher suite's hash; `label` without "tls13 ". False only when the library fails.
[[nodiscard]] bool hkdf_expand_label(Cipher cipher, ByteView secret, std::string_view label, ByteView context,
                                     MutableBytes out) noexcept;

// Fills key and IV from `secret` (which it keeps) and sets the sequence number to 0.
[[nodiscard]] bool install_secret(Cipher cipher, ByteView secret, TrafficKeys& keys) noexcept;
// KeyUpdate: moves `keys` on to the next generation.
[[nodiscard]] bool next_generation(Cipher cipher, TrafficKeys& keys) noexcept;

}  // namespace culvert::tls
