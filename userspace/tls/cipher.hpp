// SPDX-License-Identifier: Apache-2.0
// The TLS 1.3 cipher suites that Culvert negotiates (RFC 8446 appendix B.4), and the engines that may carry records.
#pragma once

#include <cstdint>
#include <string_view>

namespace culvert::tls {

enum class Cipher : std::uint8_t { Aes128Gcm, Aes256Gcm, ChaCha20Poly1305 };

// Who seals or opens the records of one direction of one connection.
enum class Engine : std::uint8_t {
  UserEvp,      // OpenSSL EVP in user space
  UserIpsecMb,  // intel-ipsec-mb in user space (amd64)
  Kernel,       // kernel TLS
};

// "TLS_AES_128_GCM_SHA256" and so on (RFC 8446 names).
[[nodiscard]] std::string_view to_string(Cipher cipher) noexcept;
// "user-evp", "user-ipsec-mb", "kernel".
[[nodiscard]] std::string_view to_string(Engine engine) noexcept;

}  // namespace culvert::tls
