// SPDX-License-Identifier: Apache-2.0
// The keys of `mesh.services`. All apply while the agent runs. Pure.
#include "control/config_mesh_fields.hpp"
#include "control/config_mesh_values.hpp"

namespace culvert::control {
namespace {

constexpr Applies kLive = Applies::Live;
constexpr bool kRequired = true;
constexpr std::size_t kNameMax = 253;
constexpr std::size_t kIdentitiesMax = 64;

const Words<state::LbMode> kModeWords = {{"UNSPECIFIED", state::LbMode::Unspecified},
                                         {"STRICT", state::LbMode::Strict},
                                         {"FAILOVER", state::LbMode::Failover},
                                         {"PASSTHROUGH", state::LbMode::Passthrough}};
const Words<state::LbScope> kScopeWords = {{"REGION", state::LbScope::Region},   {"ZONE", state::LbScope::Zone},
                                           {"SUBZONE", state::LbScope::Subzone}, {"NODE", state::LbScope::Node},
                                           {"CLUSTER", state::LbScope::Cluster}, {"NETWORK", state::LbScope::Network}};
const Words<state::HealthPolicy> kHealthWords = {{"ONLY_HEALTHY", state::HealthPolicy::OnlyHealthy},
                                                 {"ALLOW_ALL", state::HealthPolicy::AllowAll}};
const Words<state::IpFamilies> kFamilyWords = {{"AUTOMATIC", state::IpFamilies::Automatic},
                                               {"IPV4_ONLY", state::IpFamilies::V4Only},
                                               {"IPV6_ONLY", state::IpFamilies::V6Only},
                                               {"DUAL", state::IpFamilies::Dual}};
const Words<state::Visibility> kVisibilityWords = {{"PUBLIC", state::Visibility::Public},
                                                   {"NAMESPACE", state::Visibility::Namespace}};

void visit_port(FieldVisitor& v, PortConfig& item) {
  v.scalar({"port", kLive, "What clients dial.", kRequired}, port_value(item.port));
  v.scalar({"target_port", kLive, "The endpoints' port; port when not given, 0 where each endpoint says its own."},
           port_value(item.target_port));
}

void visit_endpoint_port(FieldVisitor& v, PortConfig& item) {
  v.scalar({"port", kLive, "A port of the service.", kRequired}, port_value(item.port));
  v.scalar({"target_port", kLive, "This endpoint's port for it; port when not given."}, port_value(item.target_port));
}

void visit_endpoint(FieldVisitor& v, EndpointConfig& item) {
  v.scalar({"workload", kLive, "A workload of mesh.workloads or a pod of pods; without a namespace, the service's.",
            kRequired},
           workload_value(item.workload));
  v.items({"ports", kLive, "Where this endpoint differs from the service."},
          items_of(item.ports, kPortsMax, visit_endpoint_port));
}

void visit_load_balancing(FieldVisitor& v, LoadBalancingConfig& item) {
  v.scalar({"mode", kLive,
            "STRICT: only endpoints that meet every preference. FAILOVER: those that meet most in a row. PASSTHROUGH: "
            "what was "
            "dialled, as it is."},
           choice_value(item.mode, kModeWords));
  v.list({"routing_preference", kLive, "Where endpoints shall be like the client, the most important first."},
         choice_list(item.routing_preference, kScopeWords));
  v.scalar({"health_policy", kLive, "Whether endpoints that are not healthy are used."},
           choice_value(item.health_policy, kHealthWords));
}

}  // namespace

void visit_service(FieldVisitor& v, ServiceConfig& item) {
  v.scalar({"name", kLive, "Unique in its namespace.", kRequired}, name_value(item.name, kNameMax));
  v.scalar({"namespace", kLive, "Its namespace."}, name_value(item.namespace_name, kNameMax));
  v.scalar({"hostname", kLive, "Unique in its namespace; NAME.NAMESPACE.svc.cluster.local when not given."},
           name_value(item.hostname, kNameMax));
  v.list({"addresses", kLive, "Its virtual addresses; ADDRESS, or NETWORK/ADDRESS of another network."},
         virtual_address_list(item.addresses, kAddressesMax));
  v.items({"ports", kLive, "What clients may dial."}, items_of(item.ports, kPortsMax, visit_port));
  v.items({"endpoints", kLive, "The workloads that serve it."},
          items_of(item.endpoints, kWorkloadsMax, visit_endpoint));
  v.list({"subject_alt_names", kLive, "Identities that its endpoints may have beside their own."},
         identity_list(item.subject_alt_names, kIdentitiesMax));
  v.scalar({"waypoint", kLive, "The proxy that connections to it pass; they are refused where it cannot be had."},
           reference_value(item.waypoint));
  v.section("load_balancing", "How an endpoint is chosen; among equals, by capacity.",
            [&item](FieldVisitor& inner) { visit_load_balancing(inner, item.load_balancing); });
  v.scalar({"ip_families", kLive, "Which addresses of its endpoints are used."},
           choice_value(item.ip_families, kFamilyWords));
  v.scalar({"visibility", kLive, "NAMESPACE: only clients of its namespace know it."},
           choice_value(item.visibility, kVisibilityWords));
}

}  // namespace culvert::control
