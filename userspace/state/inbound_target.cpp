// SPDX-License-Identifier: Apache-2.0
// What a tunnel peer may ask a workload for, and what it means there. Pure.
#include <algorithm>

#include "state/route_choice.hpp"

namespace culvert::state {
namespace {

constexpr std::uint16_t kBadRequest = 400;
constexpr std::uint16_t kUnavailable = 503;

InboundTarget refused(std::uint16_t status) noexcept {
  InboundTarget target;
  target.status = status;
  return target;
}

bool has_endpoint(const Snapshot& snapshot, const Service& service, const Workload& workload) noexcept {
  return std::ranges::any_of(snapshot.all_endpoints(service),
                             [&](const EndpointRow& row) { return &snapshot.workload(row.workload) == &workload; });
}

// Whether who has `address` names this workload as its waypoint.
bool is_waypoint_for(const Snapshot& snapshot, const Workload& local, const IpAddress& local_address,
                     const IpAddress& address) {
  const Workload* workload = snapshot.find(address);
  const Service* service = workload != nullptr ? nullptr : snapshot.find_vip(snapshot.network(), address, std::nullopt);
  const std::optional<GatewayRef>* waypoint = workload != nullptr  ? &workload->waypoint
                                              : service != nullptr ? &service->waypoint
                                                                   : nullptr;
  if (waypoint == nullptr || !*waypoint) return false;
  const Referent referent = find_referent(snapshot, **waypoint);
  if (referent.service != nullptr) return has_endpoint(snapshot, *referent.service, local);
  return referent.workload != nullptr &&
         std::ranges::find(referent.workload->addresses, local_address) != referent.workload->addresses.end();
}

const std::vector<ServicePort>* own_ports(const Service& service, const Workload& local) noexcept {
  for (const ServiceMembership& one : local.services) {
    if (one.hostname == service.hostname && one.namespace_name == service.namespace_name) return &one.ports;
  }
  const auto found = std::ranges::find(service.endpoints, local.uid, &ServiceEndpoint::workload_uid);
  return found == service.endpoints.end() ? nullptr : &found->ports;
}

// The port behind a service's, for this endpoint of it; 0: none.
std::uint16_t port_behind(const Service& service, const Workload& local, std::uint16_t port) noexcept {
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
    const int rank = vip.network != snapshot.network() ? 0 : vip.address.is_v4() ? 2 : 1;
    if (rank <= best_rank) continue;
    best = &vip.address;
    best_rank = rank;
  }
  return best;
}

InboundTarget accepted(const Workload& local, const IpAddress& local_address, std::uint16_t port,
                       const Endpoint& named) noexcept {
  InboundTarget target;
  target.destination = {local_address, port};
  if (!local.application_tunnel) return target;
  if (local.application_tunnel->port != 0) target.destination.port = local.application_tunnel->port;
  if (!local.application_tunnel->has_proxy_header) return target;
  target.wants_proxy_header = true;
  target.proxy_destination = named;
  // Such an application listens on loopback only, so that nobody gets past the agent and forges the header.
  target.destination.address = IpAddress::parse(local_address.is_v4() ? "127.0.0.1" : "::1").value_or(local_address);
  return target;
}

}  // namespace

InboundTarget inbound_target(const Snapshot& snapshot, const Workload* local, const IpAddress& local_address,
                             const Endpoint& authority) {
  if (local == nullptr) return refused(kUnavailable);
  if (authority.address != local_address && !local->application_tunnel &&
      !is_waypoint_for(snapshot, *local, local_address, authority.address)) {
    return refused(kBadRequest);
  }
  return accepted(*local, local_address, authority.port, authority);
}

InboundTarget inbound_target(const Snapshot& snapshot, const Workload* local, const IpAddress& local_address,
                             std::string_view authority_host, std::uint16_t authority_port) {
  if (local == nullptr) return refused(kUnavailable);
  const Service* service = snapshot.find_hostname(authority_host, local->namespace_name);
  if (service == nullptr) return refused(kUnavailable);
  const std::uint16_t port = port_behind(*service, *local, authority_port);
  if (port == 0) return refused(kUnavailable);
  Endpoint named{{}, authority_port};
  if (local->application_tunnel && local->application_tunnel->has_proxy_header) {
    const IpAddress* address = address_of(snapshot, *service);
    if (address == nullptr) return refused(kUnavailable);
    named.address = *address;
  }
  return accepted(*local, local_address, port, named);
}

}  // namespace culvert::state
