// SPDX-License-Identifier: Apache-2.0
#include "control/local_exchange.hpp"

#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace culvert::control {
namespace {

void remove(state::Store& store, const state::Authorization& policy) {
  static_cast<void>(store.remove_authorization(policy.namespace_name, policy.name));
}
void remove(state::Store& store, const state::Workload& workload) {
  static_cast<void>(store.remove_workload(workload.uid));
}
void remove(state::Store& store, const state::Service& service) {
  static_cast<void>(store.remove_service(service.namespace_name, service.hostname));
}

bool is_theirs(const XdsSession& session, const state::Authorization& policy) {
  return session.has_policy(resource_name(policy));
}
bool is_theirs(const XdsSession& session, const auto& address) { return session.has_address(resource_name(address)); }

template <typename Object>
std::map<std::string, const Object*> by_name(const std::vector<Object>& objects) {
  std::map<std::string, const Object*> made;
  for (const Object& one : objects) made.insert_or_assign(resource_name(one), &one);
  return made;
}

template <typename Object>
void exchange(state::Store& store, const XdsSession& session, const std::vector<Object>& was,
              const std::vector<Object>& now) {
  const auto known = by_name(was);
  const auto wanted = by_name(now);
  for (const auto& [name, object] : known) {
    if (!wanted.contains(name) && !is_theirs(session, *object)) remove(store, *object);
  }
  for (const auto& [name, object] : wanted) {
    const auto before = known.find(name);
    const bool is_in_force = before != known.end() && *before->second == *object;
    if (!is_in_force && !is_theirs(session, *object)) store.upsert(*object);
  }
}

template <typename Object>
void restore(state::Store& store, const XdsSession& session, const std::vector<Object>& objects,
             const std::unordered_set<std::string_view>& removed) {
  for (const Object& one : objects) {
    if (removed.contains(resource_name(one)) && !is_theirs(session, one)) store.upsert(one);
  }
}

}  // namespace

void exchange_local_mesh(state::Store& store, const XdsSession& session, const LocalMesh& was, const LocalMesh& now) {
  exchange(store, session, was.policies, now.policies);
  exchange(store, session, was.workloads, now.workloads);
  exchange(store, session, was.services, now.services);
}

void restore_local_mesh(state::Store& store, const XdsSession& session, const LocalMesh& local,
                        std::span<const std::string> removed) {
  if (local.policies.empty() && local.workloads.empty() && local.services.empty()) return;
  const std::unordered_set<std::string_view> names(removed.begin(), removed.end());
  restore(store, session, local.policies, names);
  restore(store, session, local.workloads, names);
  restore(store, session, local.services, names);
}

}  // namespace culvert::control
