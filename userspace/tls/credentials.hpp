// SPDX-License-Identifier: Apache-2.0
// Credentials: one workload's certificate chain, private key and trust roots, ready for handshakes. Immutable; shared by
// the snapshot, so that rotation is a new object and live connections notice nothing. Any thread may read it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"

namespace culvert::tls {

// What a person sees of a certificate.
struct CertificateInfo {
  SpiffeId identity;
  std::string serial_decimal;
  std::int64_t not_before_s = 0;  // Unix seconds
  std::int64_t not_after_s = 0;
};

class Credentials {
 public:
  // `chain_pem`: leaf first, then intermediates. `key_pem`: PKCS#8, ECDSA P-256. `roots_pem`: one or more trust anchors.
  // Checks that key and leaf belong together and that the leaf carries exactly one well-formed SPIFFE ID.
  [[nodiscard]] static Result<std::shared_ptr<const Credentials>> from_pem(std::string_view chain_pem,
                                                                           std::string_view key_pem,
                                                                           std::string_view roots_pem);
  ~Credentials();
  Credentials(const Credentials&) = delete;
  Credentials& operator=(const Credentials&) = delete;

  [[nodiscard]] const CertificateInfo& info() const noexcept { return info_; }
  [[nodiscard]] const SpiffeId& identity() const noexcept { return info_.identity; }
  [[nodiscard]] const std::string& chain_pem() const noexcept { return chain_pem_; }
  [[nodiscard]] const std::string& roots_pem() const noexcept { return roots_pem_; }

  struct Contexts;  // SSL_CTX for each role, made once; credential_contexts.hpp, for handshakes only
  [[nodiscard]] const Contexts& contexts() const noexcept { return *contexts_; }

 private:
  Credentials(CertificateInfo info, std::string chain_pem, std::string roots_pem, std::unique_ptr<Contexts> contexts);

  CertificateInfo info_;
  std::string chain_pem_;
  std::string roots_pem_;
  std::unique_ptr<Contexts> contexts_;
};

}  // namespace culvert::tls
