// SPDX-License-Identifier: Apache-2.0
// The words of the workload API. Pure.
#include "state/workload.hpp"

namespace culvert::state {

std::string_view to_string(Protocol protocol) noexcept { return protocol == Protocol::Tcp ? "TCP" : "HBONE"; }

std::string_view to_string(PeerAuthMode mode) noexcept {
  return mode == PeerAuthMode::Strict ? "STRICT" : "PERMISSIVE";
}

std::string_view to_string(WorkloadType type) noexcept {
  switch (type) {
    case WorkloadType::Deployment: return "deployment";
    case WorkloadType::CronJob: return "cronjob";
    case WorkloadType::Pod: return "pod";
    case WorkloadType::Job: return "job";
  }
  return "pod";
}

}  // namespace culvert::state
