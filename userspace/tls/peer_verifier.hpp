// SPDX-License-Identifier: Apache-2.0
// Who a certificate chain proves its holder to be: chain to the trust roots, validity time, key usage, and exactly one SPIFFE
// ID. VerifiedPeers remembers chains that passed, for a short time, so that a peer that comes back costs no signature checks
// on its chain. One worker, one thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>

#include "base/result.hpp"
#include "base/spiffe_id.hpp"
#include "tls/openssl.hpp"
#include "tls/revocation.hpp"

namespace culvert::tls {

struct VerifiedPeer {
  SpiffeId identity;
  std::int64_t not_after_s = 0;                  // the earliest end in the chain
  std::shared_ptr<const VerifiedChain> chain{};  // null: revocation is not looked at, or it cannot be tracked
};

// A refusal says whether the identity or the certificate was wrong.
struct Refusal {
  bool is_identity = false;
  int x509_error = X509_V_ERR_APPLICATION_VERIFICATION;  // decides the alert
  std::string detail;
};

class VerifiedPeers {
 public:
  static constexpr std::size_t kEntriesMax = 1024;
  static constexpr std::int64_t kLifetimeS = 300;

  using Digest = std::array<std::uint8_t, 32>;
  // Null when not known or no longer good at `now_s`.
  [[nodiscard]] const VerifiedPeer* find(const Digest& digest, std::int64_t now_s) noexcept;
  void remember(const Digest& digest, VerifiedPeer peer, std::int64_t now_s);
  void clear() noexcept { entries_.clear(); }
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    VerifiedPeer peer;
    std::int64_t good_until_s = 0;
  };
  struct Hash {
    std::size_t operator()(const Digest& digest) const noexcept;
  };
  std::unordered_map<Digest, Entry, Hash> entries_;
};

// X.509-SVID sections 4.1 to 4.4: a leaf signs and does nothing else; extended usage, where there is one, names the role. Empty when
// all is well.
[[nodiscard]] std::string usage_fault(X509* leaf, bool is_server_certificate);

// Verifies the chain in `context` (as OpenSSL prepared it: roots, purpose of the role). `is_server_certificate` says which
// extended key usage is needed; `roots_digest` and the role are part of what is remembered. `revocation`, where there is one, learns the
// chain's issuers; whether anything is revoked is for the caller to ask, each time.
[[nodiscard]] std::expected<VerifiedPeer, Refusal> verify_peer(X509_STORE_CTX* context, bool is_server_certificate,
                                                               const std::array<std::uint8_t, 32>& roots_digest,
                                                               VerifiedPeers& known, std::int64_t now_s,
                                                               Revocation* revocation);

}  // namespace culvert::tls
