// SPDX-License-Identifier: Apache-2.0
// Checks across keys. Pure; each is linear in the size of the configuration.
#include "control/config_check.hpp"

#include "control/config_check_mesh.hpp"
#include "control/config_values.hpp"

namespace culvert::control {
namespace {

bool check_namespaces(const MeshConfig& mesh, const ReportMistake& report) {
  Once<std::string> names;
  for (std::size_t i = 0; i < mesh.namespaces.size(); ++i) {
    const std::string place = fmt::format("mesh.namespaces[{}]", i);
    const std::string& name = mesh.namespaces[i].name;
    const std::string* first = names.claim(name, place);
    if (first != nullptr && !report(place + ".name", fmt::format("namespace {} stands in {} already; join the two",
                                                                 quoted(name), *first))) {
      return false;
    }
  }
  return true;
}

bool check_tunnel(const TunnelConfig& tunnel, const ReportMistake& report) {
  if (tunnel.offer.empty() && !report("tunnel.offer", "is empty; write [direct, hbone], or one of the two"))
    return false;
  return tunnel.hbone.connection_window >= tunnel.hbone.stream_window ||
         report("tunnel.hbone.connection_window",
                fmt::format("{} is smaller than tunnel.hbone.stream_window, {}; make it at least as large",
                            format_size_bytes(tunnel.hbone.connection_window),
                            format_size_bytes(tunnel.hbone.stream_window)));
}

bool check_pods(const Config& config, const AddressOwners& workloads, const ReportMistake& report) {
  Once<std::string> ids;
  Once<std::string> names;
  Once<std::string> namespaces;
  Once<IpAddress> addresses;
  for (std::size_t i = 0; i < config.pods.size(); ++i) {
    const PodConfig& pod = config.pods[i];
    const std::string place = fmt::format("pods[{}]", i);
    if (const std::string* first = ids.claim(pod.id, place); first != nullptr) {
      if (!report(place + ".id", fmt::format("{} stands in {} already; give it another id", quoted(pod.id), *first))) {
        return false;
      }
    }
    const std::string name = fmt::format("{}/{}", pod.namespace_name, pod.name);
    if (const std::string* first = names.claim(name, place); first != nullptr) {
      if (!report(place + ".name",
                  fmt::format("{} is the pod of {} already; the names of a pod are its own", quoted(name), *first))) {
        return false;
      }
    }
    if (const std::string* first = namespaces.claim(pod.netns, place); first != nullptr) {
      if (!report(place + ".netns", fmt::format("{} is the namespace of {} already; a namespace is one pod",
                                                quoted(pod.netns), *first))) {
        return false;
      }
    }
    for (std::size_t j = 0; j < pod.addresses.size(); ++j) {
      const std::string where = fmt::format("{}.addresses[{}]", place, j);
      const std::string text = pod.addresses[j].to_string();
      if (const std::string* first = addresses.claim(pod.addresses[j], place); first != nullptr) {
        if (!report(where, fmt::format("{} belongs to {} already; an address has one pod", text, *first))) return false;
      }
      const auto workload = workloads.find(pod.addresses[j]);
      const std::string identity = identity_text(pod.namespace_name, pod.service_account);
      if (workload != workloads.end() && workload->second.identity != identity &&
          !report(where, fmt::format("{} has the identity {} here and {} in {}; make them agree", text, identity,
                                     workload->second.identity, workload->second.place))) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

void check_config(const Config& config, const ReportMistake& report) {
  if (!check_tunnel(config.tunnel, report)) return;
  if (config.admin.metrics && config.admin.metrics == config.admin.readiness &&
      !report("admin.readiness", fmt::format("{} is the address of admin.metrics as well; take another port",
                                             config.admin.readiness->to_string()))) {
    return;
  }
  if (config.admin.socket == config.cni_socket() &&
      !report("admin.socket",
              fmt::format("{} is the CNI plugin's socket; take another name", quoted(config.admin.socket)))) {
    return;
  }
  AddressOwners workloads;
  if (!check_namespaces(config.mesh, report) || !check_workloads(config, workloads, report)) return;
  if (!check_services(config, report) || !check_references(config, report)) return;
  if (!check_policies(config, report)) return;
  (void)check_pods(config, workloads, report);
}

}  // namespace culvert::control
