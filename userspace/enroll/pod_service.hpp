// SPDX-License-Identifier: Apache-2.0
// PodService: what the CNI server asks of the agent. The agent implements it over Enroller, its workers and its config;
// tests script it. Every call runs on the control thread and answers at once; none may wait for a connection to end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "culvert/cni/messages.hpp"
#include "enroll/enroller.hpp"

namespace culvert::enroll {

struct JoinAnswer {
  std::uint32_t slot = 0;
};

class PodService {
 public:
  virtual ~PodService() = default;

  // Error codes become answers: Unavailable, Timeout and ResourceExhausted "try again", InvalidArgument "bad request",
  // NotFound (from `check`) "not joined", everything else "failed".

  // Called only for pods that are inside (the server has asked `is_in_mesh` where the plugin left that to the agent).
  [[nodiscard]] virtual Result<JoinAnswer> join(PodSpec spec, UniqueFd netns) = 0;
  [[nodiscard]] virtual Result<void> check(const std::string& id) = 0;
  // Begins the leave: live connections drain after the answer. Unknown ids succeed.
  [[nodiscard]] virtual Result<void> leave(const std::string& id) = 0;
  // Pods whose spec.cni_network is the request's, which it is about and does not list, leave (Enroller::stale_ids finds them).
  [[nodiscard]] virtual Result<void> gc(const cni::GcRequest& request) = 0;
  // From the configuration and, in a cluster, the pod's labels. Unknown: not known yet, the plugin tries again.
  [[nodiscard]] virtual cni::Membership is_in_mesh(const cni::PodName& pod) = 0;
  // An error says why no pod can join now.
  [[nodiscard]] virtual Result<void> is_ready() = 0;
};

}  // namespace culvert::enroll
