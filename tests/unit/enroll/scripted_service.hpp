// SPDX-License-Identifier: Apache-2.0
// A PodService that writes down what it is asked and answers what the test says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "enroll/pod_service.hpp"

namespace culvert::testing {

class ScriptedService : public enroll::PodService {
 public:
  Result<enroll::JoinAnswer> join(enroll::PodSpec spec, UniqueFd netns) override {
    calls.push_back("join " + spec.id);
    has_netns = netns.is_open();
    joined = std::move(spec);
    if (error) return std::unexpected(*error);
    return enroll::JoinAnswer{7};
  }
  Result<void> check(const std::string& id) override { return note("check " + id); }
  Result<void> leave(const std::string& id) override { return note("leave " + id); }
  Result<void> gc(const cni::GcRequest& request) override {
    std::string call = "gc " + request.network;
    for (const std::string& id : request.valid_ids) call += " " + id;
    return note(call);
  }
  cni::Membership is_in_mesh(const cni::PodName& pod) override {
    calls.push_back("is_in_mesh " + pod.namespace_name + "/" + pod.name);
    return membership;
  }
  Result<void> is_ready() override { return note("is_ready"); }

  std::vector<std::string> calls;
  std::optional<Error> error;  // of the next calls
  cni::Membership membership = cni::Membership::Inside;
  enroll::PodSpec joined;
  bool has_netns = false;

 private:
  Result<void> note(std::string call) {
    calls.push_back(std::move(call));
    if (error) return std::unexpected(*error);
    return {};
  }
};

}  // namespace culvert::testing
