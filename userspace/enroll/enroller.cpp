// SPDX-License-Identifier: Apache-2.0
// The enroller's public face: which of the steps of enroller_state.hpp a call takes, and what it knows of the joined pods.
#include "enroll/enroller.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "culvert/cni/messages.hpp"
#include "enroll/enroller_state.hpp"

namespace culvert::enroll {
namespace {

std::string context_of(const PodSpec& spec) {
  return fmt::format("pod {}/{} ({})", spec.namespace_name, spec.name, spec.id);
}

// What the agent cannot find by its path or by a process, it would take for gone a moment later, and its pod would leave the mesh.
Result<void> must_be_visible(const PodSpec& spec, const JoinFacts& facts) {
  const auto found = find_netns(spec.netns_path, facts.netns_id, facts.netns_cookie);
  if (found || found.error().code() != ErrorCode::NotFound) return {};
  return fail(
      ErrorCode::Unavailable,
      "culvertd does not see the network namespace at {}: mount that directory into the agent's container, with "
      "mountPropagation HostToContainer",
      spec.netns_path);
}

bool is_to_settle(const JoinedPod& pod) noexcept {
  return !pod.is_settled && pod.has_listeners && !pod.record.is_leaving;
}

}  // namespace

Result<std::unique_ptr<Enroller>> Enroller::open(const Options& options, datapath::Datapath& datapath) {
  const std::string boot_id = CV_TRY(current_boot_id());
  StateDir dir = CV_TRY(StateDir::open(options.state_dir, boot_id));
  UniqueFd home = CV_TRY(open_current_netns());
  return std::unique_ptr<Enroller>(
      new Enroller(std::make_unique<State>(options, datapath, std::move(dir), std::move(home))));
}

Enroller::Enroller(std::unique_ptr<State> state) : state_(std::move(state)) {}
Enroller::~Enroller() = default;

Result<Pod> Enroller::join(PodSpec spec, UniqueFd netns, Listeners listeners) {
  CV_TRY(validate(spec));
  const std::string context = context_of(spec);
  if (spec.capture == Capture::Programs && !state_->datapath.has_programs()) {
    return fail(ErrorCode::Unsupported,
                "{}: this agent runs without capture programs (its log says why) and serves pods of istio-cni alone",
                context);
  }
  JoinFacts facts = CV_TRY(with_context(state_->inspect(spec, netns.get()), context));
  for (const auto& [id, pod] : state_->pods) {
    if (id == spec.id || pod.record.netns_cookie != facts.netns_cookie) continue;
    return fail(ErrorCode::AlreadyExists,
                "{}: the network namespace {} is joined already, as {}; that one must leave first", context,
                spec.netns_path, id);
  }
  state_->dir.remove_tombstone(spec.id);
  const auto known = state_->pods.find(spec.id);
  if (known != state_->pods.end() && known->second.record.netns_cookie == facts.netns_cookie) {
    JoinedPod& pod = known->second;
    const bool needs_listeners = pod.record.is_leaving || !pod.has_listeners || listeners == Listeners::Anew;
    return with_context(needs_listeners ? state_->take_back(pod, std::move(spec), std::move(facts.content))
                                        : state_->update(pod, std::move(spec), std::move(facts.content)),
                        context);
  }
  if (known != state_->pods.end() && has_programs(known->second.record) && !known->second.record.is_leaving &&
      is_netns_alive(spec.id)) {
    return fail(
        ErrorCode::AlreadyExists,
        "{}: the id {} is that of the pod of {}, which lives; join this one by another id (--id), or let that one "
        "leave first",
        context, spec.id, known->second.record.spec.netns_path);
  }
  if (spec.capture == Capture::Programs) CV_TRY(with_context(must_be_visible(spec, facts), context));
  JoinedPod pod;
  pod.record = {.spec = std::move(spec), .netns_cookie = facts.netns_cookie, .netns_id = facts.netns_id};
  pod.netns = std::move(netns);
  pod.devices = std::move(facts.content.devices);
  // The new slot before the stale pod's goes back, so that a worker never sees one slot mean two pods.
  pod.record.slot = CV_TRY(with_context(
      has_programs(pod.record) ? state_->slot_for(facts.netns_cookie) : state_->datapath.allocate_slot(), context));
  if (known != state_->pods.end()) {
    if (auto left = finish_leave(known->first); !left) {
      state_->datapath.release_slot(pod.record.slot);
      return std::unexpected(with_context(std::move(left), context).error());
    }
  }
  return with_context(state_->join_new(std::move(pod)), context);
}

void Enroller::forget_listeners(const std::string& id) noexcept {
  const auto place = state_->pods.find(id);
  if (place != state_->pods.end()) place->second.has_listeners = false;
}

bool Enroller::has_listeners(const std::string& id) const noexcept {
  const auto place = state_->pods.find(id);
  return place != state_->pods.end() && place->second.has_listeners;
}

bool Enroller::has_unsettled() const noexcept {
  return std::ranges::any_of(state_->pods, [](const auto& one) { return is_to_settle(one.second); });
}

Result<void> Enroller::settle_one() {
  const auto place = std::ranges::find_if(state_->pods, [](const auto& one) { return is_to_settle(one.second); });
  if (place == state_->pods.end()) return {};
  JoinedPod& pod = place->second;
  pod.is_settled = true;
  return with_context(state_->datapath.settle_pod(state_->plan_of(pod), pod.netns.get(), state_->home.get()),
                      context_of(pod.record.spec));
}

Result<void> Enroller::verify(const std::string& id) const {
  const auto place = state_->pods.find(id);
  if (place == state_->pods.end()) return fail(ErrorCode::NotFound, "pod {} is not in the mesh", id);
  const JoinedPod& pod = place->second;
  const std::string context = context_of(pod.record.spec);
  if (pod.record.is_leaving) return fail(ErrorCode::NotFound, "{} is leaving the mesh", context);
  if (!pod.has_listeners)
    return fail(ErrorCode::NotFound, "{}: the agent has no listeners there; join it again", context);
  if (!has_programs(pod.record)) return {};  // the rules are for their owner to check
  // With the devices of now: one that came later has no hook, and that is what a check is to find.
  JoinedPod now;
  now.record = pod.record;
  now.devices = CV_TRY(with_context(read_netns(pod.netns.get(), state_->home.get()), context)).devices;
  return with_context(state_->datapath.verify_pod(state_->plan_of(now), pod.netns.get(), state_->home.get()), context);
}

Result<void> Enroller::begin_leave(const std::string& id) {
  const auto place = state_->pods.find(id);
  if (place == state_->pods.end() || place->second.record.is_leaving) return {};
  PodRecord& record = place->second.record;
  record.is_leaving = true;
  if (!has_programs(record)) return {};
  // A disk that takes no writes must not keep a pod in the mesh; the price is that a restarted agent adopts it once more.
  [[maybe_unused]] const auto written = state_->dir.write(record);
  return with_context(state_->datapath.stop_capture(record.slot), context_of(record.spec));
}

Result<void> Enroller::finish_leave(const std::string& id) {
  const auto place = state_->pods.find(id);
  if (place == state_->pods.end()) {
    if (!cni::is_valid_id(id)) return {};
    state_->dir.remove_tombstone(id);
    return state_->dir.remove(id);
  }
  const JoinedPod pod = std::move(place->second);
  state_->pods.erase(place);
  return with_context(state_->tear_down(pod.record, pod.netns.get()), context_of(pod.record.spec));
}

bool Enroller::is_netns_alive(const std::string& id) const {
  const auto place = state_->pods.find(id);
  if (place == state_->pods.end()) return false;
  const PodRecord& record = place->second.record;
  if (!has_programs(record)) return true;  // whoever brought the pod says when it ends
  const auto found = find_netns(record.spec.netns_path, record.netns_id, record.netns_cookie);
  return found || found.error().code() != ErrorCode::NotFound;
}

std::vector<std::string> Enroller::pod_ids() const {
  std::vector<std::string> ids;
  for (const auto& [id, pod] : state_->pods) ids.push_back(id);
  return ids;
}

const PodSpec* Enroller::find(const std::string& id) const {
  const auto place = state_->pods.find(id);
  return place == state_->pods.end() ? nullptr : &place->second.record.spec;
}

std::uint32_t Enroller::slot_of(const std::string& id) const {
  const auto place = state_->pods.find(id);
  return place == state_->pods.end() ? 0 : place->second.record.slot;
}

bool Enroller::is_leaving(const std::string& id) const {
  const auto place = state_->pods.find(id);
  return place != state_->pods.end() && place->second.record.is_leaving;
}

std::vector<std::string> Enroller::stale_ids(const cni::GcRequest& request) const {
  const std::unordered_set<std::string_view> valid(request.valid_ids.begin(), request.valid_ids.end());
  std::vector<std::string> stale;
  for (const auto& [id, pod] : state_->pods) {
    const bool is_of_network = !request.network.empty() && pod.record.spec.cni_network == request.network;
    if (is_of_network && request.is_about(id) && !valid.contains(id)) stale.push_back(id);
  }
  return stale;
}

}  // namespace culvert::enroll
