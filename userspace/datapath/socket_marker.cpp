// SPDX-License-Identifier: Apache-2.0
// The one part of the datapath that workers run: one system call per socket, no allocation.
#include <cerrno>

#include <bpf/bpf.h>

#include "culvert/abi/maps.h"
#include "datapath/datapath.hpp"

namespace culvert::datapath {

int SocketMarker::mark_agent(int socket_fd) const noexcept {
  if (map_fd_ < 0) return 0;
  const cv_sock_state agent{.kind = CV_SOCK_AGENT, .mark_before = 0};
  return bpf_map_update_elem(map_fd_, &socket_fd, &agent, BPF_ANY) == 0 ? 0 : errno;
}

}  // namespace culvert::datapath
