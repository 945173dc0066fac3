// SPDX-License-Identifier: Apache-2.0
// The outbound decision. The order of its steps is the one that peers of the mesh expect; docs/hbone.md, "Where a connection goes". Pure.
#include "state/route.hpp"

#include <algorithm>
#include <utility>

#include "culvert/abi/limits.h"
#include "state/route_choice.hpp"

namespace culvert::state {
namespace {

class Decision {
 public:
  Decision(const Snapshot& snapshot, const RouteSource& source, const Endpoint& destination, RouteRandom& random)
      : snapshot_(snapshot), source_(source), dialled_(destination), random_(random) {}

  [[nodiscard]] Route make() {
    if (!snapshot_.tells_who_is_not()) {
      return refuse(RouteRefusal::NotKnownYet, nullptr, "before the first complete state");
    }
    if (const auto wanted = lacking(snapshot_, {}, dialled_.address)) return ask(*wanted, nullptr);
    const Service* service =
        snapshot_.find_owner(snapshot_.network(), dialled_.address, source_.namespace_name).service;
    if (service != nullptr && snapshot_.traits(*service).has_waypoint) {
      const GatewayRef* waypoint = waypoint_of(*service, random_);
      if (waypoint != nullptr) return to_waypoint(*waypoint, service, service);
    }
    const Found found = find_upstream(snapshot_, source_, source_.network, dialled_, PortRule::Standard, random_);
    if (found.upstream.workload == nullptr) return to_nobody(found, service);
    if (found.upstream.service == nullptr) service = nullptr;
    const WorkloadEntry& workload = *found.upstream.workload;
    if (is_remote(found.upstream)) {
      return to_network(found.upstream, service, "endpoint in another network, through its gateway");
    }
    if (service == nullptr && workload.traits().has_waypoint) {
      if (const auto wanted = lacking(snapshot_, *workload.waypoint())) return ask(*wanted, nullptr);
      if (!is_from_waypoint(*workload.waypoint()))
        return to_waypoint(*workload.waypoint(), nullptr, found.upstream.service, &workload);
    }
    return to_endpoint(found.upstream);
  }

 private:
  [[nodiscard]] bool is_remote(const Upstream& upstream) const noexcept {
    return upstream.workload->traits().network != snapshot_.network_number(source_.network);
  }

  [[nodiscard]] Route refuse(RouteRefusal refusal, const Service* service, std::string_view why) const noexcept {
    Route route;
    route.kind = RouteKind::Refused;
    route.refusal = refusal;
    route.next_hop = dialled_;
    route.service = service;
    route.why = why;
    return route;
  }

  [[nodiscard]] Route ask(const Wanted& wanted, const Service* service) const noexcept {
    Route route;
    route.kind = RouteKind::Ask;
    route.wanted = wanted;
    route.next_hop = dialled_;
    route.service = service;
    route.why = "not known yet: the control plane is asked";
    return route;
  }

  [[nodiscard]] Route to_nobody(const Found& found, const Service* service) const noexcept {
    if (service != nullptr && service->lb_mode != LbMode::Passthrough) {
      return refuse(RouteRefusal::NoHealthyUpstream, service, "service without a usable endpoint for this port");
    }
    Route route;
    route.next_hop = dialled_;
    route.service = service;
    route.why = found.is_passthrough ? "service that lets everything pass" : "not in the mesh";
    return route;
  }

  // Puts the address of `route.workload` into next_hop, or asks for DNS. False: it has neither.
  [[nodiscard]] bool set_next_hop(Route& route, const Upstream& upstream, const IpAddress& towards) const noexcept {
    const IpAddress* address =
        upstream.is_dialled ? &towards : choose_address(snapshot_, *upstream.workload, upstream.service, towards);
    route.workload = upstream.workload;
    if (upstream.service != nullptr) route.accepted = upstream.service->subject_alt_names;
    if (address != nullptr) {
      route.next_hop.address = *address;
      return true;
    }
    if (upstream.workload->hostname().empty()) return false;
    route.dns_name = upstream.workload->hostname();
    route.kind_resolved = std::exchange(route.kind, RouteKind::Resolve);
    return true;
  }

  // `addressed`: the service that was dialled; null where a workload was. `service`: the one that the connection counts for.
  [[nodiscard]] Route to_waypoint(const GatewayRef& reference, const Service* addressed, const Service* service,
                                  const WorkloadEntry* destination = nullptr) {
    if (const auto wanted = lacking(snapshot_, reference)) return ask(*wanted, service);
    const Gateway waypoint = find_gateway(snapshot_, source_, reference, dialled_.address, PortRule::Waypoint, random_);
    if (waypoint.upstream.workload == nullptr) {
      return refuse(RouteRefusal::UnknownWaypoint, service, "its waypoint is unknown or has no usable endpoint");
    }
    if (is_remote(waypoint.upstream)) {
      Route route = to_network(waypoint.upstream, addressed, "waypoint in another network, through its gateway");
      route.is_waypoint = true;
      route.destination = nullptr;
      return route;
    }
    Route route;
    route.kind = RouteKind::Tunnel;
    route.next_hop.port = waypoint.upstream.port;
    if (!set_next_hop(route, waypoint.upstream, waypoint.towards)) {
      return refuse(RouteRefusal::UnknownWaypoint, service, "its waypoint has no address of a usable family");
    }
    route.target = dialled_;
    route.service = service;
    route.destination = destination;
    route.is_waypoint = true;
    route.why = addressed != nullptr ? "waypoint of the service" : "waypoint of the workload";
    return route;
  }

  // `far`: what was chosen in the other network.
  [[nodiscard]] Route to_network(const Upstream& far, const Service* addressed, std::string_view why) {
    if (addressed == nullptr) {
      return refuse(RouteRefusal::NoServiceForNetwork, nullptr,
                    "in another network, which is reached by services only");
    }
    if (!far.workload->network_gateway()) {
      return refuse(RouteRefusal::UnknownGateway, addressed, "in another network without a gateway");
    }
    if (const auto wanted = lacking(snapshot_, *far.workload->network_gateway())) return ask(*wanted, addressed);
    const Gateway gateway = find_gateway(snapshot_, source_, *far.workload->network_gateway(), dialled_.address,
                                         PortRule::Standard, random_);
    if (gateway.upstream.workload == nullptr) {
      return refuse(RouteRefusal::UnknownGateway, addressed,
                    "the gateway of its network is unknown or has no endpoint");
    }
    Route route;
    route.kind = RouteKind::Gateway;
    route.next_hop.port = gateway.upstream.port;
    if (!set_next_hop(route, gateway.upstream, gateway.towards)) {
      return refuse(RouteRefusal::UnknownGateway, addressed, "the gateway of its network has no address");
    }
    route.authority_host = addressed->hostname;
    route.authority_port = dialled_.port;
    if (far.service != nullptr) route.inner_accepted = far.service->subject_alt_names;
    route.service = addressed;
    route.destination = far.workload;
    route.why = why;
    return route;
  }

  [[nodiscard]] Route to_endpoint(const Upstream& upstream) const noexcept {
    const bool has_tunnel = upstream.workload->traits().has_tunnel;
    Route route;
    route.kind = has_tunnel ? RouteKind::Tunnel : RouteKind::Plain;
    route.next_hop.port = has_tunnel ? CV_PORT_TUNNEL : upstream.port;
    if (!set_next_hop(route, upstream, dialled_.address)) {
      return refuse(RouteRefusal::NoHealthyUpstream, upstream.service,
                    "the endpoint has no address of a usable family");
    }
    if (has_tunnel) route.target = {route.next_hop.address, upstream.port};
    route.service = upstream.service;
    route.destination = upstream.workload;
    route.why = upstream.service != nullptr ? "endpoint of the service" : "workload";
    return route;
  }

  // A waypoint's own connection to what it guards must not come back to it.
  [[nodiscard]] bool is_from_waypoint(const GatewayRef& reference) const noexcept {
    if (source_.identity == nullptr) return false;
    const auto is_source = [this](const WorkloadEntry& workload) {
      return std::ranges::find(workload.addresses(), source_.address) != workload.addresses().end() &&
             workload.identity() == *source_.identity;
    };
    const Referent referent = find_referent(snapshot_, reference);
    if (referent.workload != nullptr) return is_source(*referent.workload);
    if (referent.service == nullptr) return false;
    return std::ranges::any_of(snapshot_.all_endpoints(*referent.service),
                               [&](const EndpointRow& row) { return is_source(snapshot_.workload(row.workload)); });
  }

  const Snapshot& snapshot_;
  const RouteSource& source_;
  const Endpoint& dialled_;
  RouteRandom& random_;
};

}  // namespace

std::string_view to_string(RouteRefusal refusal) noexcept {
  switch (refusal) {
    case RouteRefusal::None: return "not refused";
    case RouteRefusal::NoHealthyUpstream: return "the service has no healthy endpoint for this port";
    case RouteRefusal::UnknownWaypoint: return "the waypoint that must be passed is unknown or has no endpoint";
    case RouteRefusal::UnknownGateway: return "no gateway to the destination's network is known";
    case RouteRefusal::NoServiceForNetwork: return "another network is reached by services only";
    case RouteRefusal::NotKnownYet: return "the control plane has not yet said who is in the mesh";
  }
  return "";
}

HboneNeed hbone_need(const Route& route) noexcept {
  if (route.kind == RouteKind::Gateway) return HboneNeed::Name;
  if (route.kind != RouteKind::Tunnel) return HboneNeed::None;
  if (route.is_waypoint) return HboneNeed::Waypoint;
  return route.workload->traits().has_application_tunnel ? HboneNeed::ApplicationTunnel : HboneNeed::None;
}

std::string_view to_string(HboneNeed need) noexcept {
  switch (need) {
    case HboneNeed::None: return "";
    case HboneNeed::Name: return "h2: a gateway is asked for a name";
    case HboneNeed::Waypoint: return "h2: a waypoint is asked for what is behind it";
    case HboneNeed::ApplicationTunnel: return "h2: the workload has an application tunnel";
  }
  return "";
}

Route route(const Snapshot& snapshot, const RouteSource& source, const Endpoint& destination, RouteRandom& random) {
  return Decision(snapshot, source, destination, random).make();
}

Route route_resolved(const Snapshot& /*snapshot*/, const RouteSource& /*source*/, const Route& unresolved,
                     const IpAddress& address) {
  Route resolved = unresolved;
  resolved.kind = unresolved.kind_resolved;
  resolved.next_hop.address = address;
  // A waypoint and a gateway are asked for what was dialled, an endpoint for itself.
  if (resolved.kind == RouteKind::Tunnel && !resolved.is_waypoint) resolved.target.address = address;
  return resolved;
}

}  // namespace culvert::state
