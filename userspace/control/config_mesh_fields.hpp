// SPDX-License-Identifier: Apache-2.0
// The keys of `mesh`, `pods` and of exclusions. Pure; part of visit_config.
#pragma once

#include <vector>

#include "control/config_fields.hpp"

namespace culvert::control {

inline constexpr std::size_t kNamespacesMax = 10'000;
inline constexpr std::size_t kWorkloadsMax = 100'000;
inline constexpr std::size_t kPodsMax = 1'023;    // slots of the capture maps
inline constexpr std::size_t kAddressesMax = 16;  // of one workload or pod

void visit_exclusions(FieldVisitor& visitor, Exclusions& exclusions);
void visit_mesh(FieldVisitor& visitor, MeshConfig& mesh);
void visit_pods(FieldVisitor& visitor, std::vector<PodConfig>& pods);

}  // namespace culvert::control
