// SPDX-License-Identifier: Apache-2.0
// A large mesh in a Store, of the shape that culvert_bench/mesh_messages.py sends: pods of deployments over services, namespaces and nodes.
#pragma once

#include <cstdint>

#include "base/address.hpp"
#include "state/store.hpp"

namespace culvert::bench {

inline constexpr std::uint16_t kServicePort = 80;
inline constexpr std::uint32_t kPodsPerService = 20;

[[nodiscard]] IpAddress pod_address(std::uint32_t pod);
[[nodiscard]] IpAddress service_address(std::uint32_t service);
// Of `pods` in all; each belongs to one service.
[[nodiscard]] state::Workload make_pod(std::uint32_t pod, std::uint32_t pods);
void fill(state::Store& store, std::uint32_t pods);

}  // namespace culvert::bench
