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
  auto listeners = enroll::Listeners::Kept;
  if (const auto place = joined_.find(id); place != joined_.end()) {
    const SpiffeId identity = CV_TRY(identity_of(spec));
    // Listeners and tunnels are an account's: with another one the workers get the pod anew. It never stops being captured.
    const SpiffeId& known = place->second.identity;
    if (known.namespace_name != identity.namespace_name || known.service_account != identity.service_account) {
      listeners = enroll::Listeners::Anew;
    }
  }
  const std::uint32_t slot_before = parts_.enroller->is_leaving(id) ? 0 : parts_.enroller->slot_of(id);
  auto joined = parts_.enroller->join(std::move(spec), std::move(netns), listeners);
  if (!joined) {
    join_failed(id, joined.error());
    return std::unexpected(std::move(joined).error());
  }
  enroll::Pod& pod = *joined;
  settle_later();
  const std::uint32_t slot = pod.slot;
  failed_.erase(id);
  if (pod.listeners.empty()) {  // joined already, perhaps with other values
    const bool is_posted = parts_.workers->post_each([&](std::size_t) -> proxy::ToWorker {
      return proxy::UpdatePod{slot, pod.spec.addresses, pod.spec.answer_syn};
    });
    changed();
    if (!is_posted)
      return fail(ErrorCode::ResourceExhausted, "the workers cannot take what is new of pod {}: stuck", id);
    return enroll::JoinAnswer{slot};
  }
  if (auto served = serve(std::move(pod)); !served) {
    serve_failed(id, slot, slot == slot_before, served.error());
    return std::unexpected(std::move(served).error());
  }
  parts_.log->info("pod {} joined the mesh (slot {})", id, slot);
  return enroll::JoinAnswer{slot};
}

Result<void> PodManager::serve(enroll::Pod pod) {
  const std::string& id = pod.spec.id;
  const SpiffeId identity = CV_TRY(identity_of(pod.spec));
  // The id was taken over from a sandbox that is gone: the workers let go of that one's slot, listeners and tunnels.
  if (const auto before = joined_.find(id); before != joined_.end() && before->second.slot != pod.slot) forget(id);
  const auto before = joined_.find(id);
  if (before != joined_.end()) before->second.dns.reset();  // its ports are wanted again
  auto dns = CV_TRY(open_dns(pod));
  std::vector<proxy::PodSetup> setups(parts_.workers->size());
  for (std::size_t i = 0; i < setups.size(); ++i) {
    proxy::PodSetup& setup = setups[i];
    setup.slot = pod.slot;
    setup.id = id;
    setup.name = pod.spec.name;
    setup.namespace_name = pod.spec.namespace_name;
    setup.identity = identity;
    setup.addresses = pod.spec.addresses;
    setup.capture = pod.spec.capture;
    setup.answer_syn = pod.spec.answer_syn;
    if (is_in_cluster()) setup.uid = control_plane_uid(pod.spec);
    setup.local_uid = local_uid(pod.spec);
    setup.waits_for_name = waits_for_name(pod.spec);
    setup.netns = UniqueFd(::fcntl(pod.netns.get(), F_DUPFD_CLOEXEC, 0));
    if (!setup.netns) return fail_errno(errno, "cannot copy the descriptor of the network namespace of pod {}", id);
    if (i < pod.listeners.size()) setup.listeners = std::move(pod.listeners[i]);
  }
  const bool holds_certificate = may_guess(pod.spec) || workload_of(pod.spec) != nullptr;
  if (holds_certificate) parts_.certificates->hold(identity);
  const auto credentials = parts_.certificates->current(identity);
  const bool is_another = before != joined_.end() && before->second.identity != identity;
  const bool is_posted = parts_.workers->post_each([&](std::size_t i) -> proxy::ToWorker {
    // The old identity's certificate and key go with it.
    if (is_another) static_cast<void>(parts_.workers->post_to(i, proxy::RemovePod{pod.slot, 0, nullptr}));
    setups[i].credentials = credentials;
    return proxy::AddPod{std::move(setups[i])};
  });
  if (!is_posted) {
    if (holds_certificate) parts_.certificates->release(identity);
    return fail(ErrorCode::ResourceExhausted, "the workers cannot take pod {}: stuck", id);
  }
  if (before != joined_.end()) release_certificates(before->second);
  joined_[id] = Joined{identity, pod.slot, holds_certificate, false, 0, std::move(dns), {}};
  ++started_;
  changed();
  return {};
}

void PodManager::join_failed(const std::string& id, const Error& error) {
  const auto place = joined_.find(id);
  if (place == joined_.end()) return;
  if (parts_.enroller->slot_of(id) == 0) {
    forget(id);  // it has made room for a sandbox that could not have it
    changed();
  } else if (!place->second.is_leaving && !parts_.enroller->has_listeners(id)) {
    adopt_later(id, error);
  }
}

void PodManager::serve_failed(const std::string& id, std::uint32_t slot, bool was_captured, const Error& error) {
  if (was_captured) {
    adopt_later(id, error);
    return;
  }
  // Some of the workers may have it.
  static_cast<void>(
      parts_.workers->post_each([slot](std::size_t) -> proxy::ToWorker { return proxy::RemovePod{slot, 0, nullptr}; }));
  if (const auto place = joined_.find(id); place != joined_.end() && place->second.is_leaving) {
    static_cast<void>(parts_.enroller->begin_leave(id));  // goes on, and ends when the last worker says so
  } else {
    static_cast<void>(parts_.enroller->finish_leave(id));
    changed();
  }
}

void PodManager::forget(const std::string& id) {
  const auto place = joined_.find(id);
  if (place == joined_.end()) return;
  static_cast<void>(parts_.workers->post_each(
      [slot = place->second.slot](std::size_t) -> proxy::ToWorker { return proxy::RemovePod{slot, 0, nullptr}; }));
  release_certificates(place->second);
  joined_.erase(place);
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
  const std::uint64_t number = place->second.leave = ++leaves_;
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
      [this, id, number] { finish_leave(id, number); });
  return {};
}

void PodManager::finish_leave(const std::string& id, std::uint64_t number) {
  const auto place = joined_.find(id);
  if (place == joined_.end() || place->second.leave != number) return;  // it has joined again meanwhile
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

void PodManager::credentials_changed(const SpiffeId& identity) {
  // A pod waits for it to become who the control plane says; not from in here, where its certificate may be being asked for.
  if (!will_follow_ && std::ranges::any_of(joined_, [&](const auto& one) { return one.second.next == identity; })) {
    will_follow_ = true;
    parts_.reactor->after_ms(0, [this] {
      will_follow_ = false;
      if (!is_draining_) follow_control_plane();
    });
  }
  // One that is only expected gets it with its pod.
  if (std::ranges::none_of(joined_, [&](const auto& one) { return one.second.identity == identity; })) return;
  new_credentials_.insert(identity);
  post_credentials_.run();
}

// What is current when it is posted: by then it may be newer, or nobody's any more.
bool PodManager::post_credentials() {
  std::erase_if(new_credentials_, [this](const SpiffeId& identity) {
    return parts_.workers->post_each([&](std::size_t) -> proxy::ToWorker {
      return proxy::SetCredentials{identity, parts_.certificates->current(identity)};
    });
  });
  return new_credentials_.empty();
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
    if (const auto failure = failed_.find(id); failure != failed_.end()) {
      // Without listeners, or with a new entry that was not taken: the old one serves on.
      if (failure->second.origin == Origin::Adoption) pod.state = "failed";
      pod.detail = failure->second.why;
    }
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
    if (joined_.contains(id)) continue;
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
