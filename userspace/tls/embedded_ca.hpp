// SPDX-License-Identifier: Apache-2.0
// EmbeddedCa: the built-in certificate authority of a machine without a cluster. A P-256 key and a self-signed certificate
// in one directory, made on first use (key 0600, both written to a temporary name, synced and renamed; two agents that start
// at once agree on one). Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"
#include "tls/credentials.hpp"

namespace culvert::tls {

class EmbeddedCa {
 public:
  // `directory` holds ca.key and ca.crt and is made (0700) if absent. Errors name the file and the remedy: a key that others
  // may read, a certificate that does not fit its key, a full or read-only disk.
  [[nodiscard]] static Result<std::unique_ptr<EmbeddedCa>> open_or_create(const std::string& directory);
  ~EmbeddedCa();

  // A fresh P-256 key and a leaf for `identity` (one critical URI SAN, digitalSignature, serverAuth and clientAuth), valid
  // from two minutes ago for `lifetime_s` seconds, never past the CA's own end.
  [[nodiscard]] Result<std::shared_ptr<const Credentials>> issue(const SpiffeId& identity,
                                                                 std::int64_t lifetime_s) const;
  [[nodiscard]] const std::string& certificate_pem() const noexcept;

 private:
  struct State;
  explicit EmbeddedCa(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace culvert::tls
