// SPDX-License-Identifier: Apache-2.0
// One agent's enroller, with a state directory of its own, over the scripted datapath.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "enroll/enroller.hpp"
#include "scripted_datapath.hpp"
#include "temp_dir.hpp"

namespace culvert::testing {

struct Agent {
  explicit Agent(unsigned workers = 1) : datapath(fresh_datapath()) {
    enroller = enroll::Enroller::open({.state_dir = dir.path("state"), .workers = workers}, *datapath).value();
  }
  [[nodiscard]] bool has_record(const std::string& id) const {
    return std::filesystem::exists(dir.path("state/pods/" + id + ".json"));
  }

  TempDir dir;
  std::unique_ptr<datapath::Datapath> datapath;
  std::unique_ptr<enroll::Enroller> enroller;
};

inline IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

}  // namespace culvert::testing
