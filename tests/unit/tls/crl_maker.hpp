// SPDX-License-Identifier: Apache-2.0
// Makes certificate revocation lists, good and bad ones.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tls/openssl.hpp"

namespace culvert::tls::test {

struct CrlOptions {
  std::vector<std::string> revoked_pem{};  // certificates; their serials
  std::int64_t from_s = -60;               // relative to now
  std::int64_t until_s = 3600;
  std::vector<std::pair<int, std::string>> extensions{};  // NID and value as OpenSSL's configuration writes it
};

// PEM.
[[nodiscard]] std::string make_crl(X509* issuer, EVP_PKEY* key, const CrlOptions& options);
[[nodiscard]] std::string der_of(const std::string& crl_pem);

}  // namespace culvert::tls::test
