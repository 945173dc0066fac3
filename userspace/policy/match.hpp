// SPDX-License-Identifier: Apache-2.0
// Whether one policy matches one connection. Pure; any thread; no allocation.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "base/trust_domains.hpp"
#include "state/prepared_policy.hpp"

namespace culvert::policy {

struct InboundRequest {
  Endpoint source;                 // the TCP peer: the client, or the waypoint or gateway that speaks for it
  Endpoint destination;            // the pod's address and the application's port
  const SpiffeId* peer = nullptr;  // null: plaintext, no identity
  // Where the local trust domain has aliases: these, and which one is local. Null: none.
  const TrustDomains* trust_domains = nullptr;
  std::string_view local_domain{};
};

// A request as policies ask it. Lives as long as the request.
class Subject {
 public:
  explicit Subject(const InboundRequest& request) noexcept : request_(request) {}
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  [[nodiscard]] const InboundRequest& request() const noexcept { return request_; }
  // Without an identity: "".
  [[nodiscard]] std::string_view namespace_name() const noexcept {
    return request_.peer == nullptr ? std::string_view{} : std::string_view(request_.peer->namespace_name);
  }
  // Whether `test` holds for "TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT", by any of the names that the identity's trust domain has; only
  // with an identity.
  template <typename Test>
  [[nodiscard]] bool any_principal(Test&& test) noexcept {
    const std::string_view own = request_.peer->trust_domain;
    if (test(principal(own))) return true;
    const TrustDomains* domains = request_.trust_domains;
    if (domains == nullptr || domains->aliases().empty() || !domains->is_local(own, request_.local_domain))
      return false;
    const auto holds = [&](std::string_view domain) { return domain != own && test(principal(domain)); };
    // In a policy Istio takes "cluster.local" for the local domain, whatever that is called.
    return holds(request_.local_domain) || std::ranges::any_of(domains->aliases(), holds) || holds("cluster.local");
  }

 private:
  // Valid until the next call.
  [[nodiscard]] std::string_view principal(std::string_view trust_domain) noexcept;

  static constexpr std::size_t kDomainMax =
      256;  // longer than a trust domain and than what follows it can be (spiffe_id.hpp)
  static constexpr std::size_t kRestMax = 768;
  const InboundRequest& request_;
  std::size_t rest_bytes_ = 0;  // from kDomainMax on; the domain stands right before it
  std::array<char, kDomainMax + kRestMax> principal_;
};

// The number of the first rule that matches; nothing: the policy does not.
[[nodiscard]] std::optional<std::uint32_t> matching_rule(const state::PreparedPolicy& policy,
                                                         Subject& subject) noexcept;

}  // namespace culvert::policy
