// SPDX-License-Identifier: Apache-2.0
// After a restart: the pods of the state directory. A pod whose adoption fails keeps its hooks, so that it stalls and never leaks.
#include <algorithm>

#include "enroll/enroller_state.hpp"

namespace culvert::enroll {

Result<Pod> Enroller::State::adopt(PodRecord record, UniqueFd netns) {
  JoinedPod pod;
  pod.netns = std::move(netns);
  const auto known = pods.find(record.spec.id);
  const bool is_kept = is_pinned(record);
  if (!is_kept) {  // hooks that did not outlive the agent (the bpffs was emptied): the slot may be another pod's by now
    const bool is_tried = known != pods.end() && known->second.record.netns_cookie == record.netns_cookie;
    record.slot = is_tried ? known->second.record.slot : CV_TRY(slot_for(record.netns_cookie));
  }
  pod.record = std::move(record);
  const std::string id = pod.record.spec.id;
  if (known != pods.end()) pod.shares_ports = known->second.shares_ports;
  auto content = read_netns(pod.netns.get(), home.get());
  if (content) pod.devices = std::move(content->devices);
  auto adopted = content ? bring_up(pod, is_kept) : Result<Pod>(std::unexpected(std::move(content).error()));
  pods.insert_or_assign(id, std::move(pod));
  return adopted;
}

std::vector<Pod> Enroller::adopt_all(const std::function<void(const std::string&, const Error&)>& failed) {
  std::vector<Pod> adopted;
  auto loaded = state_->dir.load();
  if (!loaded) {
    failed("", loaded.error());
    return adopted;
  }
  const std::vector<std::string> tombstones = state_->dir.tombstones();
  std::vector<std::uint32_t> known_slots;
  for (StateDir::Loaded& entry : *loaded) {
    if (!entry.record) {
      failed(entry.id, entry.record.error());
      continue;
    }
    PodRecord& record = *entry.record;
    known_slots.push_back(record.slot);
    // One that leaves is left to whoever began that.
    const auto known = state_->pods.find(entry.id);
    const bool is_known = known != state_->pods.end();
    if (is_known && (known->second.has_listeners || known->second.record.is_leaving)) continue;
    auto netns = find_netns(record.spec.netns_path, record.netns_id, record.netns_cookie);
    const bool is_gone = !netns && netns.error().code() == ErrorCode::NotFound;
    if (!is_known && (is_gone || record.is_leaving || std::ranges::binary_search(tombstones, entry.id))) {
      const auto left = state_->clear_away(record, netns ? netns->get() : -1);
      if (!left) failed(entry.id, left.error());
      continue;
    }
    auto pod = netns ? state_->adopt(std::move(record), std::move(*netns))
                     : Result<Pod>(std::unexpected(std::move(netns).error()));
    if (pod) {
      adopted.push_back(std::move(*pod));
    } else {
      failed(entry.id, pod.error());
    }
  }
  for (const std::string& id : tombstones) state_->dir.remove_tombstone(id);
  for (const datapath::PinnedPod& pinned : state_->datapath.pinned_pods()) {
    if (std::ranges::find(known_slots, pinned.slot) != known_slots.end() ||
        std::ranges::any_of(state_->pods, [&](const auto& pod) { return pod.second.record.slot == pinned.slot; })) {
      continue;
    }
    failed(fmt::format("slot-{}", pinned.slot),
           Error(ErrorCode::NotFound, fmt::format("the pod in slot {} has hooks and no record in the state directory; "
                                                  "its traffic stays blocked until its "
                                                  "namespace is joined again or ends",
                                                  pinned.slot)));
  }
  return adopted;
}

}  // namespace culvert::enroll
