// SPDX-License-Identifier: Apache-2.0
// Between the messages of the discovery API and the values of XdsSession. Pure; any thread.
#pragma once

#include <functional>

#include "control/control_plane_config.hpp"
#include "control/xds_session.hpp"
#include "proto/discovery.pb.h"

namespace culvert::control {

// Who asks.
[[nodiscard]] envoy::service::discovery::v3::Node make_node(const ControlPlaneConfig& config,
                                                            const std::string& node_name, const std::string& cluster);
[[nodiscard]] envoy::service::discovery::v3::DeltaDiscoveryRequest to_message(
    XdsRequest request, const envoy::service::discovery::v3::Node& node);

// Decodes a response piece by piece, each of kPieceResources at most, and gives back the memory of what is done. Stops when `take` says false.
inline constexpr std::size_t kPieceResources = 2'048;
void for_each_piece(envoy::service::discovery::v3::DeltaDiscoveryResponse& response,
                    const std::function<bool(const XdsUpdate&)>& take);

}  // namespace culvert::control
