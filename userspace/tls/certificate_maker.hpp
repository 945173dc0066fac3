// SPDX-License-Identifier: Apache-2.0
// Makes and signs X.509 certificates with P-256 keys: what the embedded CA issues, and what tests need. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "tls/openssl.hpp"

namespace culvert::tls {

struct CertificateTemplate {
  std::string common_name;  // empty: an empty subject
  std::int64_t not_before_s = 0;
  std::int64_t not_after_s = 0;
  // {NID, value in OpenSSL's configuration syntax}, such as {NID_basic_constraints, "critical,CA:TRUE"}.
  std::vector<std::pair<int, std::string>> extensions;
};

[[nodiscard]] Result<KeyPtr> make_p256_key();
// Signed by `issuer_key` in the name of `issuer` (null: self-signed), with a random serial number.
[[nodiscard]] Result<CertificatePtr> make_certificate(const CertificateTemplate& wanted, EVP_PKEY* key, X509* issuer,
                                                      EVP_PKEY* issuer_key);

}  // namespace culvert::tls
