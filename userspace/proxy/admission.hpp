// SPDX-License-Identifier: Apache-2.0
// Admission: policy at work on one worker. Judges every inbound connection before anything is connected for it; lets those wait that cannot be
// judged yet; and judges live ones again when the rules change, some in each turn of the loop. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/policy.hpp"
#include "proxy/worker_state.hpp"
#include "telemetry/close_reason.hpp"

namespace culvert::proxy {

class Admission {
 public:
  // Connections of one worker that wait to be judged; further ones are refused.
  static constexpr std::size_t kHeldMax = 1'024;
  // Places of the table of connections that one turn of the loop looks at.
  static constexpr std::size_t kPlacesPerTurn = 1'024;
  // Connections that one turn closes for a change; each costs some system calls.
  static constexpr std::size_t kClosesPerTurn = 64;

  explicit Admission(WorkerState& state) noexcept : state_(state) {}

  enum class Outcome : std::uint8_t { Admit, Refuse, Hold };
  struct Judgement {
    Outcome outcome = Outcome::Admit;
    telemetry::CloseReason reason = telemetry::CloseReason::Completed;  // Refuse
    std::string detail;                                                 // Refuse
  };
  [[nodiscard]] Judgement judge(const Flow& flow, const WorkerPod& pod);
  // Until the rules are known, or `policy_hold_ms` from the first call for this flow.
  void hold(Flow& flow);
  // Why a connection that has waited long enough is refused.
  [[nodiscard]] std::string overdue(const Flow& flow) const;

  // What lets a live inbound connection be here: "allowed by: NAMESPACE/NAME", "no allow policies", ...
  [[nodiscard]] std::string standing(const Flow& flow) const;

  // The worker's snapshot becomes this one.
  void set_snapshot(std::shared_ptr<const state::Snapshot> snapshot);
  // It joined, or its addresses changed.
  void pod_changed(WorkerPod& pod);
  // Once per turn of the loop.
  void run();
  [[nodiscard]] bool has_more() const noexcept { return place_ < stop_; }

 private:
  [[nodiscard]] policy::InboundRequest request_of(const Flow& flow) const noexcept;
  [[nodiscard]] static const state::WorkloadEntry* workload_of(const state::Snapshot& snapshot, const WorkerPod& pod);
  // True: connections to it may be judged otherwise now.
  [[nodiscard]] bool refresh(WorkerPod& pod, const state::Snapshot* before);
  [[nodiscard]] policy::UnknownPolicy unknown_policy() const noexcept;
  [[nodiscard]] bool has_room();
  void rules_changed();
  void judge_held();
  void judge_again(Flow& flow);
  void tell_of_dry_run(const Flow& flow, const policy::RuleSet& rules, const policy::InboundRequest& request);
  void tell(const Flow& flow, const policy::RuleSet& rules, const policy::Verdict& verdict);

  WorkerState& state_;
  std::vector<SlabHandle> held_;  // in AwaitPolicy, or gone since
  // The round through the table of connections: from `place_` to below `stop_`, and then from the beginning to below `again_`, which was looked
  // at before the latest change.
  std::size_t place_ = 0;
  std::size_t stop_ = 0;
  std::size_t again_ = 0;
  std::size_t closed_ = 0;  // in this round
};

}  // namespace culvert::proxy
