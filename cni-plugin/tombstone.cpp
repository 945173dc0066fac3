// SPDX-License-Identifier: Apache-2.0
#include "tombstone.hpp"

#include <fcntl.h>

#include "base/unique_fd.hpp"
#include "culvert/cni/messages.hpp"
#include "enroll/atomic_file.hpp"

namespace culvert::cni_plugin {

void leave_tombstone(const std::string& state_dir, const std::string& id) noexcept {
  const std::string directory = state_dir + "/" + cni::kTombstoneDir;
  if (!enroll::make_directory(directory, 0700)) return;
  const UniqueFd file(::open((directory + "/" + id).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
}

}  // namespace culvert::cni_plugin
