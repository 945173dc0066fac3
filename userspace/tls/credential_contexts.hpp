// SPDX-License-Identifier: Apache-2.0
// What handshakes take from Credentials: an SSL_CTX for each role. TLS 1.3 only, no tickets, no session cache, peer's
// certificate required, and this module's own verification (peer_verifier.hpp). Immutable after construction.
#pragma once

#include <array>
#include <cstdint>

#include "tls/credentials.hpp"
#include "tls/openssl.hpp"

namespace culvert::tls {

struct Credentials::Contexts {
  ContextPtr client;
  ContextPtr server;
  std::array<std::uint8_t, 32> roots_digest{};  // SHA-256 of the trust anchors
};

// Makes both. `chain` is leaf first; `roots` are the trust anchors.
[[nodiscard]] Result<std::unique_ptr<Credentials::Contexts>> make_contexts(const std::vector<CertificatePtr>& chain,
                                                                           EVP_PKEY* key,
                                                                           const std::vector<CertificatePtr>& roots);

}  // namespace culvert::tls
