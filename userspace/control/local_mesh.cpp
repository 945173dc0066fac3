// SPDX-License-Identifier: Apache-2.0
#include "control/local_mesh.hpp"

#include <optional>
#include <utility>

#include "control/local_mesh_policy.hpp"
#include "control/yaml_map.hpp"

namespace culvert::control {
namespace {

const Words<state::Protocol> kProtocols = {{"HBONE", state::Protocol::Tunnel}, {"TCP", state::Protocol::Tcp}};
const Words<bool> kTunnels = {{"NONE", false}, {"PROXY", true}};
const Words<bool> kHealth = {{"Healthy", true}, {"Unhealthy", false}};
const Words<bool> kNetworkModes = {{"Standard", false}, {"HostNetwork", true}};
const Words<state::WorkloadType> kTypes = {{"deployment", state::WorkloadType::Deployment},
                                           {"cronjob", state::WorkloadType::CronJob},
                                           {"pod", state::WorkloadType::Pod},
                                           {"job", state::WorkloadType::Job}};
const Words<state::LbMode> kModes = {{"Standard", state::LbMode::Unspecified},
                                     {"Strict", state::LbMode::Strict},
                                     {"Failover", state::LbMode::Failover},
                                     {"Passthrough", state::LbMode::Passthrough}};
const Words<state::LbScope> kLbScopes = {{"Region", state::LbScope::Region},   {"Zone", state::LbScope::Zone},
                                         {"Subzone", state::LbScope::Subzone}, {"Node", state::LbScope::Node},
                                         {"Cluster", state::LbScope::Cluster}, {"Network", state::LbScope::Network}};
const Words<state::HealthPolicy> kHealthPolicies = {{"OnlyHealthy", state::HealthPolicy::OnlyHealthy},
                                                    {"AllowAll", state::HealthPolicy::AllowAll}};
const Words<state::IpFamilies> kFamilies = {
    {"Dual", state::IpFamilies::Dual}, {"IPv4", state::IpFamilies::V4Only}, {"IPv6", state::IpFamilies::V6Only}};
const Words<state::Visibility> kVisibilities = {{"Public", state::Visibility::Public},
                                                {"Namespace", state::Visibility::Namespace}};

// "NETWORK/ADDRESS", where the network may be empty.
std::optional<state::NetworkAddress> network_address(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = IpAddress::parse(text.substr(slash + 1));
  if (!address) return std::nullopt;
  return state::NetworkAddress{.network = std::string(text.substr(0, slash)), .address = *address};
}

// {destination: NETWORK/ADDRESS or NAMESPACE/HOSTNAME, hboneMtlsPort: PORT}.
std::optional<state::GatewayRef> gateway(YamlMap& parent, const std::string& key) {
  if (!parent.has(key)) return std::nullopt;
  YamlMap map = parent.map(key);
  state::GatewayRef made;
  const std::string destination = map.text("destination");
  made.hbone_port = static_cast<std::uint16_t>(map.number("hboneMtlsPort", 65'535, made.hbone_port));
  map.finish();
  made.address = network_address(destination);
  if (made.address) return made;
  const std::size_t slash = destination.find('/');
  if (slash == std::string::npos || slash + 1 == destination.size()) {
    map.mistake("destination",
                fmt::format("is {}; NETWORK/ADDRESS or NAMESPACE/HOSTNAME is wanted", quoted(destination)));
    return std::nullopt;
  }
  made.namespace_name = destination.substr(0, slash);
  made.hostname = destination.substr(slash + 1);
  return made;
}

// {PORT: TARGET}.
std::vector<state::ServicePort> ports_of(YamlMap& parent, const std::string& key) {
  std::vector<state::ServicePort> made;
  parent.entries(key, [&](const std::string& name, const YAML::Node& value) {
    const auto port = parse_integer(name);
    const auto target = value.IsScalar() ? parse_integer(value.Scalar()) : Result<std::uint64_t>(0);
    if (!port || !target || *port == 0 || *port > 65'535 || *target > 65'535 || !value.IsScalar()) {
      return parent.mistake(key, fmt::format("has the entry {}; PORT: PORT is wanted", quoted(name)));
    }
    made.push_back({static_cast<std::uint16_t>(*port), static_cast<std::uint16_t>(*target)});
  });
  return made;
}

void read_memberships(YamlMap& map, state::Workload& workload) {
  map.entries("services", [&](const std::string& name, const YAML::Node&) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos) {
      return map.mistake("services", fmt::format("has the key {}; NAMESPACE/HOSTNAME is wanted", quoted(name)));
    }
    YamlMap services = map.map("services");
    workload.services.push_back({name.substr(0, slash), name.substr(slash + 1), ports_of(services, name)});
  });
}

state::Workload read_workload(const YAML::Node& node, const std::string& where, std::string_view trust_domain,
                              std::string& error) {
  YamlMap map(node, where, error);
  state::Workload made;
  made.name = map.text("name");
  made.namespace_name = map.text("namespace");
  made.uid = map.text("uid", made.namespace_name + "/" + made.name);
  auto identity =
      SpiffeId::make(map.text("trustDomain", trust_domain), made.namespace_name, map.text("serviceAccount", "default"));
  if (identity) {
    made.identity = *std::move(identity);
  } else {
    map.mistake({}, identity.error().message());
  }
  made.addresses = map.list<IpAddress>("workloadIps", [](const std::string& text) { return IpAddress::parse(text); });
  made.protocol = map.choice("protocol", kProtocols, state::Protocol::Tcp);
  made.is_host_network = map.choice("networkMode", kNetworkModes, false);
  made.waypoint = gateway(map, "waypoint");
  made.network_gateway = gateway(map, "networkGateway");
  made.node = map.text("node");
  made.network = map.text("network");
  made.cluster = map.text("clusterId", made.cluster);
  made.workload_name = map.text("workloadName");
  made.type = map.choice("workloadType", kTypes, state::WorkloadType::Pod);
  made.canonical_name = map.text("canonicalName", made.name);
  made.canonical_revision = map.text("canonicalRevision", "latest");
  made.hostname = map.text("hostname");
  made.is_tunnel_native = map.flag("nativeTunnel");
  if (map.has("applicationTunnel")) {
    YamlMap tunnel = map.map("applicationTunnel");
    made.application_tunnel = {.has_proxy_header = tunnel.choice("protocol", kTunnels, false),
                               .port = static_cast<std::uint16_t>(tunnel.number("port", 65'535))};
    tunnel.finish();
  }
  made.authorization_policies = map.texts("authorizationPolicies");
  made.is_healthy = map.choice("status", kHealth, true);
  YamlMap locality = map.map("locality");
  made.region = locality.text("region");
  made.zone = locality.text("zone");
  made.subzone = locality.text("subzone");
  locality.finish();
  made.capacity = map.number("capacity", 0xffff'ffff, 1);
  read_memberships(map, made);
  map.finish();
  return made;
}

void read_balancing(YamlMap map, state::Service& service) {
  service.lb_mode = map.choice("mode", kModes, state::LbMode::Unspecified);
  service.health_policy = map.choice("healthPolicy", kHealthPolicies, state::HealthPolicy::OnlyHealthy);
  for (const std::string& word : map.texts("routingPreferences")) {
    const auto found = std::ranges::find(kLbScopes, word, &std::pair<std::string, state::LbScope>::first);
    if (found == kLbScopes.end()) {
      map.mistake("routingPreferences", fmt::format("has {}, which is not known", quoted(word)));
    } else {
      service.routing_preference.push_back(found->second);
    }
  }
  map.finish();
}

state::Service read_service(const YAML::Node& node, const std::string& where, std::string& error) {
  YamlMap map(node, where, error);
  state::Service made;
  made.name = map.text("name");
  made.namespace_name = map.text("namespace");
  made.hostname = map.text("hostname");
  if (made.hostname.empty()) map.mistake("hostname", "is missing");
  for (const std::string& vip : map.texts("vips")) {
    if (auto address = network_address(vip)) {
      made.vips.push_back(*std::move(address));
    } else {
      map.mistake("vips", fmt::format("has {}; NETWORK/ADDRESS is wanted", quoted(vip)));
    }
  }
  map.each("cidrVips", [&](const YAML::Node& one, const std::string& at) {
    YamlMap entry(one, at, error);
    const std::string text = entry.text("cidr");
    const auto cidr = Cidr::parse(text);
    if (!cidr) return entry.mistake("cidr", fmt::format("is {}, which is no range", quoted(text)));
    made.vips.push_back({entry.text("network"), cidr->network, cidr->bits});
    entry.finish();
  });
  made.ports = ports_of(map, "ports");
  map.entries("endpoints", [&](const std::string& uid, const YAML::Node&) {
    YamlMap endpoints = map.map("endpoints");
    YamlMap endpoint = endpoints.map(uid);
    state::ServiceEndpoint& one = made.endpoints.emplace_back();
    one.workload_uid = endpoint.text("workloadUid", uid);
    one.ports = ports_of(endpoint, "port");
    static_cast<void>(endpoint.has("status"));  // the workload says it
    endpoint.finish();
  });
  for (const std::string& name : map.texts("subjectAltNames")) {
    // Others than SPIFFE identities mean nothing here.
    if (auto identity = SpiffeId::parse(name)) made.subject_alt_names.push_back(*std::move(identity));
  }
  made.waypoint = gateway(map, "waypoint");
  map.each("weightedWaypoints", [&](const YAML::Node& one, const std::string& at) {
    YamlMap entry(one, at, error);
    auto destination = gateway(entry, "destination");
    const std::uint32_t weight = entry.number("weight", 0xffff'ffff);
    entry.finish();
    if (destination) made.weighted_waypoints.push_back({*std::move(destination), weight});
  });
  read_balancing(map.map("loadBalancer"), made);
  made.ip_families = map.choice("ipFamilies", kFamilies, state::IpFamilies::Automatic);
  made.is_canonical = map.flag("canonical");
  made.visibility = map.choice("visibility", kVisibilities, state::Visibility::Public);
  map.finish();
  return made;
}

LocalMesh read_mesh(const YAML::Node& root, std::string_view trust_domain, std::string& error) {
  LocalMesh made;
  YamlMap map(root, {}, error);
  map.each("workloads", [&](const YAML::Node& one, const std::string& where) {
    made.workloads.push_back(read_workload(one, where, trust_domain, error));
  });
  map.each("services", [&](const YAML::Node& one, const std::string& where) {
    made.services.push_back(read_service(one, where, error));
  });
  map.each("policies", [&](const YAML::Node& one, const std::string& where) {
    made.policies.push_back(local_policy(one, where, error));
  });
  map.finish();
  return made;
}

}  // namespace

Result<LocalMesh> local_mesh_from(std::string_view text, std::string_view trust_domain) {
  std::string error;
  try {
    LocalMesh made = read_mesh(YAML::Load(std::string(text)), trust_domain, error);
    if (error.empty()) return made;
  } catch (const YAML::Exception& thrown) {
    error = fmt::format("line {}: not YAML: {}", thrown.mark.line + 1, thrown.msg);
  }
  return fail(ErrorCode::InvalidArgument, "{}", error);
}

}  // namespace culvert::control
