// SPDX-License-Identifier: Apache-2.0
// Reading X.509 certificates: PEM, times, and the one SPIFFE ID that a workload's certificate carries. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"
#include "tls/credentials.hpp"
#include "tls/openssl.hpp"

namespace culvert::tls {

// Every certificate of `pem`, in order; at least one. `what` names the text in errors ("certificate chain").
[[nodiscard]] Result<std::vector<CertificatePtr>> certificates_from_pem(std::string_view pem, std::string_view what);
// A private key without passphrase that is ECDSA on P-256.
[[nodiscard]] Result<KeyPtr> p256_key_from_pem(std::string_view pem);
[[nodiscard]] Result<std::string> to_pem(X509* certificate);
[[nodiscard]] Result<std::string> to_pem(EVP_PKEY* key);

// The one URI SAN as a SPIFFE ID. Errors name what is there instead.
[[nodiscard]] Result<SpiffeId> spiffe_id_of(X509* certificate);
[[nodiscard]] std::string serial_decimal(X509* certificate);
[[nodiscard]] std::int64_t unix_seconds(const ASN1_TIME* time) noexcept;
// "2026-11-22T10:00:00Z".
[[nodiscard]] std::string utc_text(std::int64_t unix_s);
// Identity, serial and validity of a leaf.
[[nodiscard]] Result<CertificateInfo> describe(X509* certificate);

}  // namespace culvert::tls
