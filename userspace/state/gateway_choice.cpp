// SPDX-License-Identifier: Apache-2.0
// What an address means in a network, and what a reference to a waypoint or a gateway means. Pure; no allocation.
#include "state/route_choice.hpp"

namespace culvert::state {

Found find_upstream(const Snapshot& snapshot, const RouteSource& source, std::string_view network,
                    const Endpoint& destination, PortRule rule, RouteRandom& random) {
  const auto [service, owner] = snapshot.find_owner(network, destination.address, source.namespace_name);
  const bool is_passthrough = service != nullptr && snapshot.traits(*service).lb_mode == LbMode::Passthrough;
  if (service != nullptr && !is_passthrough) {
    const Upstream chosen = choose_endpoint(snapshot, source, *service, destination.port, rule, random);
    if (chosen.workload != nullptr) return {.upstream = chosen};
  }
  // What a service lets pass, or has nothing for, is for the workload that has the address as well: it never gets plain text for it.
  const WorkloadEntry* workload = service == nullptr ? owner : snapshot.find(network, destination.address);
  if (workload == nullptr) return {.upstream = {}, .is_passthrough = is_passthrough};
  return {.upstream = {workload, nullptr, destination.port, true}};
}

Referent find_referent(const Snapshot& snapshot, const GatewayRef& reference) {
  if (reference.address) {
    const NetworkAddress& named = *reference.address;
    if (const WorkloadEntry* workload = snapshot.find(named.network, named.address); workload != nullptr) {
      return {nullptr, workload};
    }
    return {snapshot.find_vip(named.network, named.address, std::nullopt), nullptr};
  }
  const Service* service = snapshot.find_service(reference.namespace_name, reference.hostname);
  if (service != nullptr) return {service, nullptr};
  return {nullptr, snapshot.find_workload(reference.namespace_name, reference.hostname)};
}

Gateway find_gateway(const Snapshot& snapshot, const RouteSource& source, const GatewayRef& reference,
                     const IpAddress& dialled, PortRule rule, RouteRandom& random) {
  if (reference.address) {
    const Endpoint where{reference.address->address, reference.hbone_port};
    return {find_upstream(snapshot, source, reference.address->network, where, rule, random).upstream, where.address};
  }
  const Referent referent = find_referent(snapshot, reference);
  if (referent.service != nullptr) {
    return {choose_endpoint(snapshot, source, *referent.service, reference.hbone_port, rule, random), dialled};
  }
  if (referent.workload == nullptr) return {};
  return {{referent.workload, nullptr, reference.hbone_port}, dialled};
}

const GatewayRef* waypoint_of(const Service& service, RouteRandom& random) {
  std::uint64_t total = 0;
  for (const WeightedWaypoint& one : service.weighted_waypoints) total += one.weight;
  if (total == 0) return service.waypoint ? &*service.waypoint : nullptr;
  std::uint64_t drawn = pick_below(total, random);
  for (const WeightedWaypoint& one : service.weighted_waypoints) {
    if (drawn < one.weight) return &one.destination;
    drawn -= one.weight;
  }
  return nullptr;
}

}  // namespace culvert::state
