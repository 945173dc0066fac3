// SPDX-License-Identifier: Apache-2.0
// Workloads as a source of the mesh says them: identity, addresses, place, protocol, services. Plain values. What the state keeps of
// them is in workload_entry.hpp.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/rare.hpp"
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

// What the pods of one deployment have in common, and (below) what those of one node have. The state keeps equal ones once
// (workload_entry.hpp).
struct WorkloadProfile {
  std::string namespace_name;
  SpiffeId identity;
  std::string network;
  std::string cluster = "Kubernetes";
  std::string canonical_name;      // empty: the workload's name
  std::string canonical_revision;  // empty: "latest"
  std::string workload_name;       // of the object that made it, such as the deployment; empty: the workload's name
  std::string hostname;            // without addresses: asked of DNS
  Rare<GatewayRef> waypoint;
  Rare<GatewayRef> network_gateway;
  std::vector<ServiceMembership> services;
  std::vector<std::string> authorization_policies;  // "NAMESPACE/NAME": those that select it
  std::uint32_t capacity = 1;                       // weight among the endpoints of a service
  std::optional<ApplicationTunnel> application_tunnel;
  Protocol protocol = Protocol::Tunnel;
  WorkloadType type = WorkloadType::Pod;
  bool is_host_network = false;   // its addresses are the node's: it is not found by them
  bool is_tunnel_native = false;  // it ends tunnels itself; the agent only has a certificate ready for it
  bool is_provisional = false;    // known by its own node only: who may connect to it is not known

  bool operator==(const WorkloadProfile&) const = default;
};

struct WorkloadPlace {
  std::string node;
  std::string region;
  std::string zone;
  std::string subzone;

  bool operator==(const WorkloadPlace&) const = default;
};

// As a source of the mesh says it.
struct Workload : WorkloadProfile, WorkloadPlace {
  std::string uid;  // unique; "NAMESPACE/NAME" in the file
  std::string name;
  std::vector<IpAddress> addresses;
  bool is_healthy = true;
  std::optional<std::uint64_t> version;  // of this resource with the control plane, where that is a number

  bool operator==(const Workload&) const = default;
};

// Of several texts; where one ends and the next begins counts.
[[nodiscard]] std::uint64_t hash_of_texts(std::initializer_list<std::string_view> texts) noexcept;
// Of everything that metrics tell of it by name: the same, in any snapshot, for as long as that is.
[[nodiscard]] std::uint64_t name_hash_of(const Workload& workload) noexcept;

}  // namespace culvert::state
