// SPDX-License-Identifier: Apache-2.0
// The words of the workload API. Pure.
#include "state/workload.hpp"

#include <functional>

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

std::uint64_t hash_of_texts(std::initializer_list<std::string_view> texts) noexcept {
  std::uint64_t hash = texts.size();
  for (const std::string_view text : texts) {
    hash = (hash ^ std::hash<std::string_view>{}(text)) * 0x9e37'79b9'7f4a'7c15ULL;
    hash ^= hash >> 31U;
  }
  return hash;
}

std::uint64_t name_hash_of(const Workload& workload) noexcept {
  const auto or_name = [&workload](const std::string& text) -> std::string_view {
    return text.empty() ? workload.name : text;
  };
  return hash_of_texts({or_name(workload.workload_name), workload.namespace_name, or_name(workload.canonical_name),
                        workload.canonical_revision, workload.cluster, workload.region, workload.zone,
                        workload.identity.trust_domain, workload.identity.namespace_name,
                        workload.identity.service_account});
}

}  // namespace culvert::state
