// SPDX-License-Identifier: Apache-2.0
// Policies: what stands once, whom they name, and what could never match. Pure; linear in their size.
#include <unordered_set>

#include "control/config_check_mesh.hpp"
#include "control/config_values.hpp"

namespace culvert::control {
namespace {

bool check_workload_names(const PolicyConfig& policy, const std::string& place,
                          const std::unordered_set<std::string>& uids, const ReportMistake& report) {
  const bool is_selector = policy.scope == state::PolicyScope::WorkloadSelector;
  if (is_selector && policy.workloads.empty()) {
    return report(place + ".workloads", "is empty; name the workloads, or write another scope");
  }
  if (!is_selector && !policy.workloads.empty()) {
    return report(place + ".scope", "does not go with workloads; write scope: WORKLOAD, or leave workloads out");
  }
  for (std::size_t i = 0; i < policy.workloads.size(); ++i) {
    const std::string uid = selected_uid(policy, policy.workloads[i]);
    if (!uids.contains(uid) &&
        !report(fmt::format("{}.workloads[{}]", place, i),
                fmt::format("{} is no workload of mesh.workloads and no pod of pods; add it there", quoted(uid)))) {
      return false;
    }
  }
  return true;
}

// In the API an empty match is one that never matches: here somebody forgot something.
bool check_matches(const PolicyConfig& policy, const std::string& place, const ReportMistake& report) {
  for (std::size_t i = 0; i < policy.rules.size(); ++i) {
    const auto& clauses = policy.rules[i].clauses;
    for (std::size_t j = 0; j < clauses.size(); ++j) {
      for (std::size_t k = 0; k < clauses[j].matches.size(); ++k) {
        if (clauses[j].matches[k] == state::PolicyMatch{} &&
            !report(fmt::format("{}.rules[{}].clauses[{}].matches[{}]", place, i, j, k),
                    "is empty and would never match; give it a field, or leave it out to match everything")) {
          return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

bool check_policies(const Config& config, const ReportMistake& report) {
  std::unordered_set<std::string> uids;
  for (const WorkloadConfig& one : config.mesh.workloads) uids.insert(one.namespace_name + "/" + one.name);
  for (const PodConfig& one : config.pods) uids.insert(one.namespace_name + "/" + one.name);
  Once<std::string> keys;
  for (std::size_t i = 0; i < config.mesh.policies.size(); ++i) {
    const PolicyConfig& policy = config.mesh.policies[i];
    const std::string place = fmt::format("mesh.policies[{}]", i);
    const std::string key = policy.namespace_name + "/" + policy.name;
    if (const std::string* first = keys.claim(key, place); first != nullptr) {
      if (!report(place + ".name",
                  fmt::format("policy {} stands in {} already; give it another name", quoted(key), *first))) {
        return false;
      }
    }
    if (!check_workload_names(policy, place, uids, report) || !check_matches(policy, place, report)) return false;
  }
  return true;
}

}  // namespace culvert::control
