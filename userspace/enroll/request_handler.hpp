// SPDX-License-Identifier: Apache-2.0
// RequestHandler: one packet of the CNI plugin in, one answer out. It decodes, checks the descriptors, asks the PodService and
// turns errors into answer codes. No sockets, so that tests and the fuzzer drive it with bytes.
#pragma once

#include "core/seqpacket.hpp"
#include "culvert/cni/messages.hpp"
#include "enroll/pod_service.hpp"

namespace culvert::enroll {

class RequestHandler {
 public:
  struct Outcome {
    cni::Answer answer;
    bool reached_service = false;  // false: refused as malformed
  };

  // `service` outlives the handler.
  explicit RequestHandler(PodService& service) : service_(service) {}
  [[nodiscard]] Outcome handle(Packet packet);

 private:
  [[nodiscard]] cni::Answer run(cni::JoinRequest request, UniqueFd netns);
  [[nodiscard]] cni::Answer run(cni::CheckRequest request);
  [[nodiscard]] cni::Answer run(const cni::LeaveRequest& request);
  [[nodiscard]] cni::Answer run(const cni::GcRequest& request);
  [[nodiscard]] cni::Answer run(const cni::StatusRequest& request);
  [[nodiscard]] cni::Answer run(cni::EligibilityRequest request);

  PodService& service_;
};

}  // namespace culvert::enroll
