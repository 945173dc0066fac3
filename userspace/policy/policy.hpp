// SPDX-License-Identifier: Apache-2.0
// Policy: may this connection reach this workload? Evaluated on the destination's side, before any upstream connect. Pure; any thread.
// docs/policy.md says what the fields of a policy mean.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "policy/match.hpp"
#include "policy/rule_set.hpp"

namespace culvert::policy {

enum class Decision : std::uint8_t {
  Allowed,
  NoIdentity,        // denied: peer authentication is STRICT and the client has no identity
  ExplicitlyDenied,  // denied: a DENY policy matches
  NotAllowed,        // denied: there are ALLOW policies and none matches
  Undecided,         // a policy that may deny is not known
};
[[nodiscard]] std::string_view to_string(Decision decision) noexcept;  // a few words

struct Verdict {
  Decision decision = Decision::Allowed;
  const state::PreparedPolicy* policy = nullptr;  // which one decided; null: none did. Lives as long as the rule set.
  std::uint32_t rule = 0;                         // of that policy
  [[nodiscard]] bool is_allowed() const noexcept { return decision == Decision::Allowed; }
};

// What a policy that the workload names and nobody knows, or a workload that nobody knows, does.
enum class UnknownPolicy : std::uint8_t { Counts, IsSkipped };
// What becomes of a connection to a workload that is not known, or that names a policy that is not (`policy.unknown`).
enum class UnknownAnswer : std::uint8_t {
  Hold,   // it waits for them, and is refused when they do not come
  Deny,   // it is refused
  Allow,  // they are as if they were not there
};

// Order: STRICT without an identity, DENY policies, what is not known, ALLOW policies. Policies of a dry run are left out. No allocation.
[[nodiscard]] Verdict evaluate(const RuleSet& rules, const InboundRequest& request,
                               UnknownPolicy unknown = UnknownPolicy::Counts) noexcept;
// Likewise, as if the policies of a dry run were in force.
[[nodiscard]] Verdict evaluate_dry_run(const RuleSet& rules, const InboundRequest& request) noexcept;

// For the log: "explicitly denied by: NAMESPACE/NAME", "allow policies exist, but none allowed", "allowed by: NAMESPACE/NAME", ...
[[nodiscard]] std::string reason(const RuleSet& rules, const Verdict& verdict);

}  // namespace culvert::policy
