// SPDX-License-Identifier: Apache-2.0
#include "tls/aead.hpp"

namespace culvert::tls {

Engine effective_user_engine(Cipher cipher, Engine wanted) noexcept {
  const bool is_gcm = cipher != Cipher::ChaCha20Poly1305;
  return wanted == Engine::UserIpsecMb && is_gcm && has_ipsec_mb() ? Engine::UserIpsecMb : Engine::UserEvp;
}

std::unique_ptr<Aead> make_aead(Engine engine, Cipher cipher, ByteView key) {
  if (effective_user_engine(cipher, engine) == Engine::UserIpsecMb) return make_ipsec_mb_aead(cipher, key);
  return make_evp_aead(cipher, key);
}

}  // namespace culvert::tls
