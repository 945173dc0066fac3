// SPDX-License-Identifier: Apache-2.0
// ZdsPods: pods that a stock istio-cni brings, as pods like any other whose traffic its rules capture. Control thread.
#pragma once

#include <string>

#include "app/pod_manager.hpp"
#include "control/zds_session.hpp"

namespace culvert::app {

class ZdsPods final : public control::ZdsTarget {
 public:
  // `pods` outlives it.
  explicit ZdsPods(PodManager& pods) : pods_(pods) {}

  [[nodiscard]] Result<void> start(const control::ZdsWorkload& workload, UniqueFd netns) override;
  void stop(const std::string& uid) override;

 private:
  PodManager& pods_;
};

}  // namespace culvert::app
