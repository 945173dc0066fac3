// SPDX-License-Identifier: Apache-2.0
// PodManager, who a pod is. Under a control plane the trust domain of its identity is the one of its workload there, as the peers and policies have it;
// otherwise, and until it is known, the configured one. A pod of istio-cni waits for it: its certificate is asked for when the control plane has named it.
#include <algorithm>
#include <utility>

#include "app/pod_manager.hpp"
#include "control/xds_source.hpp"

namespace culvert::app {

bool PodManager::is_in_cluster() const noexcept { return !parts_.config->control_plane.xds_address.empty(); }

// istiod's name for it.
std::string PodManager::control_plane_uid(const enroll::PodSpec& spec) const {
  return fmt::format("{}//Pod/{}/{}", parts_.config->cluster, spec.namespace_name, spec.name);
}

std::string PodManager::local_uid(const enroll::PodSpec& spec) const {
  return fmt::format("{}{}/{}", is_in_cluster() ? control::XdsSource::kLocalUid : "", spec.namespace_name, spec.name);
}

bool PodManager::waits_for_name(const enroll::PodSpec& spec) const noexcept {
  return is_in_cluster() && spec.capture == enroll::Capture::Rules;
}

bool PodManager::may_guess(const enroll::PodSpec& spec) const {
  if (!is_in_cluster()) return true;
  const bool is_all_said = snapshot_ != nullptr && snapshot_->is_complete();
  return !waits_for_name(spec) && (is_all_said || monotonic_ms() >= guess_after_ms_);
}

const state::WorkloadEntry* PodManager::workload_of(const enroll::PodSpec& spec) const {
  if (!is_in_cluster() || snapshot_ == nullptr) return nullptr;
  return snapshot_->find_pod(control_plane_uid(spec), spec.namespace_name, spec.name, spec.service_account);
}

Result<SpiffeId> PodManager::identity_of(const enroll::PodSpec& spec) const {
  const state::WorkloadEntry* workload = workload_of(spec);
  return SpiffeId::make(
      workload != nullptr ? workload->identity().trust_domain : std::string_view(parts_.config->trust_domain),
      spec.namespace_name, spec.service_account);
}

void PodManager::set_snapshot(std::shared_ptr<const state::Snapshot> snapshot) {
  if (!is_in_cluster()) return;
  snapshot_ = std::move(snapshot);
  follow_control_plane();
}

void PodManager::follow_control_plane() {
  bool is_changed = false;
  for (auto& [id, joined] : joined_) {
    const enroll::PodSpec* spec = parts_.enroller->find(id);
    if (spec == nullptr || joined.is_leaving) continue;
    const state::WorkloadEntry* workload = workload_of(*spec);
    if (workload != nullptr) {
      is_changed = take_trust_domain(joined, workload->identity().trust_domain) || is_changed;
    } else if (!joined.holds_certificate && may_guess(*spec)) {
      is_changed = take_trust_domain(joined, joined.identity.trust_domain) || is_changed;
    }
  }
  if (is_changed) changed();
}

void PodManager::release_certificates(const Joined& joined) {
  if (joined.holds_certificate) parts_.certificates->release(joined.identity);
  if (joined.next) parts_.certificates->release(*joined.next);
}

// Live connections keep the identity that they were made with; new ones have the new one, once there is a certificate of it: until then the one that there is serves.
bool PodManager::take_trust_domain(Joined& joined, const std::string& trust_domain) {
  SpiffeId identity = joined.identity;
  identity.trust_domain = trust_domain;
  if (!SpiffeId::make(trust_domain, identity.namespace_name, identity.service_account)) return false;
  if (joined.next && *joined.next != identity) parts_.certificates->release(*std::exchange(joined.next, std::nullopt));
  if (joined.holds_certificate && joined.identity == identity) return false;
  if (!joined.next) parts_.certificates->hold(identity);
  joined.next = identity;
  const auto credentials = parts_.certificates->current(identity);
  const bool has_one = joined.holds_certificate && parts_.certificates->current(joined.identity) != nullptr;
  if (credentials == nullptr && has_one) return false;
  const bool is_posted = parts_.workers->post_each(
      [&](std::size_t) -> proxy::ToWorker { return proxy::SetPodIdentity{joined.slot, identity, credentials}; });
  if (!is_posted) return false;  // a mailbox is full; `tend` tries again
  joined.next.reset();
  const SpiffeId before = std::exchange(joined.identity, std::move(identity));
  if (std::exchange(joined.holds_certificate, true)) {
    parts_.certificates->release(before);
    parts_.log->info("the control plane says that {} is {}", before.to_string(), joined.identity.to_string());
  }
  return true;
}

}  // namespace culvert::app
