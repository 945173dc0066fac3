// SPDX-License-Identifier: Apache-2.0
// ZdsPods: pods that a stock istio-cni brings, as pods like any other whose traffic its rules capture. Control thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "app/pod_manager.hpp"
#include "control/zds_session.hpp"
#include "dns/proxy.hpp"

namespace culvert::app {

class ZdsPods final : public control::ZdsTarget {
 public:
  using OpenDns = std::function<Result<std::unique_ptr<dns::Proxy>>(const control::ZdsWorkload&, UniqueFd netns)>;
  // `pods` outlives it. `open_dns` null: the pods' DNS is not this agent's.
  ZdsPods(PodManager& pods, OpenDns open_dns) : pods_(pods), open_dns_(std::move(open_dns)) {}

  [[nodiscard]] Result<void> start(const control::ZdsWorkload& workload, UniqueFd netns) override;
  void stop(const std::string& uid) override;

 private:
  PodManager& pods_;
  OpenDns open_dns_;
  std::unordered_map<std::string, std::unique_ptr<dns::Proxy>> dns_;  // by uid
};

}  // namespace culvert::app
