// SPDX-License-Identifier: Apache-2.0
// Workloads and services; see dump_objects.hpp.
#include "admin/dump_objects.hpp"

#include <array>
#include <memory>
#include <optional>

#include <fmt/format.h>

namespace culvert::admin {
namespace {

std::string_view or_own(std::string_view network, std::string_view own_network) {
  return network.empty() ? own_network : network;
}

std::string address_text(const state::NetworkAddress& address, std::string_view own_network) {
  return fmt::format("{}/{}", or_own(address.network, own_network), address.address.to_string());
}

// `reference`: optional.
template <typename Reference>
void write_gateway(JsonWriter& json, std::string_view name, const Reference& reference, std::string_view own_network) {
  if (!reference.has_value()) return;
  json.key(name)
      .begin_object()
      .field("destination", reference->address ? address_text(*reference->address, own_network)
                                               : reference->namespace_name + "/" + reference->hostname)
      .field("hboneMtlsPort", reference->hbone_port)
      .end_object();
}

std::string_view status_text(bool is_healthy) { return is_healthy ? "Healthy" : "Unhealthy"; }

void write_ports(JsonWriter& json, std::string_view name, std::span<const state::ServicePort> ports) {
  json.key(name).begin_object();
  for (const state::ServicePort& port : ports) json.field(std::to_string(port.port), port.target_port);
  json.end_object();
}

std::string_view mode_text(state::LbMode mode) {
  constexpr std::array<std::string_view, 4> kTexts{"Standard", "Strict", "Failover", "Passthrough"};
  return kTexts[static_cast<std::size_t>(mode)];
}

std::string_view scope_text(state::LbScope scope) {
  constexpr std::array<std::string_view, 6> kTexts{"Region", "Zone", "Subzone", "Node", "Cluster", "Network"};
  return kTexts[static_cast<std::size_t>(scope)];
}

void write_load_balancer(JsonWriter& json, const state::Service& service) {
  const bool only_healthy = service.health_policy == state::HealthPolicy::OnlyHealthy;
  if (service.lb_mode == state::LbMode::Unspecified && service.routing_preference.empty() && only_healthy) return;
  json.key("loadBalancer").begin_object();
  json.key("routingPreferences").begin_array();
  for (const state::LbScope scope : service.routing_preference) json.value(scope_text(scope));
  json.end_array();
  json.field("mode", mode_text(service.lb_mode)).field("healthPolicy", only_healthy ? "OnlyHealthy" : "AllowAll");
  json.end_object();
}

void write_addresses(JsonWriter& json, const state::Service& service, std::string_view own_network) {
  json.key("vips").begin_array();
  bool has_ranges = false;
  for (const state::NetworkAddress& vip : service.vips) {
    if (vip.is_whole()) {
      json.value(address_text(vip, own_network));
    } else {
      has_ranges = true;
    }
  }
  json.end_array();
  if (!has_ranges) return;
  json.key("cidrVips").begin_array();
  for (const state::NetworkAddress& vip : service.vips) {
    if (vip.is_whole()) continue;
    json.begin_object()
        .field("network", or_own(vip.network, own_network))
        .field("cidr", fmt::format("{}/{}", vip.address.to_string(), vip.prefix_bits))
        .end_object();
  }
  json.end_array();
}

std::string membership_text(const state::ServiceMembership& one) { return one.namespace_name + "/" + one.hostname; }

// The object up to its services.
void begin_workload(JsonWriter& json, const state::WorkloadEntry& workload, std::string_view own_network) {
  json.begin_object();
  json.key("workloadIps").begin_array();
  for (const IpAddress& address : workload.addresses()) json.value(address.to_string());
  json.end_array();
  write_gateway(json, "waypoint", workload.waypoint(), own_network);
  write_gateway(json, "networkGateway", workload.network_gateway(), own_network);
  json.field("protocol", state::to_string(workload.protocol()))
      .field("networkMode", workload.is_host_network() ? "HostNetwork" : "Standard")
      .field_unless_empty("uid", workload.uid())
      .field("name", workload.name())
      .field("namespace", workload.namespace_name())
      .field_unless_empty("trustDomain", workload.identity().trust_domain)
      .field_unless_empty("serviceAccount", workload.identity().service_account)
      .field_unless_empty("network", or_own(workload.network(), own_network))
      .field("workloadName", workload.workload_name())
      .field("workloadType", state::to_string(workload.type()))
      .field_unless_empty("canonicalName", workload.canonical_name())
      .field_unless_empty("canonicalRevision", workload.canonical_revision())
      .field_unless_empty("hostname", workload.hostname())
      .field_unless_empty("node", workload.node());
  if (workload.is_tunnel_native()) json.field("nativeTunnel", true);
  if (const auto& tunnel = workload.application_tunnel(); tunnel) {
    json.key("applicationTunnel").begin_object().field("protocol", tunnel->has_proxy_header ? "PROXY" : "NONE");
    if (tunnel->port != 0) json.field("port", tunnel->port);
    json.end_object();
  }
  if (const auto& texts = workload.authorization_policies(); !texts.empty()) json.texts("authorizationPolicies", texts);
  json.field("status", status_text(workload.is_healthy())).field("clusterId", workload.cluster());
  if (!workload.region().empty() || !workload.zone().empty() || !workload.subzone().empty()) {
    json.key("locality")
        .begin_object()
        .field_unless_empty("region", workload.region())
        .field_unless_empty("zone", workload.zone())
        .field_unless_empty("subzone", workload.subzone())
        .end_object();
  }
}

void end_workload(JsonWriter& json, const state::WorkloadEntry& workload) {
  json.field("capacity", workload.capacity()).end_object();
}

}  // namespace

void write_workload(JsonWriter& json, const state::WorkloadEntry& workload, std::string_view own_network) {
  begin_workload(json, workload, own_network);
  if (!workload.services().empty()) {
    json.key("services").begin_array();
    for (const state::ServiceMembership& one : workload.services()) json.value(membership_text(one));
    json.end_array();
  }
  end_workload(json, workload);
}

void write_local_workload(JsonWriter& json, const state::Workload& stated) {
  const auto profile = std::make_shared<const state::SharedProfile>(state::SharedProfile{stated, {}});
  const auto place = std::make_shared<const state::SharedPlace>(state::SharedPlace{stated, {}, {}, {}});
  const state::WorkloadEntry workload(stated, profile, place, 0);
  begin_workload(json, workload, {});
  if (!stated.services.empty()) {
    json.key("services").begin_object();
    for (const state::ServiceMembership& one : stated.services) write_ports(json, membership_text(one), one.ports);
    json.end_object();
  }
  end_workload(json, workload);
}

void begin_service(JsonWriter& json, const state::Service& service, std::string_view own_network) {
  json.begin_object()
      .field("name", service.name)
      .field("namespace", service.namespace_name)
      .field("hostname", service.hostname);
  write_addresses(json, service, own_network);
  write_ports(json, "ports", service.ports);
  json.key("endpoints").begin_object();
}

void write_local_endpoint(JsonWriter& json, const state::ServiceEndpoint& endpoint) {
  json.key(endpoint.workload_uid).begin_object().field("workloadUid", endpoint.workload_uid);
  write_ports(json, "port", endpoint.ports);
  json.end_object();
}

void write_endpoint(JsonWriter& json, std::string_view workload_uid, std::span<const state::ServicePort> ports,
                    bool is_healthy) {
  json.key(workload_uid).begin_object().field("workloadUid", workload_uid);
  write_ports(json, "port", ports);
  json.field("status", status_text(is_healthy)).end_object();
}

void end_service(JsonWriter& json, const state::Service& service, std::string_view own_network) {
  json.end_object();  // the endpoints
  json.key("subjectAltNames").begin_array();
  for (const SpiffeId& name : service.subject_alt_names) json.value(name.to_string());
  json.end_array();
  write_gateway(json, "waypoint", service.waypoint, own_network);
  if (!service.weighted_waypoints.empty()) {
    json.key("weightedWaypoints").begin_array();
    for (const state::WeightedWaypoint& one : service.weighted_waypoints) {
      json.begin_object();
      write_gateway(json, "destination", std::optional(one.destination), own_network);
      json.field("weight", one.weight).end_object();
    }
    json.end_array();
  }
  write_load_balancer(json, service);
  switch (service.ip_families) {
    case state::IpFamilies::Automatic: break;
    case state::IpFamilies::V4Only: json.field("ipFamilies", "IPv4"); break;
    case state::IpFamilies::V6Only: json.field("ipFamilies", "IPv6"); break;
    case state::IpFamilies::Dual: json.field("ipFamilies", "Dual"); break;
  }
  if (service.is_canonical) json.field("canonical", true);
  json.field("visibility", service.visibility == state::Visibility::Public ? "Public" : "Namespace").end_object();
}

}  // namespace culvert::admin
