// SPDX-License-Identifier: Apache-2.0
// The agent's side of the mesh file (culvert/cni/mesh_file.hpp): written whole, by rename. Control thread only.
#pragma once

#include <string>

#include "base/result.hpp"
#include "culvert/cni/mesh_file.hpp"

namespace culvert::enroll {

// At the start, before the CNI socket opens, and on every change of the configuration. The directory is made (0755).
[[nodiscard]] Result<void> write_mesh_file(const std::string& path, const cni::MeshFile& file);

}  // namespace culvert::enroll
