// SPDX-License-Identifier: Apache-2.0
// Authorization policies as the API of istio.security says them: plain values. What they decide is in policy/; a snapshot
// holds them by reference and never changes one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"

namespace culvert::state {

enum class PolicyScope : std::uint8_t { Global, Namespace, WorkloadSelector };
enum class PolicyAction : std::uint8_t { Allow, Deny };

// How a text is compared, case sensitive. Presence: any text but the empty one.
struct StringMatch {
  enum class Kind : std::uint8_t { Exact, Prefix, Suffix, Presence };
  Kind kind = Kind::Exact;
  std::string text;  // Presence: empty
  bool operator==(const StringMatch&) const = default;
};

struct ServiceAccountMatch {
  std::string namespace_name;
  std::string service_account;
  bool operator==(const ServiceAccountMatch&) const = default;
};

// Every field that is not empty must pass. In a field one of the positives must match, and none of the negatives. With every field
// empty it matches nothing.
struct PolicyMatch {
  std::vector<StringMatch> namespaces;  // of the client's identity; none: ""
  std::vector<StringMatch> not_namespaces;
  std::vector<ServiceAccountMatch> service_accounts;  // whatever the trust domain
  std::vector<ServiceAccountMatch> not_service_accounts;
  std::vector<StringMatch> principals;  // "TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT"
  std::vector<StringMatch> not_principals;
  std::vector<Cidr> source_ips;
  std::vector<Cidr> not_source_ips;
  std::vector<Cidr> destination_ips;
  std::vector<Cidr> not_destination_ips;
  std::vector<std::uint16_t> destination_ports;
  std::vector<std::uint16_t> not_destination_ports;
  bool operator==(const PolicyMatch&) const = default;
};

struct PolicyClause {
  std::vector<PolicyMatch> matches;  // one of them; none: always
  bool operator==(const PolicyClause&) const = default;
};

struct PolicyRule {
  std::vector<PolicyClause> clauses;  // all of them; none: always
  bool operator==(const PolicyRule&) const = default;
};

struct Authorization {
  std::string name;
  std::string namespace_name;
  PolicyScope scope = PolicyScope::Global;
  PolicyAction action = PolicyAction::Allow;
  std::vector<PolicyRule> rules;  // one of them; none: never
  bool is_dry_run = false;        // said in the log, not done

  [[nodiscard]] std::string key() const { return namespace_name + "/" + name; }
  bool operator==(const Authorization&) const = default;
};

}  // namespace culvert::state
