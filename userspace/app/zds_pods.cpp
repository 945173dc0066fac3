// SPDX-License-Identifier: Apache-2.0
#include "app/zds_pods.hpp"

#include <utility>

namespace culvert::app {

Result<void> ZdsPods::start(const control::ZdsWorkload& workload, UniqueFd netns) {
  enroll::PodSpec spec;
  spec.id = workload.uid;
  spec.name = workload.name;
  spec.namespace_name = workload.namespace_name;
  spec.service_account = workload.service_account;
  spec.netns_path = fmt::format("from istio-cni: {}/{}", workload.namespace_name, workload.name);
  spec.capture = enroll::Capture::Rules;
  CV_TRY(pods_.join(std::move(spec), std::move(netns)));
  return {};
}

void ZdsPods::stop(const std::string& uid) { static_cast<void>(pods_.leave_now(uid)); }

}  // namespace culvert::app
