// SPDX-License-Identifier: Apache-2.0
#include "proxy/baggage.hpp"

#include "hbone/messages.hpp"

namespace culvert::proxy {

std::string_view pod_baggage(WorkerState& state, std::uint32_t pod_slot) {
  WorkerPod* pod = state.pods.find(pod_slot);
  if (pod == nullptr) return {};
  const std::uint64_t version = state.snapshot == nullptr ? 0 : state.snapshot->version();
  if (pod->baggage_version == version && !pod->baggage.empty()) return pod->baggage;
  const state::WorkloadEntry* workload = pod->workload;
  hbone::Baggage baggage;
  baggage.cluster = state.options.cluster;
  baggage.namespace_name = pod->setup.namespace_name;
  baggage.workload_type = "pod";
  baggage.workload_name = pod->setup.name;
  baggage.service = pod->setup.name;
  baggage.revision = "latest";
  if (workload != nullptr) {
    baggage.cluster = workload->cluster();
    baggage.namespace_name = workload->namespace_name();
    baggage.workload_type = state::to_string(workload->type());
    baggage.workload_name = workload->workload_name();
    baggage.service = workload->canonical_name();
    baggage.revision = workload->canonical_revision();
    baggage.region = workload->region();
    baggage.zone = workload->zone();
  }
  pod->baggage = hbone::format_baggage(baggage);
  pod->baggage_version = version;
  return pod->baggage;
}

}  // namespace culvert::proxy
