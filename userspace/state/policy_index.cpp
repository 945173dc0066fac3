// SPDX-License-Identifier: Apache-2.0
#include "state/policy_index.hpp"

#include <utility>

namespace culvert::state {

void PolicyIndex::insert(Policy policy) {
  std::uint32_t number = find_number(policy->key_text);
  if (number == SharedIndex::kNone) {
    number = policies_.put(std::move(policy));
    by_key_.insert(hash_of(policies_[number]->key_text), number);
  } else {
    unlist(number);
    policies_.edit(number) = std::move(policy);
  }
  list(number);
}

bool PolicyIndex::remove(std::string_view namespace_name, std::string_view name) {
  const std::string key = std::string(namespace_name) + "/" + std::string(name);
  const std::uint32_t number = find_number(key);
  if (number == SharedIndex::kNone) return false;
  unlist(number);
  by_key_.erase(hash_of(key), number);
  policies_.free(number);
  return true;
}

const PolicyIndex::Policy& PolicyIndex::get(std::string_view key) const noexcept {
  static const Policy kNone;
  const std::uint32_t number = find_number(key);
  return number == SharedIndex::kNone ? kNone : policies_[number];
}

std::uint32_t PolicyIndex::find_number(std::string_view key) const noexcept {
  return by_key_.find(hash_of(key), [&](std::uint32_t number) { return policies_[number]->key_text == key; });
}

std::uint32_t PolicyIndex::find_group(std::string_view namespace_name) const noexcept {
  return by_namespace_.find(hash_of(namespace_name),
                            [&](std::uint32_t number) { return groups_[number]->namespace_name == namespace_name; });
}

void PolicyIndex::list(std::uint32_t number) {
  const PreparedPolicy& policy = *policies_[number];
  if (policy.scope == PolicyScope::Global) {
    auto global = std::make_shared<Numbers>(*global_);
    global->push_back(number);
    global_ = std::move(global);
    return;
  }
  if (policy.scope != PolicyScope::Namespace) return;
  const std::uint32_t known = find_group(policy.namespace_name);
  if (known == SharedIndex::kNone) {
    const std::uint32_t made =
        groups_.put(std::make_shared<const Group>(Group{policy.namespace_name, Numbers{number}}));
    by_namespace_.insert(hash_of(policy.namespace_name), made);
    return;
  }
  auto group = std::make_shared<Group>(*groups_[known]);
  group->policies.push_back(number);
  groups_.edit(known) = std::move(group);
}

void PolicyIndex::unlist(std::uint32_t number) {
  const PreparedPolicy& policy = *policies_[number];
  if (policy.scope == PolicyScope::Global) {
    auto global = std::make_shared<Numbers>(*global_);
    std::erase(*global, number);
    global_ = std::move(global);
    return;
  }
  if (policy.scope != PolicyScope::Namespace) return;
  const std::uint32_t known = find_group(policy.namespace_name);
  if (groups_[known]->policies.size() == 1) {
    by_namespace_.erase(hash_of(policy.namespace_name), known);
    groups_.free(known);
    return;
  }
  auto group = std::make_shared<Group>(*groups_[known]);
  std::erase(group->policies, number);
  groups_.edit(known) = std::move(group);
}

}  // namespace culvert::state
