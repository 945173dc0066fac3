// SPDX-License-Identifier: Apache-2.0
// Reads the file and fills in what depends on this machine. Control thread; blocks on the disk.
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unique_fd.hpp"
#include "control/config.hpp"
#include "control/config_load.hpp"
#include "control/cpu_allotment.hpp"
#include "control/environment.hpp"

namespace culvert::control {

Result<std::string> read_config_text(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(errno, "cannot open the configuration {}", path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return fail_errno(errno, "cannot examine the configuration {}", path);
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::InvalidArgument, "the configuration {} is not a regular file; name the YAML file itself",
                path);
  }
  std::string text;
  char buffer[16'384];
  while (text.size() <= kConfigBytesMax) {
    const ssize_t count = ::read(file.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(errno, "cannot read the configuration {}", path);
    if (count == 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text;
}

namespace {

Result<Config> fill_from_machine(Config config) {
  CV_TRY(apply_environment(config, process_environment(),
                           [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }));
  if (config.node_name.empty()) {
    char name[256] = {};
    if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') {
      return fail(ErrorCode::NotFound, "this host has no name; write node_name into the configuration");
    }
    config.node_name = name;
  }
  if (config.workers == 0) config.workers = allotted_cpus();
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
