// SPDX-License-Identifier: Apache-2.0
// The keys of `mesh`, `pods` and of exclusions. All apply while the agent runs. Pure.
#include "control/config_mesh_fields.hpp"

#include "control/config_mesh_values.hpp"

namespace culvert::control {
namespace {

constexpr Applies kLive = Applies::Live;
constexpr bool kRequired = true;
constexpr std::size_t kNameMax = 253;
constexpr std::size_t kPodIdMax = 128;

const Words<state::PeerAuthMode> kPeerAuthWords = {{"PERMISSIVE", state::PeerAuthMode::Permissive},
                                                   {"STRICT", state::PeerAuthMode::Strict}};
const Words<state::Protocol> kProtocolWords = {{"HBONE", state::Protocol::Tunnel}, {"TCP", state::Protocol::Tcp}};
const Words<bool> kHealthWords = {{"HEALTHY", true}, {"UNHEALTHY", false}};
const Words<bool> kApplicationWords = {{"NONE", false}, {"PROXY", true}};
const Words<EnrolMode> kEnrolWords = {{"all", EnrolMode::All}, {"listed", EnrolMode::Listed}};

void visit_namespace(FieldVisitor& v, NamespaceConfig& item) {
  v.scalar({"name", kLive, "The namespace.", kRequired}, name_value(item.name, kNameMax));
  v.scalar({"peer_authentication", kLive, "For its workloads; mesh.peer_authentication when not given."},
           choice_value(item.peer_authentication, kPeerAuthWords));
  v.scalar({"enrol", kLive, "Whether its pods join; as mesh.enrol says when not given."}, boolean_value(item.enrol));
}

void visit_application_tunnel(FieldVisitor& v, ApplicationTunnelConfig& tunnel) {
  v.scalar({"protocol", kLive,
            "What the application wants in front: nothing, or a PROXY header (then it listens on loopback)."},
           choice_value(tunnel.has_proxy_header, kApplicationWords));
  v.scalar({"port", kLive, "Its port; the one that was asked for when not given."}, port_value(tunnel.port));
}

void visit_locality(FieldVisitor& v, LocalityConfig& locality) {
  v.scalar({"region", kLive, "Its region."}, name_value(locality.region, kNameMax, true));
  v.scalar({"zone", kLive, "Its zone."}, name_value(locality.zone, kNameMax, true));
  v.scalar({"subzone", kLive, "Its subzone."}, name_value(locality.subzone, kNameMax, true));
}

void visit_workload(FieldVisitor& v, WorkloadConfig& item) {
  v.scalar({"name", kLive, "Unique in its namespace.", kRequired}, name_value(item.name, kNameMax));
  v.scalar({"namespace", kLive, "Its namespace."}, name_value(item.namespace_name, kNameMax));
  v.scalar({"service_account", kLive, "With the namespace it makes the SPIFFE identity."},
           name_value(item.service_account, kNameMax));
  v.scalar({"node", kLive, "The node that it runs on."}, name_value(item.node, kNameMax, true));
  v.scalar({"network", kLive, "Its network; this agent's when not given."}, name_value(item.network, kNameMax, true));
  v.scalar({"protocol", kLive, "HBONE: reached through a tunnel to port 15008. TCP: as it is."},
           choice_value(item.protocol, kProtocolWords));
  v.list({"addresses", kLive, "Its IP addresses, in no other workload of its network; not needed with a hostname."},
         address_list(item.addresses, kAddressesMax));
  v.scalar({"hostname", kLive, "Asked of DNS where it has no address; also a name for references to it."},
           name_value(item.hostname, kNameMax));
  v.scalar(
      {"waypoint", kLive, "The proxy that connections to its address pass; they are refused where it cannot be had."},
      reference_value(item.waypoint));
  v.scalar({"network_gateway", kLive, "How it is reached from other networks."}, reference_value(item.network_gateway));
  v.section("application_tunnel", "Its application takes all connections on one port, as a waypoint does.",
            [&item](FieldVisitor& inner) { visit_application_tunnel(inner, item.application_tunnel); });
  v.section("locality", "Where it runs, for services that prefer endpoints nearby.",
            [&item](FieldVisitor& inner) { visit_locality(inner, item.locality); });
  v.scalar({"capacity", kLive, "Its share of a service's connections; 0: none."},
           integer_value(item.capacity, 0, 0xffff'ffff));
  v.scalar({"health", kLive, "UNHEALTHY: no service uses it, unless its health_policy is ALLOW_ALL."},
           choice_value(item.is_healthy, kHealthWords));
  v.scalar({"peer_authentication", kLive, "For connections to it; its namespace's when not given."},
           choice_value(item.peer_authentication, kPeerAuthWords));
  v.scalar({"cluster", kLive, "Its cluster; this agent's when not given."}, name_value(item.cluster, kNameMax));
  v.scalar({"canonical_name", kLive, "For telemetry; name when not given."}, name_value(item.canonical_name, kNameMax));
  v.scalar({"canonical_revision", kLive, "For telemetry; latest when not given."},
           name_value(item.canonical_revision, kNameMax));
}

void visit_pod(FieldVisitor& v, PodConfig& item) {
  v.scalar({"id", kLive, "Names the pod to the agent; unique.", kRequired}, name_value(item.id, kPodIdMax));
  v.scalar({"netns", kLive, "Its network namespace, such as /run/netns/NAME.", kRequired}, path_value(item.netns));
  v.scalar({"name", kLive, "The pod's name; id when not given."}, name_value(item.name, kNameMax));
  v.scalar({"namespace", kLive, "Its namespace."}, name_value(item.namespace_name, kNameMax));
  v.scalar({"service_account", kLive, "With the namespace it makes the SPIFFE identity."},
           name_value(item.service_account, kNameMax));
  v.list({"addresses", kLive, "Its IP addresses; those of its devices when not given."},
         address_list(item.addresses, kAddressesMax));
  visit_exclusions(v, item.exclude);
  v.scalar({"bypass_inbound", kLive, "Plaintext that enters the pod is not taken."},
           boolean_value(item.bypass_inbound));
  v.scalar({"answer_syn", kLive, "When the SYN of its connections is answered; as capture.answer_syn when not given."},
           choice_value(item.answer_syn, kAnswerSynChoices));
}

}  // namespace

std::string endpoint_uid(const ServiceConfig& service, const EndpointConfig& endpoint) {
  return endpoint.workload.find('/') == std::string::npos ? service.namespace_name + "/" + endpoint.workload
                                                          : endpoint.workload;
}

std::string selected_uid(const PolicyConfig& policy, const std::string& workload) {
  return workload.find('/') == std::string::npos ? policy.namespace_name + "/" + workload : workload;
}

std::string_view to_string(EnrolMode mode) noexcept { return mode == EnrolMode::All ? "all" : "listed"; }

void visit_exclusions(FieldVisitor& v, Exclusions& exclusions) {
  v.section("exclude_ports", "TCP ports that are left alone.", [&exclusions](FieldVisitor& inner) {
    inner.list({"inbound", kLive, "Ports of the pod."}, port_list(exclusions.ports_inbound));
    inner.list({"outbound", kLive, "Ports that the pod connects to."}, port_list(exclusions.ports_outbound));
  });
  v.section("exclude_cidrs", "Address ranges that are left alone.", [&exclusions](FieldVisitor& inner) {
    inner.list({"inbound", kLive, "Clients of the pod."}, cidr_list(exclusions.cidrs_inbound));
    inner.list({"outbound", kLive, "Destinations of the pod."}, cidr_list(exclusions.cidrs_outbound));
  });
}

void visit_mesh(FieldVisitor& v, MeshConfig& mesh) {
  v.scalar({"peer_authentication", kLive, "STRICT: a client without an identity is refused."},
           choice_value(mesh.peer_authentication, kPeerAuthWords));
  v.scalar(
      {"enrol", kLive, "all: every pod joins, except in namespaces with enrol false. listed: only with enrol true."},
      choice_value(mesh.enrol, kEnrolWords));
  v.items({"namespaces", kLive, "What differs from the mesh's defaults."},
          items_of(mesh.namespaces, kNamespacesMax, visit_namespace));
  v.items({"workloads", kLive, "Every workload of the mesh, on all nodes."},
          items_of(mesh.workloads, kWorkloadsMax, visit_workload));
  v.items({"services", kLive, "Virtual addresses and hostnames, and the workloads that serve them."},
          items_of(mesh.services, kServicesMax, visit_service));
  v.items({"policies", kLive, "Who may connect to whom, as authorization policies; docs/policy.md."},
          items_of(mesh.policies, kPoliciesMax, visit_policy));
}

void visit_pods(FieldVisitor& v, std::vector<PodConfig>& pods) {
  v.items({"pods", kLive, "Pods of this node that the agent joins by itself."}, items_of(pods, kPodsMax, visit_pod));
}

}  // namespace culvert::control
