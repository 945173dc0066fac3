// SPDX-License-Identifier: Apache-2.0
// The last part of an explanation: the policies of the destination, one by one. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/explain.hpp"
#include "policy/policy.hpp"

namespace culvert::policy {

[[nodiscard]] std::string text_of(const state::WorkloadEntry& workload);  // "workload NAMESPACE/NAME"
[[nodiscard]] std::string name_of(const state::WorkloadEntry& workload);  // "workload UID"
[[nodiscard]] std::string name_of(const state::Service& service);         // "service NAMESPACE/HOSTNAME"

// Adds a step for each policy and the verdict; gives the outcome.
[[nodiscard]] std::string_view explain_policies(const state::Snapshot& snapshot,
                                                const state::WorkloadEntry& destination, const InboundRequest& request,
                                                UnknownAnswer unknown, std::vector<ExplainStep>& steps);

}  // namespace culvert::policy
