// SPDX-License-Identifier: Apache-2.0
// Reads the file and fills in what depends on this machine. Control thread; blocks on the disk.
#include <unistd.h>

#include "control/config.hpp"
#include "control/config_load.hpp"
#include "control/cpu_allotment.hpp"
#include "control/environment.hpp"
#include "control/text_file.hpp"
#include "control/writable_dirs.hpp"

namespace culvert::control {

Result<std::string> read_config_text(const std::string& path) {
  return read_text_file(path, "the configuration", kConfigBytesMax);
}

Result<std::string> read_local_text(const std::string& path) {
  std::string text = CV_TRY(read_text_file(path, "LOCAL_XDS_PATH", LocalMesh::kBytesMax));
  if (!is_blank(text)) return text;
  return fail(ErrorCode::InvalidArgument, "LOCAL_XDS_PATH {}: the file is empty; write {{}} where it shall say nothing",
              path);
}

namespace {

// What is mounted where ztunnel has its mesh file; nothing: that it is not there.
Result<MeshSettings> read_mesh_file() {
  const std::string path(kMeshFile);
  if (::access(path.c_str(), F_OK) != 0) return MeshSettings();
  const std::string text = CV_TRY(read_text_file(path, "the mesh configuration", kMeshBytesMax));
  return with_context(mesh_settings_from(text), path);
}

// LOCAL_XDS_PATH: as if LOCAL_XDS held what the file does.
Result<void> read_local_mesh(Config& config, const Environment& environment) {
  const auto path = environment.find("LOCAL_XDS_PATH");
  if (path == environment.end() || path->second.empty()) return {};
  if (environment.contains("LOCAL_XDS")) {
    return fail(ErrorCode::InvalidArgument, "both LOCAL_XDS and LOCAL_XDS_PATH are set; take one of them away");
  }
  const std::string text = CV_TRY(read_local_text(path->second));
  auto local = local_mesh_from(text, config.trust_domain);
  if (!local) {
    return fail(ErrorCode::InvalidArgument, "LOCAL_XDS_PATH {}: {}", path->second, local.error().message());
  }
  config.local_path = path->second;
  config.local = SharedLocalMesh(*std::move(local));
  return {};
}

Result<Config> fill_from_machine(Config config) {
  const MeshSettings mesh = CV_TRY(read_mesh_file());
  const Environment environment = process_environment();
  CV_TRY(apply_environment(
      config, environment, [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }, mesh));
  CV_TRY(read_local_mesh(config, environment));
  place_directories(config, is_on_read_only_file_system);
  if (config.node_name.empty()) {
    char name[256] = {};
    if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') {
      return fail(ErrorCode::NotFound, "this host has no name; write node_name into the configuration");
    }
    config.node_name = name;
  }
  if (config.workers == 0) config.workers = allotted_cpus();
  if (!config.busy_wait_us) config.busy_wait_us = default_busy_wait_us(has_cpu_quota(), allotted_cpus());
  return config;
}

}  // namespace

Result<Config> config_from_text(std::string_view text, std::string_view filename) {
  return fill_from_machine(CV_TRY(parse_config(text, filename)));
}

Result<Config> load_config(const std::string& path) {
  const std::string text = CV_TRY(read_config_text(path));
  return config_from_text(text, path);
}

Result<Config> default_config() { return config_from_text({}, "defaults"); }

}  // namespace culvert::control
