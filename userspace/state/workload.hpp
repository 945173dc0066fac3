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

enum class WorkloadType : std::uint8_t { Deployment, CronJob, Pod, Job };

[[nodiscard]] std::string_view to_string(WorkloadType type) noexcept;  // "deployment", "cronjob", "pod", "job"

// A workload is an endpoint of this service.
struct ServiceMembership {
  std::string namespace_name;
  std::string hostname;
  std::vector<ServicePort> ports;  // this endpoint's own mapping; empty: the service's
  bool operator==(const ServiceMembership&) const = default;
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
  bool is_host_network = false;   // its addresses are the node's: it is not found by them
  bool is_tunnel_native = false;  // it ends tunnels itself; the agent only has a certificate ready for it
  bool is_provisional = false;    // known by its own node only: who may connect to it is not known
  WorkloadType type = WorkloadType::Pod;
  std::string workload_name;  // of the object that made it, such as the deployment; empty: `name`
  std::vector<ServiceMembership> services;
  std::vector<std::string> authorization_policies;  // "NAMESPACE/NAME": those that select it

  bool operator==(const Workload&) const = default;
};

}  // namespace culvert::state
