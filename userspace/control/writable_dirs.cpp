// SPDX-License-Identifier: Apache-2.0
#include "control/writable_dirs.hpp"

#include <cerrno>

#include <unistd.h>

#include "base/default_paths.hpp"

namespace culvert::control {

void place_directories(Config& config, const std::function<bool(const std::string&)>& is_read_only) {
  if (config.zds.socket.empty()) return;
  const Config defaults;
  if (config.run_dir == defaults.run_dir && is_read_only(config.run_dir)) {
    if (config.admin.socket == config.run_dir + kAdminSocketName) {
      config.admin.socket = std::string(kReadOnlyRootRunDir) + kAdminSocketName;
    }
    config.run_dir = kReadOnlyRootRunDir;
  }
  if (config.state_dir == defaults.state_dir && is_read_only(config.state_dir)) {
    if (config.identity.embedded.directory == config.state_dir + "/ca") {
      config.identity.embedded.directory = std::string(kReadOnlyRootStateDir) + "/ca";
    }
    config.state_dir = kReadOnlyRootStateDir;
  }
}

bool is_on_read_only_file_system(const std::string& path) {
  std::string parent = path;
  while (::access(parent.c_str(), W_OK) != 0) {
    if (errno != ENOENT) return errno == EROFS;
    const std::size_t slash = parent.rfind('/');
    if (slash == std::string::npos) return false;
    parent.resize(slash == 0 ? 1 : slash);
  }
  return false;
}

}  // namespace culvert::control
