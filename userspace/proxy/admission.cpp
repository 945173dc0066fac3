// SPDX-License-Identifier: Apache-2.0
#include "proxy/admission.hpp"

#include <algorithm>
#include <utility>

#include "proxy/finisher.hpp"
#include "proxy/inbound.hpp"

namespace culvert::proxy {
namespace {

using policy::Decision;
using policy::UnknownPolicy;
using policy::Verdict;
using telemetry::CloseReason;

CloseReason reason_of(Decision decision) noexcept {
  return decision == Decision::NoIdentity ? CloseReason::NoIdentity : CloseReason::PolicyDenied;
}

// What is known by the close reason already is not said twice.
std::string detail_of(const policy::RuleSet& rules, const Verdict& verdict) {
  return verdict.decision == Decision::NoIdentity ? std::string() : policy::reason(rules, verdict);
}

}  // namespace

policy::InboundRequest Admission::request_of(const Flow& flow) const noexcept {
  policy::InboundRequest request{flow.source, flow.destination, state_.identities.find(flow.peer_identity)};
  if (const WorkerPod* pod = state_.pods.find(flow.pod_slot);
      pod != nullptr && state_.options.trust_domains != nullptr) {
    request.trust_domains = state_.options.trust_domains;
    request.local_domain = pod->setup.identity.trust_domain;
  }
  return request;
}

Admission::Judgement Admission::judge(const Flow& flow, const WorkerPod& pod) {
  const policy::InboundRequest request = request_of(flow);
  const Verdict verdict = policy::evaluate(pod.rules, request, unknown_policy());
  tell(flow, pod.rules, verdict);
  if (!pod.rules.dry_run().empty() && verdict.is_allowed()) tell_of_dry_run(flow, pod.rules, request);
  if (verdict.is_allowed()) return {};
  const bool may_wait = verdict.decision == Decision::Undecided &&
                        state_.options.policy_unknown == policy::UnknownAnswer::Hold &&
                        state_.options.policy_hold_ms > 0;
  if (may_wait) {
    if (has_room()) return {Outcome::Hold, {}, {}};
    return {Outcome::Refuse, CloseReason::Overloaded, "too many connections wait for policies"};
  }
  return {Outcome::Refuse, reason_of(verdict.decision), detail_of(pod.rules, verdict)};
}

UnknownPolicy Admission::unknown_policy() const noexcept {
  return state_.options.policy_unknown == policy::UnknownAnswer::Allow ? UnknownPolicy::IsSkipped
                                                                       : UnknownPolicy::Counts;
}

bool Admission::has_room() {
  if (held_.size() < kHeldMax) return true;
  std::erase_if(held_, [this](SlabHandle handle) {
    const Flow* flow = state_.flows.find(handle);
    return flow == nullptr || flow->state != FlowState::AwaitPolicy;
  });
  return held_.size() < kHeldMax;
}

void Admission::hold(Flow& flow) {
  held_.push_back(flow.self);
  if (flow.state == FlowState::AwaitPolicy) return;  // its deadline stands
  flow.state = FlowState::AwaitPolicy;
  state_.counters.policy_held.add();
  state_.set_deadline(flow, state_.options.policy_hold_ms);
}

std::string Admission::overdue(const Flow& flow) const {
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  return pod == nullptr ? std::string() : policy::reason(pod->rules, {Decision::Undecided});
}

std::string Admission::standing(const Flow& flow) const {
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (pod == nullptr) return {};
  return policy::reason(pod->rules, policy::evaluate(pod->rules, request_of(flow), unknown_policy()));
}

void Admission::tell(const Flow& flow, const policy::RuleSet& rules, const Verdict& verdict) {
  const telemetry::Level level = state_.options.logs_policy_matches ? telemetry::Level::Info : telemetry::Level::Debug;
  if (!state_.log.is_enabled(level)) return;
  std::string_view what = "no allow policies, allow";
  if (verdict.decision == Decision::ExplicitlyDenied) what = "deny policy match";
  if (verdict.decision == Decision::NotAllowed) what = "no allow policies matched";
  if (verdict.decision == Decision::NoIdentity || verdict.decision == Decision::Undecided)
    what = policy::to_string(verdict.decision);
  if (verdict.decision == Decision::Allowed && verdict.policy != nullptr) what = "allow policy match";
  state_.log.line(level, fmt::format("{}: {} to {} ({})", what, flow.source.to_string(), flow.destination.to_string(),
                                     policy::reason(rules, verdict)));
}

// Seldom, and wanted by whoever set a dry run: always said.
void Admission::tell_of_dry_run(const Flow& flow, const policy::RuleSet& rules, const policy::InboundRequest& request) {
  const Verdict verdict = policy::evaluate_dry_run(rules, request);
  if (verdict.is_allowed()) return;
  state_.counters.policy_dry_run_denied.add();
  state_.log.info("dry-run: {} to {} would be denied ({})", flow.source.to_string(), flow.destination.to_string(),
                  policy::reason(rules, verdict));
}

const state::WorkloadEntry* Admission::workload_of(const state::Snapshot& snapshot, const WorkerPod& pod) {
  const PodSetup& setup = pod.setup;
  if (!setup.uid.empty()) {
    // Not by address, which may have been another pod's a moment ago.
    const state::WorkloadEntry* named =
        snapshot.find_pod(setup.uid, setup.namespace_name, setup.name, setup.identity.service_account);
    if (named != nullptr || setup.waits_for_name) return named;
  } else {
    for (const IpAddress& address : setup.addresses) {
      if (const state::WorkloadEntry* found = snapshot.find(address)) return found;
    }
  }
  return snapshot.find_uid(setup.local_uid);
}

bool Admission::refresh(WorkerPod& pod, const state::Snapshot* before) {
  const state::Snapshot& now = *state_.snapshot;
  const state::WorkloadEntry* workload = workload_of(now, pod);
  const state::WorkloadEntry* known = std::exchange(pod.workload, workload);
  // Most snapshots change other things.
  const bool is_strict = now.peer_auth(pod.setup.namespace_name, pod.setup.name) == state::PeerAuthMode::Strict;
  if (before != nullptr && before->is_complete() == now.is_complete() && &before->policies() == &now.policies() &&
      known == workload && pod.rules.is_strict() == is_strict) {
    return false;
  }
  policy::RuleSet rules = policy::RuleSet::find(now, workload, pod.setup.namespace_name, pod.setup.name);
  if (rules == pod.rules) return false;
  pod.rules = std::move(rules);
  pod.has_new_rules = true;
  return true;
}

void Admission::set_snapshot(std::shared_ptr<const state::Snapshot> snapshot) {
  // Kept until the end: what pods point to is compared by address.
  const std::shared_ptr<const state::Snapshot> before = std::exchange(state_.snapshot, std::move(snapshot));
  if (state_.snapshot == nullptr) return;
  bool is_changed = false;
  state_.pods.for_each([&](WorkerPod& pod) { is_changed = refresh(pod, before.get()) || is_changed; });
  if (is_changed) rules_changed();
}

void Admission::pod_changed(WorkerPod& pod) {
  if (state_.snapshot != nullptr && refresh(pod, nullptr)) rules_changed();
}

void Admission::rules_changed() {
  again_ = has_more() ? place_ : 0;
  stop_ = state_.flows.places();
  if (again_ == 0) place_ = 0;
  judge_held();
}

void Admission::judge_held() {
  for (const SlabHandle handle : std::exchange(held_, {})) {
    Flow* flow = state_.flows.find(handle);
    if (flow != nullptr && flow->state == FlowState::AwaitPolicy) state_.inbound->admit(*flow);
  }
}

void Admission::run() {
  const std::size_t closes_end = closed_ + kClosesPerTurn;
  for (std::size_t left = kPlacesPerTurn; left > 0 && has_more() && closed_ < closes_end; --left) {
    if (Flow* flow = state_.flows.at_place(place_)) judge_again(*flow);
    if (++place_ < stop_) continue;
    place_ = 0;
    stop_ = std::exchange(again_, 0);
    if (stop_ != 0) continue;
    state_.pods.for_each([](WorkerPod& pod) { pod.has_new_rules = false; });
    if (closed_ != 0) state_.log.info("a change of policies closed {} connections", std::exchange(closed_, 0));
  }
}

void Admission::judge_again(Flow& flow) {
  if (!flow.is_inbound() || flow.state == FlowState::AwaitPolicy || flow.state == FlowState::AwaitMesh) return;
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  if (pod == nullptr || !pod->has_new_rules) return;
  const Verdict verdict = policy::evaluate(pod->rules, request_of(flow), unknown_policy());
  // What was let in stays until it is known whether it may.
  if (verdict.is_allowed() || verdict.decision == Decision::Undecided) return;
  ++closed_;
  state_.finisher->abort(flow, CloseReason::PolicyChanged, policy::reason(pod->rules, verdict));
}

}  // namespace culvert::proxy
