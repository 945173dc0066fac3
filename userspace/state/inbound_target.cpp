// SPDX-License-Identifier: Apache-2.0
// What a tunnel peer may ask a workload for, and what it means there. Pure.
#include <algorithm>

#include "state/route_choice.hpp"

namespace culvert::state {
namespace {

constexpr std::uint16_t kBadRequest = 400;
constexpr std::uint16_t kUnavailable = 503;

InboundTarget refused(std::uint16_t status, const std::optional<Wanted>& wanted = std::nullopt) noexcept {
  InboundTarget target;
  target.status = status;
  target.wanted = wanted;
  return target;
}

bool has_endpoint(const Snapshot& snapshot, const Service& service, const WorkloadEntry& workload) noexcept {
  return std::ranges::any_of(snapshot.all_endpoints(service),
                             [&](const EndpointRow& row) { return &snapshot.workload(row.workload) == &workload; });
}

// Calls `is_it` for each waypoint that who has `address` names, until it says yes. Peers differ in whom they look for first where a workload
// and a service have one address.
template <typename Predicate>
bool any_waypoint_at(const Snapshot& snapshot, const IpAddress& address, Predicate&& is_it) {
  const WorkloadEntry* workload = snapshot.find(address);
  if (workload != nullptr && workload->waypoint() && is_it(*workload->waypoint())) return true;
  const Service* service = snapshot.find_vip(snapshot.network(), address, std::nullopt);
  if (service == nullptr) return false;
  if (service->waypoint && is_it(*service->waypoint)) return true;
  return std::ranges::any_of(service->weighted_waypoints, is_it, &WeightedWaypoint::destination);
}

// What is to be known before it can be said whose waypoint is meant.
std::optional<Wanted> lacking_of_waypoint(const Snapshot& snapshot, const IpAddress& address) {
  std::optional<Wanted> wanted = lacking(snapshot, {}, address);
  if (wanted) return wanted;
  static_cast<void>(any_waypoint_at(snapshot, address, [&](const GatewayRef& waypoint) {
    wanted = lacking(snapshot, waypoint);
    return wanted.has_value();
  }));
  return wanted;
}

// A service is asked for by its namespace, which the workload says of its own.
std::optional<Wanted> lacking_service(const Snapshot& snapshot, const WorkloadEntry& local, std::string_view hostname) {
  const auto own = std::ranges::find(local.services(), hostname, &ServiceMembership::hostname);
  if (own == local.services().end()) return std::nullopt;
  return lacking(snapshot, Wanted{own->namespace_name, own->hostname, {}});
}

// Whether who has `address` names this workload as its waypoint.
bool is_waypoint_for(const Snapshot& snapshot, const WorkloadEntry& local, const IpAddress& local_address,
                     const IpAddress& address) {
  return any_waypoint_at(snapshot, address, [&](const GatewayRef& waypoint) {
    const Referent referent = find_referent(snapshot, waypoint);
    if (referent.service != nullptr) return has_endpoint(snapshot, *referent.service, local);
    return referent.workload != nullptr &&
           std::ranges::find(referent.workload->addresses(), local_address) != referent.workload->addresses().end();
  });
}

const std::vector<ServicePort>* own_ports(const Service& service, const WorkloadEntry& local) noexcept {
  for (const ServiceMembership& one : local.services()) {
    if (one.hostname == service.hostname && one.namespace_name == service.namespace_name) return &one.ports;
  }
  const auto found = std::ranges::find(service.endpoints, local.uid(), &ServiceEndpoint::workload_uid);
  return found == service.endpoints.end() ? nullptr : &found->ports;
}

// The port behind a service's, for this endpoint of it; 0: none.
std::uint16_t port_behind(const Service& service, const WorkloadEntry& local, std::uint16_t port) noexcept {
  const auto in = [port](const std::vector<ServicePort>& ports) {
    const auto found = std::ranges::find(ports, port, &ServicePort::port);
    return found == ports.end() ? std::uint16_t{0} : found->target_port;
  };
  if (const std::vector<ServicePort>* ports = own_ports(service, local); ports != nullptr) {
    if (const std::uint16_t own = in(*ports); own != 0) return own;
  }
  return in(service.ports);
}

// A PROXY header has no names: the virtual address that stands for the service. This network's is preferred, and in it IPv4.
const IpAddress* address_of(const Snapshot& snapshot, const Service& service) noexcept {
  const IpAddress* best = nullptr;
  int best_rank = -1;
  for (const NetworkAddress& vip : service.vips) {
    if (!vip.is_whole()) continue;  // a range
    const int rank = vip.network != snapshot.network() ? 0 : vip.address.is_v4() ? 2 : 1;
    if (rank <= best_rank) continue;
    best = &vip.address;
    best_rank = rank;
  }
  return best;
}

InboundTarget accepted(const WorkloadEntry& local, const IpAddress& local_address, std::uint16_t port,
                       const Endpoint& named) noexcept {
  InboundTarget target;
  target.destination = {local_address, port};
  if (!local.application_tunnel()) return target;
  if (local.application_tunnel()->port != 0) target.destination.port = local.application_tunnel()->port;
  if (!local.application_tunnel()->has_proxy_header) return target;
  target.wants_proxy_header = true;
  target.proxy_destination = named;
  // Such an application listens on loopback only, so that nobody gets past the agent and forges the header.
  target.destination.address = IpAddress::parse(local_address.is_v4() ? "127.0.0.1" : "::1").value_or(local_address);
  return target;
}

bool has_port(const Service& service, const WorkloadEntry& local, std::uint16_t port) noexcept {
  const auto is_behind = [&](const ServicePort& one) {
    return one.target_port == port || port_behind(service, local, one.port) == port;
  };
  return std::ranges::any_of(service.ports, is_behind);
}

}  // namespace

const Service* inbound_service(const Snapshot& snapshot, const WorkloadEntry& local, std::string_view host,
                               std::uint16_t port) {
  const Service* first = nullptr;
  for (const ServiceMembership& one : local.services()) {
    if (first != nullptr && one.hostname != host) continue;
    const Service* service = snapshot.find_service(one.namespace_name, one.hostname);
    if (service == nullptr) continue;
    if (one.hostname == host) return service;
    if (has_port(*service, local, port)) first = service;
  }
  if (first != nullptr || host.empty()) return first;
  // A mesh that is written down names the endpoints with the service.
  const Service* named = snapshot.find_hostname(host, local.namespace_name());
  if (named == nullptr) return nullptr;
  return std::ranges::find(named->endpoints, local.uid(), &ServiceEndpoint::workload_uid) == named->endpoints.end()
             ? nullptr
             : named;
}

InboundTarget inbound_target(const Snapshot& snapshot, const WorkloadEntry* local, const IpAddress& local_address,
                             const Endpoint& authority) {
  if (local == nullptr) return refused(kUnavailable);
  if (authority.address != local_address && !local->application_tunnel() &&
      !is_waypoint_for(snapshot, *local, local_address, authority.address)) {
    return refused(kBadRequest, lacking_of_waypoint(snapshot, authority.address));
  }
  return accepted(*local, local_address, authority.port, authority);
}

InboundTarget inbound_target(const Snapshot& snapshot, const WorkloadEntry* local, const IpAddress& local_address,
                             std::string_view authority_host, std::uint16_t authority_port) {
  if (local == nullptr) return refused(kUnavailable);
  const Service* service = snapshot.find_hostname(authority_host, local->namespace_name());
  if (service == nullptr) return refused(kUnavailable, lacking_service(snapshot, *local, authority_host));
  const std::uint16_t port = port_behind(*service, *local, authority_port);
  if (port == 0) return refused(kUnavailable);
  Endpoint named{{}, authority_port};
  if (local->application_tunnel() && local->application_tunnel()->has_proxy_header) {
    const IpAddress* address = address_of(snapshot, *service);
    if (address == nullptr) return refused(kUnavailable);
    named.address = *address;
  }
  return accepted(*local, local_address, port, named);
}

}  // namespace culvert::state
