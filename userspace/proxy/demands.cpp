// SPDX-License-Identifier: Apache-2.0
#include "proxy/demands.hpp"

#include <algorithm>

#include "proxy/inbound.hpp"
#include "proxy/outbound.hpp"

namespace culvert::proxy {

void Demands::count(const Flow& flow, int by) {
  waiting_ += static_cast<std::size_t>(by);
  if (WorkerPod* pod = state_.pods.find(flow.pod_slot)) pod->demand_waits += static_cast<std::uint32_t>(by);
}

bool Demands::wait(Flow& flow, const state::Wanted& wanted, std::uint64_t until_ms) {
  const WorkerPod* pod = state_.pods.find(flow.pod_slot);
  const std::uint32_t share = flow.is_inbound() ? kInboundShare : 1;
  if (pod == nullptr || waiting_ >= kMax / share || pod->demand_waits >= kPerPodMax / share) return false;
  flow.need_details().awaited = state::name_of(wanted);
  flow.state = FlowState::AwaitMesh;
  state_.set_deadline(flow, until_ms > state_.now_ms ? until_ms - state_.now_ms : 1);
  Waiting& waiting = by_name_[flow.details->awaited];
  const bool is_due = waiting.flows.empty() || waiting.asked_ms + kAskAgainMs <= state_.now_ms;
  waiting.flows.push_back(flow.self);
  count(flow, 1);
  state_.counters.demands_held.add();
  if (!is_due) return true;
  waiting.asked_ms = state_.now_ms;
  if (state_.options.demand) state_.options.demand(flow.details->awaited);
  return true;
}

void Demands::forget(Flow& flow) {
  if (flow.state != FlowState::AwaitMesh) return;
  const auto found = by_name_.find(flow.details->awaited);
  if (found == by_name_.end()) return;
  // Mostly the first: those that have waited longest end first.
  std::vector<SlabHandle>& flows = found->second.flows;
  const auto place = std::ranges::find(flows, flow.self);
  if (place == flows.end()) return;
  *place = flows.back();
  flows.pop_back();
  if (flows.empty()) by_name_.erase(found);
  count(flow, -1);
}

void Demands::snapshot_changed() {
  if (by_name_.empty() || state_.snapshot == nullptr) return;
  std::vector<SlabHandle> ready;
  for (auto at = by_name_.begin(); at != by_name_.end();) {
    const auto wanted = state::parse_wanted(at->first);
    if (wanted && state::lacking(*state_.snapshot, *wanted)) {
      ++at;
      continue;
    }
    ready.insert(ready.end(), at->second.flows.begin(), at->second.flows.end());
    at = by_name_.erase(at);
  }
  for (const SlabHandle handle : ready) count(*state_.flows.find(handle), -1);
  for (const SlabHandle handle : ready) {
    // One may have ended another.
    Flow* flow = state_.flows.find(handle);
    if (flow == nullptr) continue;
    if (flow->is_inbound()) {
      state_.inbound->resume(*flow);
    } else {
      state_.outbound->resume(*flow);
    }
  }
}

std::string Demands::overdue(const Flow& flow) {
  return fmt::format("the control plane has not said who {} is", flow.details->awaited);
}

}  // namespace culvert::proxy
