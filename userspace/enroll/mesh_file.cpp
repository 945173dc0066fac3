// SPDX-License-Identifier: Apache-2.0
#include "enroll/mesh_file.hpp"

#include "enroll/atomic_file.hpp"

namespace culvert::enroll {

Result<void> write_mesh_file(const std::string& path, const cni::MeshFile& file) {
  const auto slash = path.rfind('/');
  if (slash != std::string::npos && slash != 0) CV_TRY(make_directory(path.substr(0, slash), 0755));
  return replace_file(path, cni::encode(file), 0644);
}

}  // namespace culvert::enroll
