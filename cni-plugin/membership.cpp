// SPDX-License-Identifier: Apache-2.0
#include "membership.hpp"

#include <algorithm>

#include "culvert/cni/mesh_file.hpp"
#include "enroll/atomic_file.hpp"

namespace culvert::cni_plugin {

using cni::Membership;

Membership membership_by_config(const NetConfig& config, const cni::PodName& pod) {
  if (config.enrol == EnrolPolicy::None) return Membership::Outside;
  const bool is_excluded =
      !pod.namespace_name.empty() &&
      std::ranges::find(config.exclude_namespaces, pod.namespace_name) != config.exclude_namespaces.end();
  if (is_excluded) return Membership::Outside;
  return config.enrol == EnrolPolicy::All ? Membership::Inside : Membership::Unknown;
}

Membership membership_without_agent(const NetConfig& config, const cni::PodName& pod) {
  const Membership by_config = membership_by_config(config, pod);
  if (by_config != Membership::Unknown) return by_config;
  const auto text = enroll::read_small_file(cni::mesh_file_path(config.agent_socket), cni::kMeshFileBytesMax);
  if (!text) return Membership::Unknown;
  const auto file = cni::decode_mesh_file(*text);
  return file ? file->membership(pod.namespace_name, pod.name) : Membership::Unknown;
}

}  // namespace culvert::cni_plugin
