// SPDX-License-Identifier: Apache-2.0
// From a configuration (and the pods that joined this node) to the snapshot that workers decide by. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "control/config.hpp"
#include "state/snapshot.hpp"

namespace culvert::control {

// The file's workload with everything that it leaves out filled in.
[[nodiscard]] Result<state::Workload> to_workload(const Config& config, const WorkloadConfig& workload);

// Likewise the file's service.
[[nodiscard]] state::Service to_service(const ServiceConfig& service);

// Likewise the file's policy.
[[nodiscard]] state::Authorization to_authorization(const PolicyConfig& policy);

// `local`: workloads of this node that the file need not list. Where both speak of one address or one uid, the file is right and
// the local address is left out.
[[nodiscard]] Result<std::shared_ptr<const state::Snapshot>> build_snapshot(const Config& config,
                                                                            std::span<const state::Workload> local,
                                                                            std::uint64_t version);

}  // namespace culvert::control
