// SPDX-License-Identifier: Apache-2.0
// RuleSet: everything that rules connections to one workload, looked up once for a snapshot, so that judging a connection looks nothing up.
// Shares the policies; two of them are equal when no connection can be judged otherwise by the one than by the other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "state/snapshot.hpp"

namespace culvert::policy {

class RuleSet {
 public:
  using Policies = std::vector<state::PolicyIndex::Policy>;

  RuleSet() = default;  // of a workload that is not known
  // `destination`: of this snapshot, null: unknown. The names are those that the pod joined with.
  [[nodiscard]] static RuleSet find(const state::Snapshot& snapshot, const state::WorkloadEntry* destination,
                                    std::string_view namespace_name, std::string_view workload_name);

  [[nodiscard]] const Policies& deny() const noexcept { return deny_; }        // in force
  [[nodiscard]] const Policies& allow() const noexcept { return allow_; }      // in force
  [[nodiscard]] const Policies& dry_run() const noexcept { return dry_run_; }  // of either kind, only told of
  [[nodiscard]] bool is_strict() const noexcept { return is_strict_; }         // peer authentication
  // False: there may be policies for it that are not known: it is not, or one that it names is not.
  [[nodiscard]] bool is_complete() const noexcept { return is_workload_known_ && missing_.empty(); }
  [[nodiscard]] bool is_workload_known() const noexcept { return is_workload_known_; }
  // "NAMESPACE/NAME" of the first policy that the workload names and nobody knows; empty: none.
  [[nodiscard]] const std::string& missing() const noexcept { return missing_; }
  bool operator==(const RuleSet&) const = default;

 private:
  void add(const state::PolicyIndex::Policy& policy);

  Policies deny_;
  Policies allow_;
  Policies dry_run_;
  std::string missing_;
  bool is_workload_known_ = false;
  bool is_strict_ = false;
};

}  // namespace culvert::policy
