// SPDX-License-Identifier: Apache-2.0
// Stands in the agent's place for one pod: enrols its namespace by the agent's own code, and throws away what is captured.
#pragma once

#include <string>

namespace culvert::bench {

struct CaptureOptions {
  std::string netns_path;
  std::string pin_dir;
  std::string state_dir;
  bool allow_connect_hook = true;
  bool allow_big_segments = true;
};

// Until SIGTERM or SIGINT; then the namespace is as before. Prints "ready" once the pod is captured.
[[nodiscard]] int capture_and_sink(const CaptureOptions& options);

}  // namespace culvert::bench
