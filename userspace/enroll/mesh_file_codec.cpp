// SPDX-License-Identifier: Apache-2.0
// The codec and the decision of culvert/cni/mesh_file.hpp. Linked into the agent and into the plugin.
#include "culvert/cni/mesh_file.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "enroll/json_fields.hpp"

namespace culvert::cni {
namespace {

constexpr unsigned kMeshFileVersion = 1;
constexpr std::size_t kMeshNamesMax = 65'536;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

Membership MeshFile::membership(std::string_view namespace_name, std::string_view name) const {
  const bool takes_nothing = !all && namespaces.empty() && pods.empty();
  if (takes_nothing) return Membership::Outside;
  if (namespace_name.empty()) return all && excluded_namespaces.empty() ? Membership::Inside : Membership::Unknown;
  if (contains(excluded_namespaces, namespace_name)) return Membership::Outside;
  if (all || contains(namespaces, namespace_name)) return Membership::Inside;
  const std::string pod = fmt::format("{}/{}", namespace_name, name);
  return contains(pods, pod) ? Membership::Inside : Membership::Outside;
}

std::string encode(const MeshFile& file) {
  return enroll::dump({{"version", kMeshFileVersion},
                       {"all", file.all},
                       {"namespaces", file.namespaces},
                       {"excluded_namespaces", file.excluded_namespaces},
                       {"pods", file.pods}},
                      1) +
         "\n";
}

Result<MeshFile> decode_mesh_file(std::string_view text) {
  if (text.size() > kMeshFileBytesMax)
    return fail(ErrorCode::InvalidArgument, "the mesh file has {} bytes", text.size());
  const auto document = nlohmann::json::parse(text, nullptr, false);
  if (document.is_discarded()) return fail(ErrorCode::InvalidArgument, "the mesh file is not JSON");
  enroll::Fields fields(document, "the mesh file");
  if (fields.number("version", 1'000'000) != kMeshFileVersion) fields.wrong("version", "1");
  MeshFile file;
  file.all = fields.boolean("all");
  file.namespaces = fields.texts("namespaces", kMeshNamesMax, kNameBytesMax);
  file.excluded_namespaces = fields.texts("excluded_namespaces", kMeshNamesMax, kNameBytesMax);
  file.pods = fields.texts("pods", kMeshNamesMax, 2 * kNameBytesMax + 1);
  CV_TRY(fields.finish(ErrorCode::InvalidArgument));
  return file;
}

std::string mesh_file_path(std::string_view socket_path) {
  const auto slash = socket_path.rfind('/');
  if (slash == std::string_view::npos) return kMeshFileName;
  return fmt::format("{}/{}", socket_path.substr(0, slash), kMeshFileName);
}

}  // namespace culvert::cni
