// SPDX-License-Identifier: Apache-2.0
// PodManager, what it does without being asked: pods of an earlier agent, pods of the configuration, pods whose namespace has gone, and another try
// for what failed.
#include <algorithm>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "app/pod_manager.hpp"
#include "base/clock.hpp"
#include "core/netns.hpp"

namespace culvert::app {

bool PodManager::note_failure(const std::string& id, std::string why, Origin origin) {
  const auto known = failed_.find(id);
  if (known != failed_.end() && known->second.why == why) return false;
  failed_.insert_or_assign(id, Failure{std::move(why), origin});
  return true;
}

void PodManager::adopt() {
  std::unordered_set<std::string> failing;
  std::vector<enroll::Pod> pods = parts_.enroller->adopt_all([&](const std::string& id, const Error& error) {
    failing.insert(id);
    if (!note_failure(id, error.message(), Origin::Adoption)) return;
    parts_.log->error("pod {} of an earlier agent cannot be taken over; its new connections stay blocked: {}", id,
                      error.message());
  });
  for (enroll::Pod& pod : pods) {
    const std::string id = pod.spec.id;
    const bool is_ours = is_joined(id);
    if (auto served = serve(std::move(pod)); served) {
      settle_later();
      parts_.log->info("pod {} {}", id, is_ours ? "has listeners again" : "taken over from an earlier agent");
    } else {
      failing.insert(id);
      parts_.enroller->forget_listeners(id);
      if (!note_failure(id, served.error().message(), Origin::Adoption)) continue;
      parts_.log->error("pod {}: {}; its new connections stay blocked", id, served.error().message());
    }
  }
  std::erase_if(failed_, [&](const auto& entry) {
    return entry.second.origin == Origin::Adoption && !failing.contains(entry.first);
  });
  adopt_again_ms_ = 0;
  if (failing.empty()) {
    adopt_wait_ms_ = 0;
  } else {
    plan_adoption();
  }
}

void PodManager::adopt_later(const std::string& id, const Error& error) {
  parts_.enroller->forget_listeners(id);
  if (note_failure(id, error.message(), Origin::Adoption)) {
    parts_.log->error("pod {} is without listeners, and its new connections stay blocked until another try: {}", id,
                      error.message());
  }
  if (adopt_again_ms_ == 0) plan_adoption();
}

void PodManager::plan_adoption() {
  constexpr std::uint64_t kAdoptWaitMsMin = 2'000;
  constexpr std::uint64_t kAdoptWaitMsMax = 60'000;
  adopt_wait_ms_ = std::clamp(adopt_wait_ms_ * 2, kAdoptWaitMsMin, kAdoptWaitMsMax);
  adopt_again_ms_ = monotonic_ms() + adopt_wait_ms_;
}

void PodManager::follow_configuration() {
  forget_unlisted();
  for (const control::PodConfig& pod : parts_.config->pods) join_listed(pod);
}

void PodManager::forget_unlisted() {
  std::unordered_set<std::string_view> listed;
  for (const control::PodConfig& pod : parts_.config->pods) listed.insert(pod.id);
  std::erase_if(
      failed_, [&](const auto& entry) { return entry.second.origin == Origin::File && !listed.contains(entry.first); });
  std::erase_if(in_force_, [&](const auto& entry) { return !listed.contains(entry.first); });
  for (const std::string& id : parts_.enroller->pod_ids()) {
    const enroll::PodSpec* spec = parts_.enroller->find(id);
    if (spec == nullptr || !spec->is_from_file || !is_joined(id) || listed.contains(id)) continue;
    parts_.log->info("pod {} is not in the configuration any more and leaves", id);
    if (auto left = leave(id); !left) parts_.log->error("pod {} cannot leave: {}", id, left.error().message());
  }
}

void PodManager::join_listed(const control::PodConfig& pod) {
  const enroll::PodSpec* known = parts_.enroller->find(pod.id);
  if (is_joined(pod.id) && known != nullptr) {
    if (!known->is_from_file) return;
    if (const auto entry = in_force_.find(pod.id); entry != in_force_.end() && entry->second == pod) return;
  }
  enroll::PodSpec spec;
  spec.id = pod.id;
  spec.name = pod.name;
  spec.namespace_name = pod.namespace_name;
  spec.service_account = pod.service_account;
  spec.netns_path = pod.netns;
  spec.addresses = pod.addresses;
  spec.bypass_inbound = pod.bypass_inbound;
  spec.answer_syn = pod.answer_syn;
  spec.is_from_file = true;
  add_exclusions(spec, pod.exclude);
  Result<UniqueFd> netns = open_netns(pod.netns);
  Result<enroll::JoinAnswer> joined =
      netns ? join(std::move(spec), std::move(*netns)) : std::unexpected(std::move(netns).error());
  if (joined) {
    in_force_.insert_or_assign(pod.id, pod);
  } else if (note_failure(pod.id, joined.error().message(), Origin::File)) {
    parts_.log->error("pod {} of the configuration cannot join: {}", pod.id, joined.error().message());
  }
}

void PodManager::tend() {
  if (is_draining_) return;
  for (const std::string& id : parts_.enroller->pod_ids()) {
    const auto place = joined_.find(id);
    if ((place != joined_.end() && place->second.is_leaving) || parts_.enroller->is_netns_alive(id)) continue;
    parts_.log->info("the namespace of pod {} is gone", id);
    static_cast<void>(leave(id));
  }
  follow_control_plane();
  if (adopt_again_ms_ != 0 && monotonic_ms() >= adopt_again_ms_) adopt();
  follow_configuration();
}

void PodManager::settle_later() {
  constexpr std::uint64_t kQuietMs = 300;
  settle_at_ms_ = monotonic_ms() + kQuietMs;
  if (!std::exchange(is_settling_, true)) settle(kQuietMs);
}

void PodManager::settle(std::uint64_t after_ms) {
  constexpr std::uint64_t kBetweenMs = 10;  // whoever asks for something meanwhile comes first
  parts_.reactor->after_ms(after_ms, [this] {
    const std::uint64_t now_ms = monotonic_ms();
    if (now_ms < settle_at_ms_) {
      settle(settle_at_ms_ - now_ms);
      return;
    }
    if (auto settled = parts_.enroller->settle_one(); !settled) parts_.log->warn("{}", settled.error().message());
    if ((is_settling_ = parts_.enroller->has_unsettled())) settle(kBetweenMs);
  });
}

}  // namespace culvert::app
