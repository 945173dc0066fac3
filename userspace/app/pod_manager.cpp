// SPDX-License-Identifier: Apache-2.0
#include "app/pod_manager.hpp"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>

#include "core/netns.hpp"

namespace culvert::app {

Result<enroll::JoinAnswer> PodManager::join(enroll::PodSpec spec, UniqueFd netns) {
  if (is_draining_) return fail(ErrorCode::Unavailable, "the agent is shutting down; try again");
  const std::string id = spec.id;
  add_exclusions(spec, parts_.config->capture.exclude);
  if (const auto place = joined_.find(id); place != joined_.end()) {
    const SpiffeId identity = CV_TRY(identity_of(spec));
    // Listeners and tunnels are an account's: with another one the pod joins anew.
    const SpiffeId& known = place->second.identity;
    if (known.namespace_name != identity.namespace_name || known.service_account != identity.service_account) {
      static_cast<void>(leave(id));
    }
    // The old sandbox's connections are cut: its name is wanted again.
    if (place->second.is_leaving) finish_leave(id, place->second.slot);
  }
  enroll::Pod pod = CV_TRY(parts_.enroller->join(std::move(spec), std::move(netns)));
  settle_later();
  const std::uint32_t slot = pod.slot;
  failed_.erase(id);
  if (pod.listeners.empty()) {  // joined already, perhaps with other values
    static_cast<void>(parts_.workers->post_each([&](std::size_t) -> proxy::ToWorker {
      return proxy::UpdatePod{slot, pod.spec.addresses, pod.spec.answer_syn};
    }));
    changed();
    return enroll::JoinAnswer{slot};
  }
  if (auto served = serve(std::move(pod)); !served) {
    static_cast<void>(parts_.enroller->finish_leave(id));
    return std::unexpected(std::move(served).error());
  }
  parts_.log->info("pod {} joined the mesh (slot {})", id, slot);
  return enroll::JoinAnswer{slot};
}

Result<void> PodManager::serve(enroll::Pod pod) {
  const SpiffeId identity = CV_TRY(identity_of(pod.spec));
  if (const auto before = joined_.find(pod.spec.id); before != joined_.end()) {
    // The id was taken over from a sandbox that is gone: the workers let go of that one's slot, listeners and tunnels.
    const std::uint32_t stale = before->second.slot;
    if (stale != pod.slot) {
      static_cast<void>(parts_.workers->post_each(
          [stale](std::size_t) -> proxy::ToWorker { return proxy::RemovePod{stale, 0, nullptr}; }));
    }
    release_certificates(before->second);
    joined_.erase(before);
  }
  auto dns = CV_TRY(open_dns(pod));
  const bool holds_certificate = may_guess(pod.spec) || workload_of(pod.spec) != nullptr;
  if (holds_certificate) parts_.certificates->hold(identity);
  const auto credentials = parts_.certificates->current(identity);
  bool is_posted = true;
  std::vector<proxy::PodSetup> setups(parts_.workers->size());
  for (std::size_t i = 0; i < setups.size(); ++i) {
    proxy::PodSetup& setup = setups[i];
    setup.slot = pod.slot;
    setup.id = pod.spec.id;
    setup.name = pod.spec.name;
    setup.namespace_name = pod.spec.namespace_name;
    setup.identity = identity;
    setup.addresses = pod.spec.addresses;
    setup.capture = pod.spec.capture;
    setup.answer_syn = pod.spec.answer_syn;
    if (waits_for_name(pod.spec)) setup.uid = control_plane_uid(pod.spec);
    setup.netns = UniqueFd(::fcntl(pod.netns.get(), F_DUPFD_CLOEXEC, 0));
    setup.credentials = credentials;
    if (i < pod.listeners.size()) setup.listeners = std::move(pod.listeners[i]);
    if (!setup.netns) is_posted = false;
  }
  is_posted = is_posted && parts_.workers->post_each(
                               [&](std::size_t i) -> proxy::ToWorker { return proxy::AddPod{std::move(setups[i])}; });
  if (!is_posted) {
    if (holds_certificate) parts_.certificates->release(identity);
    return fail(ErrorCode::ResourceExhausted, "the workers cannot take pod {}: out of descriptors or stuck",
                pod.spec.id);
  }
  joined_[pod.spec.id] = Joined{identity, pod.slot, holds_certificate, false, std::move(dns), {}};
  ++started_;
  changed();
  return {};
}

Result<std::unique_ptr<dns::Proxy>> PodManager::open_dns(const enroll::Pod& pod) const {
  if (!parts_.open_dns) return nullptr;
  UniqueFd netns(::fcntl(pod.netns.get(), F_DUPFD_CLOEXEC, 3));
  if (!netns) return fail_errno(errno, "cannot copy the descriptor of the network namespace of pod {}", pod.spec.id);
  auto opened = parts_.open_dns(pod.spec, std::move(netns));
  // istio-cni's rules send questions here whether or not anybody listens; our own programs leave them alone then.
  if (opened || pod.spec.capture == enroll::Capture::Rules) return opened;
  parts_.log->warn("DNS of pod {} is not captured: {}", pod.spec.id, opened.error().message());
  return nullptr;
}

void PodManager::add_exclusions(enroll::PodSpec& spec, const control::Exclusions& exclusions) const {
  for (const std::uint16_t port : exclusions.ports_inbound) spec.excluded_ports.push_back({port, true});
  for (const std::uint16_t port : exclusions.ports_outbound) spec.excluded_ports.push_back({port, false});
  for (const Cidr& cidr : exclusions.cidrs_inbound) spec.excluded_cidrs.push_back({cidr, true});
  for (const Cidr& cidr : exclusions.cidrs_outbound) spec.excluded_cidrs.push_back({cidr, false});
}

Result<void> PodManager::check(const std::string& id) {
  if (!is_joined(id)) return fail(ErrorCode::NotFound, "pod {} is not joined", id);
  return parts_.enroller->verify(id);
}

Result<void> PodManager::leave(const std::string& id) { return leave(id, parts_.config->drain.pod_leave_timeout_ms); }

Result<void> PodManager::leave(const std::string& id, std::uint64_t drain_ms) {
  failed_.erase(id);
  const auto place = joined_.find(id);
  if (place == joined_.end()) return parts_.enroller->finish_leave(id);
  if (place->second.is_leaving) return {};
  place->second.is_leaving = true;
  place->second.dns.reset();
  const std::uint32_t slot = place->second.slot;
  // With the namespace gone there is nobody left to drain for.
  const std::uint64_t deadline_ms = parts_.enroller->is_netns_alive(id) ? drain_ms : 0;
  if (auto begun = parts_.enroller->begin_leave(id); !begun) {
    parts_.log->warn("pod {} leaves, but its capture could not be stopped first: {}", id, begun.error().message());
  }
  parts_.workers->post_and_gather(
      [&](std::size_t, std::function<void()> done) -> proxy::ToWorker {
        return proxy::RemovePod{slot, deadline_ms, std::move(done)};
      },
      [this, id, slot] { finish_leave(id, slot); });
  return {};
}

void PodManager::finish_leave(const std::string& id, std::uint32_t slot) {
  const auto place = joined_.find(id);
  if (place == joined_.end() || !place->second.is_leaving || place->second.slot != slot) return;
  if (auto finished = parts_.enroller->finish_leave(id); !finished) {
    parts_.log->warn("pod {} has left, but something of it remains: {}", id, finished.error().message());
  } else {
    parts_.log->info("pod {} has left the mesh", id);
  }
  release_certificates(place->second);
  joined_.erase(place);
  changed();
}

Result<void> PodManager::gc(const cni::GcRequest& request) {
  // One that cannot leave does not keep the others; the first failure is what the runtime is told.
  Result<void> done;
  for (const std::string& id : parts_.enroller->stale_ids(request)) {
    if (auto left = leave(id); !left && done) done = std::move(left);
  }
  return done;
}

cni::Membership PodManager::is_in_mesh(const cni::PodName& pod) {
  for (const control::NamespaceConfig& one : parts_.config->mesh.namespaces) {
    if (one.name == pod.namespace_name && one.enrol) {
      return *one.enrol ? cni::Membership::Inside : cni::Membership::Outside;
    }
  }
  return parts_.config->mesh.enrol == control::EnrolMode::All ? cni::Membership::Inside : cni::Membership::Outside;
}

Result<void> PodManager::is_ready() {
  if (is_draining_) return fail(ErrorCode::Unavailable, "the agent is shutting down");
  if (!is_ready_) return fail(ErrorCode::Unavailable, "the agent is starting");
  return {};
}

void PodManager::credentials_changed(const SpiffeId& identity, std::shared_ptr<const tls::Credentials> credentials) {
  // One that is only expected gets it with its pod.
  if (std::ranges::none_of(joined_, [&](const auto& one) { return one.second.identity == identity; })) return;
  static_cast<void>(parts_.workers->post_each(
      [&](std::size_t) -> proxy::ToWorker { return proxy::SetCredentials{identity, credentials}; }));
}

std::vector<admin::Pod> PodManager::list() const {
  std::vector<admin::Pod> pods;
  for (const auto& [id, joined] : joined_) {
    const enroll::PodSpec* spec = parts_.enroller->find(id);
    admin::Pod pod;
    pod.id = id;
    pod.slot = joined.slot;
    pod.identity = joined.identity.to_string();
    pod.state = joined.is_leaving ? "leaving" : "joined";
    if (spec != nullptr) {
      pod.name = spec->name;
      pod.namespace_name = spec->namespace_name;
      pod.service_account = spec->service_account;
      pod.netns_path = spec->netns_path;
      pod.addresses = spec->addresses;
    }
    pods.push_back(std::move(pod));
  }
  for (const auto& [id, failure] : failed_) {
    admin::Pod pod;
    pod.id = id;
    pod.state = "failed";
    pod.detail = failure.why;
    pods.push_back(std::move(pod));
  }
  std::ranges::sort(pods, {}, &admin::Pod::id);
  return pods;
}

std::vector<std::uint32_t> PodManager::slots() const {
  std::vector<std::uint32_t> slots;
  for (const auto& [id, joined] : joined_) slots.push_back(joined.slot);
  return slots;
}

bool PodManager::is_joined(const std::string& id) const {
  const auto place = joined_.find(id);
  return place != joined_.end() && !place->second.is_leaving;
}

}  // namespace culvert::app
