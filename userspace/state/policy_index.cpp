// SPDX-License-Identifier: Apache-2.0
#include "state/policy_index.hpp"

#include <utility>

namespace culvert::state {

void PolicyIndex::insert(Policy policy) {
  Policy& place = by_key_[policy->key()];
  if (place != nullptr) unlist(place);
  place = policy;
  if (policy->scope == PolicyScope::Global) {
    global_.push_back(std::move(policy));
  } else if (policy->scope == PolicyScope::Namespace) {
    by_namespace_[policy->namespace_name].push_back(std::move(policy));
  }
}

bool PolicyIndex::remove(std::string_view namespace_name, std::string_view name) {
  const auto found = by_key_.find(std::string(namespace_name) + "/" + std::string(name));
  if (found == by_key_.end()) return false;
  unlist(found->second);
  by_key_.erase(found);
  return true;
}

const PolicyIndex::Policy& PolicyIndex::get(std::string_view key) const noexcept {
  static const Policy kNone;
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? kNone : found->second;
}

std::span<const PolicyIndex::Policy> PolicyIndex::of_namespace(std::string_view namespace_name) const noexcept {
  const auto found = by_namespace_.find(namespace_name);
  return found == by_namespace_.end() ? std::span<const Policy>() : std::span<const Policy>(found->second);
}

void PolicyIndex::unlist(const Policy& policy) {
  if (policy->scope == PolicyScope::Global) std::erase(global_, policy);
  if (policy->scope != PolicyScope::Namespace) return;
  const auto found = by_namespace_.find(policy->namespace_name);
  std::erase(found->second, policy);
  if (found->second.empty()) by_namespace_.erase(found);
}

}  // namespace culvert::state
