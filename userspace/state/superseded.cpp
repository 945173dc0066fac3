// SPDX-License-Identifier: Apache-2.0
#include "state/superseded.hpp"

namespace culvert::state {

bool is_superseded(const Snapshot& snapshot, const WorkloadEntry& workload) noexcept {
  if (!workload.is_provisional() || workload.addresses().empty()) return false;
  const WorkloadEntry* named = snapshot.find(workload.network(), workload.addresses().front());
  return named != nullptr && !named->is_provisional() && named->name() == workload.name() &&
         named->namespace_name() == workload.namespace_name();
}

}  // namespace culvert::state
