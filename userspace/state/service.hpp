// SPDX-License-Identifier: Apache-2.0
// Services: virtual addresses and hostnames with ports, their endpoints, how one is chosen, and where a waypoint or a network gateway is.
// Plain values, as the API of istio.workload says them (facts in docs/hbone.md, "Where a connection goes").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/rare.hpp"

namespace culvert::state {

// An address in a network; an empty network is the agent's own.
struct NetworkAddress {
  std::string network;
  IpAddress address;
  std::uint8_t prefix_bits = kWhole;  // of a virtual address that stands for a range, in the family of `address`
  static constexpr std::uint8_t kWhole = 255;
  [[nodiscard]] bool is_whole() const noexcept { return prefix_bits == kWhole; }
  bool operator==(const NetworkAddress&) const = default;
};

// A reference to a waypoint or a network gateway: by address, or by "NAMESPACE/HOSTNAME" of a service or workload.
struct GatewayRef {
  std::optional<NetworkAddress> address;
  std::string namespace_name;
  std::string hostname;
  std::uint16_t hbone_port = 15008;
  bool operator==(const GatewayRef&) const = default;
};

struct ServicePort {
  std::uint16_t port = 0;         // what clients dial
  std::uint16_t target_port = 0;  // 0: each endpoint says it
  bool operator==(const ServicePort&) const = default;
};

enum class LbMode : std::uint8_t { Unspecified, Strict, Failover, Passthrough };
enum class LbScope : std::uint8_t { Region, Zone, Subzone, Node, Cluster, Network };
enum class HealthPolicy : std::uint8_t { OnlyHealthy, AllowAll };
enum class IpFamilies : std::uint8_t { Automatic, V4Only, V6Only, Dual };
enum class Visibility : std::uint8_t { Public, Namespace };

// One of several waypoints of a service, used for its share of the connections.
struct WeightedWaypoint {
  GatewayRef destination;
  std::uint32_t weight = 0;
  bool operator==(const WeightedWaypoint&) const = default;
};

[[nodiscard]] std::string_view to_string(LbMode mode) noexcept;            // "UNSPECIFIED", "STRICT", ...
[[nodiscard]] std::string_view to_string(Visibility visibility) noexcept;  // "PUBLIC", "NAMESPACE"
// "NETWORK/ADDRESS", or "ADDRESS" where the network is empty or `own_network`.
[[nodiscard]] std::string to_string(const NetworkAddress& address, std::string_view own_network = {});
// As above, or "NAMESPACE/HOSTNAME"; ":PORT" behind it where that is not 15008.
[[nodiscard]] std::string to_string(const GatewayRef& reference, std::string_view own_network = {});

struct ServiceEndpoint {
  std::string workload_uid;
  std::vector<ServicePort> ports;  // this endpoint's own mapping; empty: the service's
  bool operator==(const ServiceEndpoint&) const = default;
};

struct Service {
  std::string name;
  std::string namespace_name;
  std::string hostname;
  std::vector<NetworkAddress> vips;
  std::vector<ServicePort> ports;
  std::vector<ServiceEndpoint> endpoints;
  std::vector<SpiffeId> subject_alt_names;
  Rare<GatewayRef> waypoint;
  std::vector<WeightedWaypoint> weighted_waypoints;  // where their weights are not all 0, they come before `waypoint`
  std::vector<LbScope> routing_preference;
  LbMode lb_mode = LbMode::Unspecified;
  HealthPolicy health_policy = HealthPolicy::OnlyHealthy;
  IpFamilies ip_families = IpFamilies::Automatic;
  Visibility visibility = Visibility::Public;
  bool is_canonical = false;  // preferred where services of several foreign namespaces share an address or a hostname
  std::optional<std::uint64_t> version;  // of this resource with the control plane, where that is a number
  bool operator==(const Service&) const = default;
};

}  // namespace culvert::state
