// SPDX-License-Identifier: Apache-2.0
// The capture programs' counters of one pod, as metrics, admin and culvertctl show them. Plain values; the names come from
// the X-list that the programs share (include/culvert/abi/counters.h), by way of the datapath module.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace culvert::telemetry {

struct NamedCount {
  std::string name;
  std::string help;
  std::uint64_t value = 0;
};

struct PodCounters {
  std::string pod;  // the pod's id
  std::string name;
  std::string namespace_name;
  std::vector<NamedCount> counters;
};

}  // namespace culvert::telemetry
