// SPDX-License-Identifier: Apache-2.0
// What the mesh knows: workloads by address, with identity, node, network and protocol. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/service.hpp"

namespace culvert::state {

// How a workload is reached. Tunnel: TCP to its port 15008, direct or HBONE as the handshake agrees (the API calls it HBONE).
enum class Protocol : std::uint8_t { Tcp, Tunnel };
enum class PeerAuthMode : std::uint8_t { Permissive, Strict };

[[nodiscard]] std::string_view to_string(Protocol protocol) noexcept;  // "TCP", "HBONE"
[[nodiscard]] std::string_view to_string(PeerAuthMode mode) noexcept;  // "PERMISSIVE", "STRICT"

// The application takes connections on one port, with a PROXY header in front when it asked for it (a waypoint).
struct ApplicationTunnel {
  bool has_proxy_header = false;
  std::uint16_t port = 0;  // 0: the port that was asked for
  bool operator==(const ApplicationTunnel&) const = default;
};

struct Workload {
  std::string uid;  // unique; "NAMESPACE/NAME" in the file
  std::string name;
  std::string namespace_name;
  SpiffeId identity;
  std::string node;
  std::string network;
  std::string cluster = "Kubernetes";
  std::string canonical_name;      // defaults to name
  std::string canonical_revision;  // defaults to "latest"
  Protocol protocol = Protocol::Tunnel;
  std::vector<IpAddress> addresses;
  std::string hostname;  // without addresses: asked of DNS
  std::optional<GatewayRef> waypoint;
  std::optional<GatewayRef> network_gateway;
  std::optional<ApplicationTunnel> application_tunnel;
  std::string region;
  std::string zone;
  std::string subzone;
  std::uint32_t capacity = 1;  // weight among the endpoints of a service
  bool is_healthy = true;

  bool operator==(const Workload&) const = default;
};

}  // namespace culvert::state
