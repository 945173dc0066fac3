// SPDX-License-Identifier: Apache-2.0
// The mesh file: which pods this node's agent takes into the mesh, kept beside its socket so that the plugin can let a pod
// pass that is certainly outside while the agent is away. The agent writes it (atomically, on every change); the plugin
// reads it only when the agent does not answer. No file, or one that cannot be read: the plugin says "try again later".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "culvert/cni/messages.hpp"

namespace culvert::cni {

inline constexpr char kMeshFileName[] = "mesh.json";  // in the socket's directory
inline constexpr std::size_t kMeshFileBytesMax = std::size_t{4} << 20U;

// An agent that decides by more than names (labels) lists every namespace in which a pod *may* be inside: the plugin treats
// what is not listed as outside for certain, and what is listed as needing the agent.
struct MeshFile {
  bool all = false;  // every namespace that is not excluded
  std::vector<std::string> namespaces;
  std::vector<std::string> excluded_namespaces;  // wins over the others
  std::vector<std::string> pods;                 // "NAMESPACE/NAME", besides the namespaces
  bool operator==(const MeshFile&) const = default;

  // Inside: needs the agent. Unknown when the pod has no name and not everything is outside.
  [[nodiscard]] Membership membership(std::string_view namespace_name, std::string_view name) const;
};

[[nodiscard]] std::string encode(const MeshFile& file);
[[nodiscard]] Result<MeshFile> decode_mesh_file(std::string_view text);
// /run/culvert/cni.sock -> /run/culvert/mesh.json
[[nodiscard]] std::string mesh_file_path(std::string_view socket_path);

}  // namespace culvert::cni
