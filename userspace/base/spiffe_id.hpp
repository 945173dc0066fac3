// SPDX-License-Identifier: Apache-2.0
// A workload identity: spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT, the form that Istio uses (SPIFFE ID
// specification, section 2; facts of the grammar in docs/tls.md).
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace culvert {

struct SpiffeId {
  std::string trust_domain;     // lower-case letters, digits, '.', '-', '_'; 1 to 255 characters
  std::string namespace_name;   // a path segment: letters, digits, '.', '-', '_'; 1 to 253 characters
  std::string service_account;  // likewise

  // Accepts exactly the form above, 2048 bytes at most.
  [[nodiscard]] static Result<SpiffeId> parse(std::string_view uri);
  [[nodiscard]] static Result<SpiffeId> make(std::string_view trust_domain, std::string_view namespace_name,
                                             std::string_view service_account);
  [[nodiscard]] std::string to_string() const;

  auto operator<=>(const SpiffeId&) const = default;
};

}  // namespace culvert

template <>
struct std::hash<culvert::SpiffeId> {
  std::size_t operator()(const culvert::SpiffeId& id) const noexcept {
    const std::hash<std::string_view> of;
    return (of(id.trust_domain) * 31U + of(id.namespace_name)) * 31U + of(id.service_account);
  }
};
