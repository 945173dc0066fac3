// SPDX-License-Identifier: Apache-2.0
#include "app/zds_pods.hpp"

#include <cerrno>
#include <utility>

#include <fcntl.h>

namespace culvert::app {

Result<void> ZdsPods::start(const control::ZdsWorkload& workload, UniqueFd netns) {
  enroll::PodSpec spec;
  spec.id = workload.uid;
  spec.name = workload.name;
  spec.namespace_name = workload.namespace_name;
  spec.service_account = workload.service_account;
  spec.netns_path = fmt::format("from istio-cni: {}/{}", workload.namespace_name, workload.name);
  spec.capture = enroll::Capture::Rules;
  std::unique_ptr<dns::Proxy> proxy;
  if (open_dns_) {
    UniqueFd copy(::fcntl(netns.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy) return fail_errno(errno, "cannot copy the descriptor of the network namespace of pod {}", workload.uid);
    proxy = CV_TRY(open_dns_(workload, std::move(copy)));
  }
  CV_TRY(pods_.join(std::move(spec), std::move(netns)));
  if (proxy != nullptr) dns_.insert_or_assign(workload.uid, std::move(proxy));
  return {};
}

void ZdsPods::stop(const std::string& uid) {
  dns_.erase(uid);
  static_cast<void>(pods_.leave_now(uid));
}

}  // namespace culvert::app
