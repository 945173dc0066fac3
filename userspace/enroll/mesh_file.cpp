// SPDX-License-Identifier: Apache-2.0
#include "enroll/mesh_file.hpp"

#include <unistd.h>

#include "enroll/atomic_file.hpp"

namespace culvert::enroll {

Result<void> write_mesh_file(const std::string& path, const cni::MeshFile& file) {
  const auto slash = path.rfind('/');
  if (slash != std::string::npos && slash != 0) CV_TRY(make_directory(path.substr(0, slash), 0755));
  auto written = replace_file(path, cni::encode(file), 0644);
  // Without a file a plugin that finds no agent says "try again"; the old one would vouch for pods that are in the mesh by now.
  if (!written) static_cast<void>(::unlink(path.c_str()));
  return written;
}

}  // namespace culvert::enroll
