// SPDX-License-Identifier: Apache-2.0
// Where a connection of a local workload goes: the outbound decision over one snapshot. Pure: no socket, no clock; randomness comes in. No
// allocation on the common paths. Every pointer and view of the answer lives as long as the snapshot (or is static text).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/address.hpp"
#include "base/spiffe_id.hpp"
#include "state/demand.hpp"
#include "state/snapshot.hpp"

namespace culvert::state {

// The workload that the connection comes from.
struct RouteSource {
  IpAddress address;
  std::string_view network;
  std::string_view namespace_name;
  const SpiffeId* identity = nullptr;
  const WorkloadEntry* workload =
      nullptr;  // of this snapshot; null: unknown, and then only the preference NETWORK can match
};

enum class RouteKind : std::uint8_t {
  Passthrough,  // plain TCP to `next_hop`, which is what was dialled: nobody in the mesh
  Plain,        // plain TCP to `next_hop`: an endpoint that takes no tunnel
  Tunnel,       // a tunnel to `next_hop`, which is asked for `target`
  Gateway,  // double HBONE: outer tunnel to `next_hop` (the gateway), inner one to the far workload, both asked for `authority_host`:port
  Resolve,  // the endpoint has only a hostname: ask DNS for `dns_name`, then call route_resolved
  Refused,  // must not leave: `refusal` says why
  Ask,      // not decided: the control plane has to be asked for `wanted` first
};

enum class RouteRefusal : std::uint8_t {
  None,
  NoHealthyUpstream,    // a service without a usable endpoint or without this port
  UnknownWaypoint,      // a waypoint is demanded, but cannot be found or has no endpoint; never bypassed
  UnknownGateway,       // another network, and no gateway to it
  NoServiceForNetwork,  // another network is reached by services only
  NotKnownYet,          // the control plane has not yet said everything once: who is dialled may be of the mesh
};
[[nodiscard]] std::string_view to_string(RouteRefusal refusal) noexcept;  // a sentence without a full stop

struct Route {
  RouteKind kind = RouteKind::Passthrough;
  RouteRefusal refusal = RouteRefusal::None;
  Endpoint next_hop;                // where the agent connects to
  Endpoint target;                  // Tunnel: what OPEN or :authority names
  std::string_view authority_host;  // Gateway: service hostname of both CONNECTs; empty otherwise
  std::uint16_t authority_port = 0;
  // The far end of the (outer) tunnel must have one of these: those of the service and that of the workload.
  const WorkloadEntry* workload = nullptr;  // the chosen endpoint, waypoint or gateway workload; null for Passthrough
  std::span<const SpiffeId>
      accepted;  // beside workload->identity: subject alternative names of the service (waypoint, gateway)
  std::span<const SpiffeId> inner_accepted;    // Gateway: only these for the inner tunnel
  const Service* service = nullptr;            // the service that was dialled; null: an address
  const WorkloadEntry* destination = nullptr;  // the workload that the bytes are for, when known (not the waypoint)
  std::string_view dns_name;                   // Resolve
  RouteKind kind_resolved = RouteKind::Passthrough;  // Resolve: what this becomes once next_hop has its address
  Wanted wanted;                                     // Ask
  bool is_waypoint = false;
  std::string_view
      why;  // static text for people: "service endpoint", "waypoint of the service", "not in the mesh", ...
};

// Why a route's tunnel has to be HBONE: what OPEN of the direct tunnel, which names an address of the pod that it reaches, cannot ask for.
enum class HboneNeed : std::uint8_t {
  None,
  Name,               // a gateway, and who is behind it: a service by its name
  Waypoint,           // what was dialled, which is not the waypoint's own
  ApplicationTunnel,  // the application listens elsewhere, and may have to be told what was asked for
};
[[nodiscard]] HboneNeed hbone_need(const Route& route) noexcept;
[[nodiscard]] std::string_view to_string(HboneNeed need) noexcept;  // for people; None: empty

// A number from 0 to below `bound` (> 0), uniformly.
class RouteRandom {
 public:
  virtual ~RouteRandom() = default;
  [[nodiscard]] virtual std::uint32_t below(std::uint32_t bound) = 0;
};

// `destination`: what the application dialled.
[[nodiscard]] Route route(const Snapshot& snapshot, const RouteSource& source, const Endpoint& destination,
                          RouteRandom& random);
// After Resolve: the same decision for the endpoint that `unresolved` chose, with the address that DNS gave for it. DNS is asked for the
// family of what was dialled first, as far as the service's ip_families do not matter for a hostname.
[[nodiscard]] Route route_resolved(const Snapshot& snapshot, const RouteSource& source, const Route& unresolved,
                                   const IpAddress& address);

// Inbound, on 15008 of the workload `local` (may be null: unknown) with address `local_address`: whether a tunnel peer may ask for `authority`, and
// what it means there.
struct InboundTarget {
  std::uint16_t status = 200;  // else 400 or 503
  Endpoint destination;        // where the application is connected to: the pod's address (or loopback), port mapped
  bool wants_proxy_header = false;
  Endpoint proxy_destination;  // the destination that the PROXY header names
  std::optional<Wanted>
      wanted;  // not decided: this has to be asked for first; `status` is what it is without an answer
};
[[nodiscard]] InboundTarget inbound_target(const Snapshot& snapshot, const WorkloadEntry* local,
                                           const IpAddress& local_address, const Endpoint& authority);
[[nodiscard]] InboundTarget inbound_target(const Snapshot& snapshot, const WorkloadEntry* local,
                                           const IpAddress& local_address, std::string_view authority_host,
                                           std::uint16_t authority_port);

// The service that a connection to `port` of the workload `local` was probably for, to tell of it: the one that the client calls `host`, if
// it is one of the workload's, else the first of them that has this port. Null: none. `local` is this snapshot's.
[[nodiscard]] const Service* inbound_service(const Snapshot& snapshot, const WorkloadEntry& local,
                                             std::string_view host, std::uint16_t port);

}  // namespace culvert::state
