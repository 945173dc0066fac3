// SPDX-License-Identifier: Apache-2.0
#include "policy/rule_set.hpp"

namespace culvert::policy {

RuleSet RuleSet::find(const state::Snapshot& snapshot, const state::WorkloadEntry* destination,
                      std::string_view namespace_name, std::string_view workload_name) {
  RuleSet made;
  const state::PolicyIndex& policies = snapshot.policies();
  const std::string_view of_namespace =
      destination == nullptr ? namespace_name : std::string_view(destination->namespace_name());
  const auto add = [&made](const state::PolicyIndex::Policy& policy) { made.add(policy); };
  policies.for_each_in(of_namespace, add);
  policies.for_each_global(add);
  made.is_strict_ = snapshot.peer_auth(namespace_name, workload_name) == state::PeerAuthMode::Strict;
  made.is_workload_known_ = destination != nullptr && !destination->is_provisional() && snapshot.is_complete();
  if (destination == nullptr) return made;
  for (const std::string& key : destination->authorization_policies()) {
    if (const auto& policy = policies.get(key); policy != nullptr) {
      made.add(policy);
    } else if (made.missing_.empty()) {
      made.missing_ = key;
    }
  }
  return made;
}

void RuleSet::add(const state::PolicyIndex::Policy& policy) {
  if (policy->is_dry_run) {
    dry_run_.push_back(policy);
  } else {
    (policy->action == state::PolicyAction::Deny ? deny_ : allow_).push_back(policy);
  }
}

}  // namespace culvert::policy
