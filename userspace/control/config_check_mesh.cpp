// SPDX-License-Identifier: Apache-2.0
// Workloads, services, and what they refer to. Pure.
#include "control/config_check_mesh.hpp"

#include <unordered_set>

#include "control/config_mesh_values.hpp"

namespace culvert::control {
namespace {

struct NetworkAddressHash {
  std::size_t operator()(const state::NetworkAddress& address) const noexcept {
    return std::hash<IpAddress>{}(address.address) * 31U + std::hash<std::string>{}(address.network);
  }
};

// With the network written out.
state::NetworkAddress in_network(const Config& config, const std::string& network, const IpAddress& address) {
  return {network.empty() ? config.network : network, address};
}
std::string network_of(const Config& config, const WorkloadConfig& workload) {
  return workload.network && !workload.network->empty() ? *workload.network : config.network;
}

bool check_reachable(const WorkloadConfig& workload, const std::string& place, const ReportMistake& report) {
  if (workload.addresses.empty() && workload.hostname.empty() && !workload.network_gateway) {
    return report(place + ".addresses",
                  "is empty; a workload has an address or a hostname, unless a network_gateway leads to it");
  }
  const ApplicationTunnelConfig& tunnel = workload.application_tunnel;
  return tunnel.has_proxy_header || tunnel.port == 0 ||
         report(place + ".application_tunnel.port",
                fmt::format("{} stands without a protocol; add protocol: PROXY or NONE", tunnel.port));
}

bool check_ports(const std::vector<PortConfig>& ports, const std::string& place, const ReportMistake& report) {
  Once<std::uint16_t> once;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string here = fmt::format("{}.ports[{}]", place, i);
    const std::string* first = once.claim(ports[i].port, here);
    if (first != nullptr &&
        !report(here + ".port", fmt::format("{} stands in {} already; a port has one target", ports[i].port, *first))) {
      return false;
    }
  }
  return true;
}

bool check_endpoint_ports(const ServiceConfig& service, const EndpointConfig& endpoint, const std::string& place,
                          const ReportMistake& report) {
  if (!check_ports(endpoint.ports, place, report)) return false;
  for (std::size_t i = 0; i < endpoint.ports.size(); ++i) {
    const PortConfig& port = endpoint.ports[i];
    const std::string here = fmt::format("{}.ports[{}]", place, i);
    if (std::ranges::find(service.ports, port.port, &PortConfig::port) == service.ports.end() &&
        !report(here + ".port", fmt::format("{} is not a port of the service; add it there", port.port))) {
      return false;
    }
    if (port.target_port == std::uint16_t{0} &&
        !report(here + ".target_port", "\"0\" is out of range; write a port, 1 to 65535")) {
      return false;
    }
  }
  return true;
}

// Everything that a name can mean.
class Names {
 public:
  explicit Names(const Config& config) : config_(config) {
    for (const WorkloadConfig& one : config.mesh.workloads) {
      uids_.insert(one.namespace_name + "/" + one.name);
      if (!one.hostname.empty()) hostnames_.insert(one.namespace_name + "/" + one.hostname);
      for (const IpAddress& address : one.addresses) addresses_.insert({network_of(config, one), address});
    }
    for (const PodConfig& one : config.pods) {
      uids_.insert(one.namespace_name + "/" + one.name);
      for (const IpAddress& address : one.addresses) addresses_.insert({config.network, address});
    }
    for (const ServiceConfig& one : config.mesh.services) {
      hostnames_.insert(one.namespace_name + "/" + one.hostname);
      services_.try_emplace(one.namespace_name + "/" + one.name, &one);
      for (const state::NetworkAddress& vip : one.addresses) {
        addresses_.insert(in_network(config, vip.network, vip.address));
      }
    }
  }

  [[nodiscard]] bool has_workload(const std::string& uid) const { return uids_.contains(uid); }
  // Empty: the reference means something. Else what is wrong with it.
  [[nodiscard]] std::string mistake_of(const state::GatewayRef& reference) const {
    const std::string written = quoted(state::to_string(reference));
    if (reference.address) {
      if (addresses_.contains(in_network(config_, reference.address->network, reference.address->address))) return {};
      return fmt::format("{} is the address of no workload and no service; add one with it", written);
    }
    const std::string name = reference.namespace_name + "/" + reference.hostname;
    if (hostnames_.contains(name)) return {};
    if (const auto service = services_.find(name); service != services_.end()) {
      return fmt::format("{} is the name of a service; write {}/{}, its hostname", written, reference.namespace_name,
                         service->second->hostname);
    }
    return fmt::format("{} is the hostname of no service and no workload; add one with it", written);
  }

 private:
  const Config& config_;
  std::unordered_set<std::string> uids_;
  std::unordered_set<std::string> hostnames_;
  std::unordered_set<state::NetworkAddress, NetworkAddressHash> addresses_;
  std::unordered_map<std::string, const ServiceConfig*> services_;  // by NAMESPACE/NAME
};

bool check_reference(const std::optional<state::GatewayRef>& reference, const Names& names, std::string path,
                     const ReportMistake& report) {
  if (!reference) return true;
  const std::string mistake = names.mistake_of(*reference);
  return mistake.empty() || report(path, mistake);
}

}  // namespace

std::string identity_text(const std::string& namespace_name, const std::string& service_account) {
  return namespace_name + "/" + service_account;
}

bool check_workloads(const Config& config, AddressOwners& owners, const ReportMistake& report) {
  Once<std::string> uids;
  Once<state::NetworkAddress, NetworkAddressHash> addresses;
  for (std::size_t i = 0; i < config.mesh.workloads.size(); ++i) {
    const WorkloadConfig& workload = config.mesh.workloads[i];
    const std::string place = fmt::format("mesh.workloads[{}]", i);
    const std::string uid = workload.namespace_name + "/" + workload.name;
    if (const std::string* first = uids.claim(uid, place); first != nullptr) {
      if (!report(place + ".name",
                  fmt::format("workload {} stands in {} already; give it another name", quoted(uid), *first))) {
        return false;
      }
    }
    if (!check_reachable(workload, place, report)) return false;
    const std::string network = network_of(config, workload);
    for (std::size_t j = 0; j < workload.addresses.size(); ++j) {
      const IpAddress& address = workload.addresses[j];
      if (network == config.network) {
        owners.try_emplace(address,
                           AddressOwner{place, identity_text(workload.namespace_name, workload.service_account)});
      }
      const std::string* first = addresses.claim({network, address}, place);
      if (first == nullptr || *first == place) continue;
      if (!report(fmt::format("{}.addresses[{}]", place, j),
                  fmt::format("{} belongs to {} already; an address has one workload", address.to_string(), *first))) {
        return false;
      }
    }
  }
  return true;
}

bool check_services(const Config& config, const ReportMistake& report) {
  Once<std::string> names;
  Once<std::string> hostnames;
  std::unordered_map<std::string, Once<state::NetworkAddress, NetworkAddressHash>> addresses;  // by namespace
  for (std::size_t i = 0; i < config.mesh.services.size(); ++i) {
    const ServiceConfig& service = config.mesh.services[i];
    const std::string place = fmt::format("mesh.services[{}]", i);
    const std::string name = service.namespace_name + "/" + service.name;
    const std::string hostname = service.namespace_name + "/" + service.hostname;
    if (const std::string* first = names.claim(name, place); first != nullptr) {
      if (!report(place + ".name",
                  fmt::format("service {} stands in {} already; give it another name", quoted(name), *first))) {
        return false;
      }
    }
    if (const std::string* first = hostnames.claim(hostname, place); first != nullptr) {
      if (!report(place + ".hostname",
                  fmt::format("{} is the hostname of {} already; in a namespace it has one service",
                              quoted(service.hostname), *first))) {
        return false;
      }
    }
    for (std::size_t j = 0; j < service.addresses.size(); ++j) {
      const state::NetworkAddress& written = service.addresses[j];
      const std::string* first =
          addresses[service.namespace_name].claim(in_network(config, written.network, written.address), place);
      if (first != nullptr && *first != place &&
          !report(fmt::format("{}.addresses[{}]", place, j),
                  fmt::format("{} belongs to {} already; in a namespace an address has one service",
                              state::to_string(written), *first))) {
        return false;
      }
    }
    if (!check_ports(service.ports, place, report)) return false;
  }
  return true;
}

bool check_references(const Config& config, const ReportMistake& report) {
  const Names names(config);
  for (std::size_t i = 0; i < config.mesh.workloads.size(); ++i) {
    const WorkloadConfig& workload = config.mesh.workloads[i];
    const std::string place = fmt::format("mesh.workloads[{}]", i);
    if (!check_reference(workload.waypoint, names, place + ".waypoint", report)) return false;
    if (!check_reference(workload.network_gateway, names, place + ".network_gateway", report)) return false;
  }
  for (std::size_t i = 0; i < config.mesh.services.size(); ++i) {
    const ServiceConfig& service = config.mesh.services[i];
    const std::string place = fmt::format("mesh.services[{}]", i);
    if (!check_reference(service.waypoint, names, place + ".waypoint", report)) return false;
    Once<std::string> endpoints;
    for (std::size_t j = 0; j < service.endpoints.size(); ++j) {
      const EndpointConfig& endpoint = service.endpoints[j];
      const std::string here = fmt::format("{}.endpoints[{}]", place, j);
      const std::string uid = endpoint_uid(service, endpoint);
      if (!names.has_workload(uid) &&
          !report(here + ".workload",
                  fmt::format("{} is no workload and no pod; add it to mesh.workloads", quoted(uid)))) {
        return false;
      }
      if (const std::string* first = endpoints.claim(uid, here); first != nullptr) {
        if (!report(here + ".workload", fmt::format("{} stands in {} already; remove one", quoted(uid), *first))) {
          return false;
        }
      }
      if (!check_endpoint_ports(service, endpoint, here, report)) return false;
    }
  }
  return true;
}

}  // namespace culvert::control
