// SPDX-License-Identifier: Apache-2.0
// TrustDomains: which trust domains stand for the local one (Istio's trustDomainAliases: a mesh that was renamed, or two that were joined). An
// identity of an alias is the identity of the local domain with the same namespace and account, both ways; between others nothing
// changes. Immutable; any thread.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/spiffe_id.hpp"

namespace culvert {

class TrustDomains {
 public:
  TrustDomains() = default;
  explicit TrustDomains(std::vector<std::string> aliases) : aliases_(std::move(aliases)) {}

  [[nodiscard]] std::span<const std::string> aliases() const noexcept { return aliases_; }
  // The local domain, or an alias of it.
  [[nodiscard]] bool is_local(std::string_view domain, std::string_view local) const noexcept {
    return domain == local || std::ranges::find(aliases_, domain) != aliases_.end();
  }
  [[nodiscard]] bool are_same(const SpiffeId& one, const SpiffeId& other, std::string_view local) const noexcept {
    return one.namespace_name == other.namespace_name && one.service_account == other.service_account &&
           (one.trust_domain == other.trust_domain ||
            (is_local(one.trust_domain, local) && is_local(other.trust_domain, local)));
  }

 private:
  std::vector<std::string> aliases_;
};

}  // namespace culvert
