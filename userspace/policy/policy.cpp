// SPDX-License-Identifier: Apache-2.0
// The verdict on one inbound connection.
#include "policy/policy.hpp"

namespace culvert::policy {
namespace {

using state::PolicyAction;

class Evaluation {
 public:
  explicit Evaluation(const InboundRequest& request) noexcept : subject_(request) {}

  // True: one of these matches, and `verdict` names it.
  bool any_matches(const RuleSet::Policies& policies, Decision decision, Verdict& verdict) noexcept {
    for (const auto& policy : policies) {
      if (matches(*policy, decision, verdict)) return true;
    }
    return false;
  }
  bool any_matches(const RuleSet::Policies& policies, PolicyAction action, Decision decision,
                   Verdict& verdict) noexcept {
    for (const auto& policy : policies) {
      if (policy->action == action && matches(*policy, decision, verdict)) return true;
    }
    return false;
  }

 private:
  bool matches(const state::PreparedPolicy& policy, Decision decision, Verdict& verdict) noexcept {
    const std::optional<std::uint32_t> rule = matching_rule(policy, subject_);
    if (rule) verdict = {decision, &policy, *rule};
    return rule.has_value();
  }
  Subject subject_;
};

bool has_allow(const RuleSet::Policies& policies) noexcept {
  for (const auto& policy : policies) {
    if (policy->action == PolicyAction::Allow) return true;
  }
  return false;
}

}  // namespace

std::string_view to_string(Decision decision) noexcept {
  switch (decision) {
    case Decision::Allowed: return "allowed";
    case Decision::NoIdentity: return "denied: peer authentication is STRICT and the client has no identity";
    case Decision::ExplicitlyDenied: return "denied by a policy";
    case Decision::NotAllowed: return "denied: no policy allows it";
    case Decision::Undecided: return "undecided: a policy is not known";
  }
  return "unknown";
}

Verdict evaluate(const RuleSet& rules, const InboundRequest& request, UnknownPolicy unknown) noexcept {
  // An identity stands for a completed mutual-TLS handshake, which is all that STRICT asks for.
  if (rules.is_strict() && request.peer == nullptr) return {Decision::NoIdentity};
  Verdict verdict;
  Evaluation evaluation(request);
  if (evaluation.any_matches(rules.deny(), Decision::ExplicitlyDenied, verdict)) return verdict;
  if (unknown == UnknownPolicy::Counts && !rules.is_complete()) return {Decision::Undecided};
  if (rules.allow().empty()) return verdict;
  if (evaluation.any_matches(rules.allow(), Decision::Allowed, verdict)) return verdict;
  return {Decision::NotAllowed};
}

Verdict evaluate_dry_run(const RuleSet& rules, const InboundRequest& request) noexcept {
  if (rules.is_strict() && request.peer == nullptr) return {Decision::NoIdentity};
  Verdict verdict;
  Evaluation evaluation(request);
  if (evaluation.any_matches(rules.deny(), Decision::ExplicitlyDenied, verdict) ||
      evaluation.any_matches(rules.dry_run(), PolicyAction::Deny, Decision::ExplicitlyDenied, verdict)) {
    return verdict;
  }
  if (rules.allow().empty() && !has_allow(rules.dry_run())) return verdict;
  if (evaluation.any_matches(rules.allow(), Decision::Allowed, verdict) ||
      evaluation.any_matches(rules.dry_run(), PolicyAction::Allow, Decision::Allowed, verdict)) {
    return verdict;
  }
  return {Decision::NotAllowed};
}

std::string reason(const RuleSet& rules, const Verdict& verdict) {
  switch (verdict.decision) {
    case Decision::Allowed:
      return verdict.policy == nullptr ? "no allow policies" : "allowed by: " + verdict.policy->key_text;
    case Decision::NoIdentity: return "peer authentication is STRICT and the client has no identity";
    case Decision::ExplicitlyDenied: return "explicitly denied by: " + verdict.policy->key_text;
    case Decision::NotAllowed: return "allow policies exist, but none allowed";
    case Decision::Undecided:
      return rules.missing().empty() ? "the workload is not known yet" : "policy not known yet: " + rules.missing();
  }
  return {};
}

}  // namespace culvert::policy
