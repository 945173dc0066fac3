// SPDX-License-Identifier: Apache-2.0
// CertificateRequest: a fresh P-256 key with its certificate signing request (PKCS #10, RFC 2986), and the check of what a CA
// answers. The key never leaves the object but inside finished Credentials. Pure; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"
#include "tls/credentials.hpp"

namespace culvert::tls {

class CertificateRequest {
 public:
  static constexpr std::size_t kChainBytesMax = 256 * 1024;  // PEM, all entries together
  static constexpr std::size_t kChainEntriesMax = 16;

  // The request has an empty subject and one critical URI name, `identity`; signed with ECDSA and SHA-256.
  [[nodiscard]] static Result<CertificateRequest> make(const SpiffeId& identity);
  CertificateRequest(CertificateRequest&&) noexcept;
  CertificateRequest& operator=(CertificateRequest&&) noexcept;
  ~CertificateRequest();

  [[nodiscard]] const std::string& pem() const noexcept { return pem_; }

  // `chain` as istiod's CA sends it: the leaf, intermediates, and in the last entry the trust roots, one or several. All of it is
  // checked before it is used: the leaf is for this key and for exactly this identity, every certificate is valid at `now_s`, each
  // is signed by the next, the last by a root, and the leaf may be used by both roles. An error says which of these it was.
  [[nodiscard]] Result<std::shared_ptr<const Credentials>> complete(std::span<const std::string> chain,
                                                                    std::int64_t now_s) const;

 private:
  struct Key;
  CertificateRequest(SpiffeId identity, std::unique_ptr<Key> key, std::string pem);

  SpiffeId identity_;
  std::unique_ptr<Key> key_;
  std::string pem_;
};

}  // namespace culvert::tls
