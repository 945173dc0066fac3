// SPDX-License-Identifier: Apache-2.0
// Checks across keys. Pure; each is linear in the size of the configuration.
#include "control/config_check.hpp"

#include <unordered_map>

#include "control/config_values.hpp"

namespace culvert::control {
namespace {

// Remembers where a thing stood first.
template <typename Key>
class Once {
 public:
  // Null when `key` is new, else the place of the first.
  const std::string* claim(const Key& key, std::string place) {
    const auto [entry, is_new] = first_.try_emplace(key, std::move(place));
    return is_new ? nullptr : &entry->second;
  }

 private:
  std::unordered_map<Key, std::string> first_;
};

struct Owner {
  std::string place;  // "mesh.workloads[3]"
  std::string identity;
};

std::string identity_of(const std::string& namespace_name, const std::string& service_account) {
  return namespace_name + "/" + service_account;
}

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

bool check_workloads(const MeshConfig& mesh, std::unordered_map<IpAddress, Owner>& owners,
                     const ReportMistake& report) {
  Once<std::string> uids;
  for (std::size_t i = 0; i < mesh.workloads.size(); ++i) {
    const WorkloadConfig& workload = mesh.workloads[i];
    const std::string place = fmt::format("mesh.workloads[{}]", i);
    const std::string uid = workload.namespace_name + "/" + workload.name;
    if (const std::string* first = uids.claim(uid, place); first != nullptr) {
      if (!report(place + ".name",
                  fmt::format("workload {} stands in {} already; give it another name", quoted(uid), *first))) {
        return false;
      }
    }
    if (workload.addresses.empty() && !report(place + ".addresses", "is empty; a workload has at least one address")) {
      return false;
    }
    for (std::size_t j = 0; j < workload.addresses.size(); ++j) {
      const auto [entry, is_new] = owners.try_emplace(
          workload.addresses[j], Owner{place, identity_of(workload.namespace_name, workload.service_account)});
      if (is_new || entry->second.place == place) continue;
      if (!report(fmt::format("{}.addresses[{}]", place, j),
                  fmt::format("{} belongs to {} already; an address has one workload",
                              workload.addresses[j].to_string(), entry->second.place))) {
        return false;
      }
    }
  }
  return true;
}

bool check_pods(const Config& config, const std::unordered_map<IpAddress, Owner>& workloads,
                const ReportMistake& report) {
  Once<std::string> ids;
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
      const std::string identity = identity_of(pod.namespace_name, pod.service_account);
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
  if (config.tunnel.offer.empty() && !report("tunnel.offer", "is empty; write [direct]")) return;
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
  std::unordered_map<IpAddress, Owner> workloads;
  if (!check_namespaces(config.mesh, report) || !check_workloads(config.mesh, workloads, report)) return;
  (void)check_pods(config, workloads, report);
}

}  // namespace culvert::control
