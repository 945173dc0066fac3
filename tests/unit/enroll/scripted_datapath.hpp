// SPDX-License-Identifier: Apache-2.0
// A Datapath that attaches nothing: it writes down what it is told, keeps the "pinned" pods across its own life, and fails where the
// test says. Its functions stand in for the module's in this test program.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "datapath/datapath.hpp"

namespace culvert::testing {

// What a kernel would keep while agents come and go.
struct Kernel {
  std::map<std::uint32_t, datapath::PodPlan> attached;  // by slot
  std::set<std::uint32_t> used_slots;
  std::set<std::uint32_t> stopped;                    // capture stopped
  std::set<std::pair<std::uint32_t, int>> listeners;  // {slot, family * 2 + role}
  std::vector<std::string> calls;
  std::string fails_at;  // the call of this name fails
  std::uint32_t last_slot = 0;
  unsigned marked_before_listen = 0;
  unsigned marked_too_late = 0;

  [[nodiscard]] unsigned count(const std::string& name) const;
};
// The kernel of the tests that follow.
Kernel& kernel();
// A clean kernel and an agent's view of it.
[[nodiscard]] std::unique_ptr<datapath::Datapath> fresh_datapath();
// Another agent on the same kernel.
[[nodiscard]] std::unique_ptr<datapath::Datapath> reopened_datapath();

}  // namespace culvert::testing
