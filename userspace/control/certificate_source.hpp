// SPDX-License-Identifier: Apache-2.0
// Where certificates come from: the built-in CA, later a control plane's. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"

namespace culvert::tls {
class Credentials;
class EmbeddedCa;
}  // namespace culvert::tls

namespace culvert::control {

class CertificateSource {
 public:
  using Reply = std::function<void(Result<std::shared_ptr<const tls::Credentials>>)>;

  virtual ~CertificateSource() = default;
  // Calls `reply` exactly once on the control thread, inside the call or later; not at all once the source is gone.
  virtual void request(const SpiffeId& identity, Reply reply) = 0;
};

// Answers inside the call. `ca` outlives the source.
class EmbeddedCaSource final : public CertificateSource {
 public:
  EmbeddedCaSource(const tls::EmbeddedCa& ca, std::uint64_t lifetime_ms) : ca_(ca), lifetime_ms_(lifetime_ms) {}

  void request(const SpiffeId& identity, Reply reply) override;
  // For certificates that are issued from now on.
  void set_lifetime_ms(std::uint64_t lifetime_ms) noexcept { lifetime_ms_ = lifetime_ms; }

 private:
  const tls::EmbeddedCa& ca_;
  std::uint64_t lifetime_ms_;
};

}  // namespace culvert::control
