// SPDX-License-Identifier: Apache-2.0
// The agent's listening sockets inside a pod's network namespace. Control thread only; the sockets then belong to the workers.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "datapath/datapath.hpp"
#include "enroll/enroller.hpp"

namespace culvert::enroll {

struct PodSocketsPlan {
  unsigned workers = 1;
  bool has_v4 = false;
  bool has_v6 = false;
  Capture capture = Capture::Programs;
  std::uint32_t mark = 0;  // Capture::Rules: what exempts a socket from the rules
  // False when the agent's own sockets of before may still listen in the namespace (a pod that is taken back, another agent that this one replaces).
  bool refuses_taken_ports = true;
};

// Opens every listener in the namespace, marked as the agent's before it listens. A port that a program of the pod listens on is an
// error that names it, also where that program would have shared it (SO_REUSEPORT as root).
[[nodiscard]] Result<std::vector<PodListeners>> open_pod_sockets(const PodSocketsPlan& plan,
                                                                 const datapath::SocketMarker& marker, int netns_fd,
                                                                 int home_netns_fd);

}  // namespace culvert::enroll
