// SPDX-License-Identifier: Apache-2.0
#include "tls/cipher.hpp"

namespace culvert::tls {

std::string_view to_string(Cipher cipher) noexcept {
  switch (cipher) {
    case Cipher::Aes128Gcm: return "TLS_AES_128_GCM_SHA256";
    case Cipher::Aes256Gcm: return "TLS_AES_256_GCM_SHA384";
    case Cipher::ChaCha20Poly1305: return "TLS_CHACHA20_POLY1305_SHA256";
  }
  return "unknown";
}

std::string_view to_string(Engine engine) noexcept {
  switch (engine) {
    case Engine::UserEvp: return "user-evp";
    case Engine::UserIpsecMb: return "user-ipsec-mb";
    case Engine::Kernel: return "kernel";
  }
  return "unknown";
}

}  // namespace culvert::tls
