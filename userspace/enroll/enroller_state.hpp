// SPDX-License-Identifier: Apache-2.0
// Enroller::State: the steps that joining, taking back, adopting and leaving are made of. Included by the enroller's sources only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/netns.hpp"
#include "enroll/enroller.hpp"
#include "enroll/netns_probe.hpp"
#include "enroll/pod_sockets.hpp"
#include "enroll/state_dir.hpp"

namespace culvert::enroll {

// A pod as the enroller keeps it. Holding the descriptor keeps the namespace alive until the pod has left.
struct JoinedPod {
  PodRecord record;
  UniqueFd netns;
  std::vector<std::string> devices;  // that have hooks
  bool has_listeners = false;        // false: adopted in part only; the next join puts everything back
  bool shares_ports = false;         // this agent has given listeners of it away: they may still be open
  bool is_settled = false;           // its hooks have the form that they keep
};

// Hooks, entries and a record: what a pod has that Culvert's own programs capture. Another's is its owner's to remember.
[[nodiscard]] inline bool has_programs(const PodRecord& record) noexcept {
  return record.spec.capture == Capture::Programs;
}

// What a join finds out before it changes anything.
struct JoinFacts {
  NetnsId netns_id;
  std::uint64_t netns_cookie = 0;
  NetnsContent content;
};

struct Enroller::State {
  State(Options given_options, datapath::Datapath& given_datapath, StateDir directory, UniqueFd home_netns)
      : options(std::move(given_options)),
        datapath(given_datapath),
        dir(std::move(directory)),
        home(std::move(home_netns)) {}

  // Checks the spec against the namespace and fills in its addresses.
  [[nodiscard]] Result<JoinFacts> inspect(PodSpec& spec, int netns_fd) const;
  // The record of a pod with programs.
  [[nodiscard]] Result<void> keep(const PodRecord& record) const;
  // Hooks and entries, verified.
  [[nodiscard]] Result<void> attach(const JoinedPod& pod);
  [[nodiscard]] datapath::PodPlan plan_of(const JoinedPod& pod) const;
  // A slot that an earlier agent left attached to this namespace, or a new one.
  [[nodiscard]] Result<std::uint32_t> slot_for(std::uint64_t netns_cookie);

  // Record, listeners, hooks, verification, and the answer. Undoes nothing.
  // `is_kept`: the state directory has this very record, and need not take a write.
  [[nodiscard]] Result<Pod> bring_up(JoinedPod& pod, bool is_kept = false);
  // Sockets in the namespace, and the first worker's where sk_lookup finds them.
  [[nodiscard]] Result<std::vector<PodListeners>> open_listeners(JoinedPod& pod);
  // Hooks, entries, slot and record go. An error lists what could not be taken away; what can be goes all the same.
  [[nodiscard]] Result<void> tear_down(const PodRecord& record, int netns_fd);
  // Likewise for a record of an earlier agent, whose slot may be another pod's by now: then only the record goes.
  [[nodiscard]] Result<void> clear_away(const PodRecord& record, int netns_fd);
  [[nodiscard]] Result<void> forget(const std::string& id) const;
  // The hooks in the record's slot are those of its namespace.
  [[nodiscard]] bool is_pinned(const PodRecord& record) const;

  [[nodiscard]] Result<Pod> join_new(JoinedPod pod);
  [[nodiscard]] Result<Pod> take_back(JoinedPod& pod, PodSpec spec, NetnsContent content);
  [[nodiscard]] Result<Pod> update(JoinedPod& pod, PodSpec spec, NetnsContent content);
  [[nodiscard]] Result<Pod> adopt(PodRecord record, UniqueFd netns);
  // The caller's view, without listeners; its own copy of the descriptor. It can fail, so it is made before anything is changed.
  [[nodiscard]] static Result<Pod> answer(const JoinedPod& pod);

  Options options;
  datapath::Datapath& datapath;
  StateDir dir;
  UniqueFd home;
  std::map<std::string, JoinedPod> pods;
};

}  // namespace culvert::enroll
