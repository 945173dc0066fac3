// SPDX-License-Identifier: Apache-2.0
// What the configuration file says about the mesh: namespaces, workloads and services, as plain values. Part of Config (config.hpp), which
// says how they are read and checked; snapshot_build.hpp makes a snapshot of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/authorization.hpp"
#include "state/service.hpp"
#include "state/workload.hpp"

namespace culvert::control {

// Which pods the CNI plugin takes into the mesh. All: every pod but those of namespaces with `enrol: false`. Listed: only those
// of namespaces with `enrol: true`.
enum class EnrolMode : std::uint8_t { All, Listed };

[[nodiscard]] std::string_view to_string(EnrolMode mode) noexcept;  // "all", "listed"

struct NamespaceConfig {
  std::string name;
  std::optional<state::PeerAuthMode> peer_authentication;  // null: the mesh's
  std::optional<bool> enrol;                               // null: as mesh.enrol says
  bool operator==(const NamespaceConfig&) const = default;
};

struct LocalityConfig {
  std::string region;
  std::string zone;
  std::string subzone;
  bool operator==(const LocalityConfig&) const = default;
};

struct ApplicationTunnelConfig {
  std::optional<bool> has_proxy_header;  // null: there is no such tunnel
  std::uint16_t port = 0;                // 0: the port that was asked for
  bool operator==(const ApplicationTunnelConfig&) const = default;
};

struct WorkloadConfig {
  std::string name;
  std::string namespace_name = "default";
  std::string service_account = "default";
  std::string node;                    // empty: unknown
  std::optional<std::string> network;  // null or empty: the agent's own
  std::string cluster;                 // empty: the agent's own
  std::string canonical_name;          // empty: name
  std::string canonical_revision;      // empty: "latest"
  state::Protocol protocol = state::Protocol::Tunnel;
  std::vector<IpAddress> addresses;  // may be empty with a hostname, or behind a gateway to another network
  std::string hostname;
  std::optional<state::GatewayRef> waypoint;
  std::optional<state::GatewayRef> network_gateway;
  ApplicationTunnelConfig application_tunnel;
  LocalityConfig locality;
  std::uint32_t capacity = 1;
  bool is_healthy = true;
  std::optional<state::PeerAuthMode> peer_authentication;  // null: the namespace's
  bool operator==(const WorkloadConfig&) const = default;
};

struct PortConfig {
  std::uint16_t port = 0;
  std::optional<std::uint16_t> target_port;  // null: port; 0: each endpoint says it
  bool operator==(const PortConfig&) const = default;
};

struct EndpointConfig {
  std::string workload;  // NAMESPACE/NAME, or NAME in the service's namespace
  std::vector<PortConfig> ports;
  bool operator==(const EndpointConfig&) const = default;
};

struct LoadBalancingConfig {
  state::LbMode mode = state::LbMode::Unspecified;
  std::vector<state::LbScope> routing_preference;
  state::HealthPolicy health_policy = state::HealthPolicy::OnlyHealthy;
  bool operator==(const LoadBalancingConfig&) const = default;
};

struct ServiceConfig {
  std::string name;
  std::string namespace_name = "default";
  std::string hostname;  // empty in the file: NAME.NAMESPACE.svc.cluster.local; always set in a parsed Config
  std::vector<state::NetworkAddress> addresses;  // virtual; an empty network is the agent's own
  std::vector<PortConfig> ports;
  std::vector<EndpointConfig> endpoints;
  std::vector<SpiffeId> subject_alt_names;
  std::optional<state::GatewayRef> waypoint;
  LoadBalancingConfig load_balancing;
  state::IpFamilies ip_families = state::IpFamilies::Automatic;
  state::Visibility visibility = state::Visibility::Public;
  bool operator==(const ServiceConfig&) const = default;
};

struct PolicyConfig {
  std::string name;
  std::string namespace_name = "default";
  state::PolicyScope scope = state::PolicyScope::Namespace;
  std::vector<std::string> workloads;  // NAMESPACE/NAME, or NAME in the policy's namespace
  std::optional<state::PolicyAction> action;
  bool is_dry_run = false;
  std::vector<state::PolicyRule> rules;
  bool operator==(const PolicyConfig&) const = default;
};

// NAMESPACE/NAME of a workload that the policy names so.
[[nodiscard]] std::string selected_uid(const PolicyConfig& policy, const std::string& workload);
// As the file writes it: TEXT, TEXT*, *TEXT or *.
[[nodiscard]] std::string text_of(const state::StringMatch& match);

// The uid of the endpoint's workload, NAMESPACE/NAME.
[[nodiscard]] std::string endpoint_uid(const ServiceConfig& service, const EndpointConfig& endpoint);

struct MeshConfig {
  state::PeerAuthMode peer_authentication = state::PeerAuthMode::Permissive;
  EnrolMode enrol = EnrolMode::All;
  std::vector<NamespaceConfig> namespaces;
  std::vector<WorkloadConfig> workloads;
  std::vector<ServiceConfig> services;
  std::vector<PolicyConfig> policies;
  bool operator==(const MeshConfig&) const = default;
};

}  // namespace culvert::control
