// SPDX-License-Identifier: Apache-2.0
#include "policy/explain_policies.hpp"

#include <utility>

#include <fmt/format.h>

namespace culvert::policy {
namespace {

std::string_view word_of(state::PolicyAction action) noexcept {
  return action == state::PolicyAction::Deny ? "DENY" : "ALLOW";
}

ExplainStep step_of(const state::PreparedPolicy& policy, Subject& subject) {
  const std::optional<std::uint32_t> rule = matching_rule(policy, subject);
  const bool is_deny = policy.action == state::PolicyAction::Deny;
  const std::string head = fmt::format("{}{}: ", word_of(policy.action), policy.is_dry_run ? ", dry run" : "");
  ExplainStep step{"policy", "note", {}, "policy " + policy.key_text};
  if (!rule) {
    step.text = head + (policy.rules.empty() ? "has no rule and never matches" : "none of its rules matches");
    return step;
  }
  step.text = head + fmt::format("rule {} of {} matches", *rule + 1, policy.rules.size());
  if (!policy.is_dry_run) step.result = is_deny ? "no" : "ok";
  return step;
}

}  // namespace

std::string text_of(const state::WorkloadEntry& workload) {
  return fmt::format("workload {}/{}", workload.namespace_name(), workload.name());
}
std::string name_of(const state::WorkloadEntry& workload) { return fmt::format("workload {}", workload.uid()); }
std::string name_of(const state::Service& service) {
  return "service " + service.namespace_name + "/" + service.hostname;
}

std::string_view explain_policies(const state::Snapshot& snapshot, const state::WorkloadEntry& destination,
                                  const InboundRequest& request, UnknownAnswer unknown,
                                  std::vector<ExplainStep>& steps) {
  const RuleSet rules = RuleSet::find(snapshot, &destination, destination.namespace_name(), destination.name());
  steps.push_back({"policies", "note",
                   fmt::format("{} for {} at port {}, asked by {} from {}",
                               rules.deny().size() + rules.allow().size() + rules.dry_run().size(),
                               text_of(destination), request.destination.port,
                               request.peer == nullptr ? "a client without an identity" : request.peer->to_string(),
                               request.source.address.to_string()),
                   name_of(destination)});
  if (rules.is_strict()) {
    steps.push_back({"policy", request.peer == nullptr ? "no" : "ok", "peer authentication is STRICT",
                     fmt::format("peer_authentication of {}/{}", destination.namespace_name(), destination.name())});
  }
  Subject subject(request);
  for (const auto* policies : {&rules.deny(), &rules.allow(), &rules.dry_run()}) {
    for (const auto& policy : *policies) steps.push_back(step_of(*policy, subject));
  }
  if (!rules.missing().empty()) {
    steps.push_back({"policy", unknown == UnknownAnswer::Allow ? "note" : "no",
                     "the workload names it, and nobody knows it (yet)", "policy " + rules.missing()});
  }
  const bool is_skipped = unknown == UnknownAnswer::Allow;
  if (is_skipped && !rules.is_complete()) {
    steps.push_back({"policy", "note", "what is not known does not count: policy.unknown is allow", {}});
  }
  const Verdict verdict = evaluate(rules, request, is_skipped ? UnknownPolicy::IsSkipped : UnknownPolicy::Counts);
  const bool is_open = verdict.decision == Decision::Undecided;
  std::string by = verdict.policy == nullptr ? std::string() : "policy " + verdict.policy->key_text;
  std::string_view words = to_string(verdict.decision);
  if (is_open) {
    words = unknown == UnknownAnswer::Deny
                ? "denied: something that may deny is not known, and policy.unknown is deny"
                : "undecided: it waits until what may deny is known (policy.unknown is hold)";
  }
  steps.push_back({"verdict", verdict.is_allowed() ? "ok" : "no", fmt::format("{} ({})", words, reason(rules, verdict)),
                   std::move(by)});
  if (verdict.is_allowed()) return "allowed";
  return is_open && unknown == UnknownAnswer::Hold ? "undecided" : "denied";
}

}  // namespace culvert::policy
