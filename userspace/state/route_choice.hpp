// SPDX-License-Identifier: Apache-2.0
// The steps of a routing decision, for route.cpp and inbound_target.cpp: an endpoint of a service, an address of an endpoint, and what a
// reference to a waypoint or a gateway means. Pure; pointers live as long as the snapshot.
#pragma once

#include <cstdint>
#include <string_view>

#include "state/route.hpp"

namespace culvert::state {

// Standard: the service must have the port. Waypoint: an endpoint with an application tunnel needs no port, since its own agent serves
// the one that is asked for.
enum class PortRule : std::uint8_t { Standard, Waypoint };

// A workload that was chosen, and the port that is wanted of it.
struct Upstream {
  const WorkloadEntry* workload = nullptr;  // null: none
  const Service* service = nullptr;         // that it was chosen for; null: it was addressed itself
  std::uint16_t port = 0;
  bool is_dialled = false;  // it was found by the very address that is wanted of it
};

// An endpoint of `service` for `port` of it; none when nothing is usable.
[[nodiscard]] Upstream choose_endpoint(const Snapshot& snapshot, const RouteSource& source, const Service& service,
                                       std::uint16_t port, PortRule rule, RouteRandom& random);

struct Found {
  Upstream upstream;  // none: nobody has the address, or the service has nothing usable or is in PASSTHROUGH mode
  bool is_passthrough = false;
};
// Who serves `destination` in `network` (Snapshot::find_owner, as the source sees it), and the workload with the address where a service does not.
[[nodiscard]] Found find_upstream(const Snapshot& snapshot, const RouteSource& source, std::string_view network,
                                  const Endpoint& destination, PortRule rule, RouteRandom& random);

// What a reference names, whoever asks: at most one of the two. An address is looked for among workloads first.
struct Referent {
  const Service* service = nullptr;
  const WorkloadEntry* workload = nullptr;
};
[[nodiscard]] Referent find_referent(const Snapshot& snapshot, const GatewayRef& reference);

struct Gateway {
  Upstream upstream;  // none: it cannot be found or has nothing usable
  IpAddress towards;  // the address whose family its own should have
};
// The workload behind a reference to a waypoint or gateway. By hostname, the family of what was `dialled` is preferred; by address, that of the
// address.
[[nodiscard]] Gateway find_gateway(const Snapshot& snapshot, const RouteSource& source, const GatewayRef& reference,
                                   const IpAddress& dialled, PortRule rule, RouteRandom& random);

// The address of `workload` to connect to: the dialled one if it has it, else one that the service's families allow, preferably of the
// dialled one's family. Null: none.
[[nodiscard]] const IpAddress* choose_address(const Snapshot& snapshot, const WorkloadEntry& workload,
                                              const Service* service, const IpAddress& dialled) noexcept;

// A number from 0 to below `bound` (> 0). Where that is above 32 bits the steps are coarse: 2^32 of them.
[[nodiscard]] std::uint64_t pick_below(std::uint64_t bound, RouteRandom& random);

// The service's waypoint for one connection; null: it has none.
[[nodiscard]] const GatewayRef* waypoint_of(const Service& service, RouteRandom& random);

}  // namespace culvert::state
