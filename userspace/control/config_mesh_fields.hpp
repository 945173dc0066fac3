// SPDX-License-Identifier: Apache-2.0
// The keys of `mesh`, `pods` and of exclusions. Pure; part of visit_config.
#pragma once

#include <vector>

#include "control/config_fields.hpp"

namespace culvert::control {

inline constexpr std::size_t kNamespacesMax = 10'000;
inline constexpr std::size_t kWorkloadsMax = 100'000;
inline constexpr std::size_t kPodsMax = 1'023;    // slots of the capture maps
inline constexpr std::size_t kAddressesMax = 16;  // of one workload, pod or service
inline constexpr std::size_t kServicesMax = 100'000;
inline constexpr std::size_t kPoliciesMax = 10'000;
inline constexpr std::size_t kPortsMax = 1'024;  // of one service

void visit_exclusions(FieldVisitor& visitor, Exclusions& exclusions);
void visit_service(FieldVisitor& visitor, ServiceConfig& service);
void visit_policy(FieldVisitor& visitor, PolicyConfig& policy);
void visit_mesh(FieldVisitor& visitor, MeshConfig& mesh);
void visit_pods(FieldVisitor& visitor, std::vector<PodConfig>& pods);

// Each element's fields are bound while `append` runs, so the vector may grow between two of them.
template <typename T>
FieldVisitor::Items items_of(std::vector<T>& target, std::size_t size_max, void (*visit)(FieldVisitor&, T&)) {
  return {size_max, [&target] { target.clear(); },
          [&target, visit](FieldVisitor& inner) { visit(inner, target.emplace_back()); }};
}

}  // namespace culvert::control
