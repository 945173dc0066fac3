// SPDX-License-Identifier: Apache-2.0
// The steps of joining, taking back, changing and leaving. Whatever fails on the way into the mesh is undone before the error goes up.
#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/socket.h>

#include "culvert/cni/messages.hpp"
#include "enroll/enroller_state.hpp"

namespace culvert::enroll {
namespace {

bool has_family(const PodSpec& spec, int family) {
  return std::ranges::any_of(spec.addresses, [family](const IpAddress& address) { return address.family() == family; });
}

std::string join_texts(const std::vector<IpAddress>& addresses) {
  std::string text;
  for (const IpAddress& address : addresses) text += (text.empty() ? "" : ", ") + address.to_string();
  return text.empty() ? "none" : text;
}

}  // namespace

Result<JoinFacts> Enroller::State::inspect(PodSpec& spec, int netns_fd) const {
  JoinFacts facts;
  facts.netns_id = CV_TRY(netns_id(netns_fd));
  if (facts.netns_id == CV_TRY(netns_id(home.get()))) {
    return fail(ErrorCode::InvalidArgument,
                "{} is the node's own network namespace; pods on the host network cannot join", spec.netns_path);
  }
  facts.netns_cookie = CV_TRY(netns_cookie(netns_fd));
  facts.content = CV_TRY(read_netns(netns_fd, home.get()));
  if (facts.content.devices.empty()) {
    // istio-cni goes on naming a sandbox whose network the runtime has taken away, until the pod has another.
    return fail(spec.capture == Capture::Rules ? ErrorCode::NotFound : ErrorCode::InvalidArgument,
                "{} has no network device but lo; join it after the pod has its network", spec.netns_path);
  }
  const std::vector<IpAddress>& present = facts.content.addresses;
  if (spec.addresses.empty()) {
    if (present.empty()) {
      return fail(ErrorCode::InvalidArgument, "{} has no address; give it one, or name the pod's addresses",
                  spec.netns_path);
    }
    const std::size_t count = std::min(present.size(), cni::kAddressesMax);
    spec.addresses.assign(present.begin(), present.begin() + static_cast<std::ptrdiff_t>(count));
    return facts;
  }
  // A namespace that has none of the pod's addresses is another pod's: to pair them would give one pod the other's identity.
  const auto is_present = [&](const IpAddress& address) {
    return std::ranges::find(present, address) != present.end();
  };
  if (std::ranges::none_of(spec.addresses, is_present)) {
    return fail(ErrorCode::InvalidArgument, "{} has none of the pod's addresses ({}); it has {}", spec.netns_path,
                join_texts(spec.addresses), join_texts(present));
  }
  return facts;
}

datapath::PodPlan Enroller::State::plan_of(const JoinedPod& pod) const {
  const PodSpec& spec = pod.record.spec;
  return {.slot = pod.record.slot,
          .netns_cookie = pod.record.netns_cookie,
          .addresses = spec.addresses,
          .devices = pod.devices,
          .excluded_ports = spec.excluded_ports,
          .excluded_cidrs = spec.excluded_cidrs,
          .bypass_inbound = spec.bypass_inbound,
          .captures_dns = options.captures_dns,
          .is_running = spec.cni_network.empty()};
}

Result<void> Enroller::State::keep(const PodRecord& record) const {
  return has_programs(record) ? dir.write(record) : Result<void>();
}

Result<void> Enroller::State::attach(const JoinedPod& pod) {
  if (!has_programs(pod.record)) return {};
  const datapath::PodPlan plan = plan_of(pod);
  CV_TRY(datapath.attach_pod(plan, pod.netns.get(), home.get()));
  return with_context(datapath.verify_pod(plan, pod.netns.get(), home.get()), "verifying what was attached");
}

Result<std::uint32_t> Enroller::State::slot_for(std::uint64_t netns_cookie) {
  for (const datapath::PinnedPod& pinned : datapath.pinned_pods()) {
    const auto is_it = [&](const auto& entry) { return entry.second.record.slot == pinned.slot; };
    if (pinned.netns_cookie == netns_cookie && std::ranges::none_of(pods, is_it)) return pinned.slot;
  }
  return datapath.allocate_slot();
}

Result<std::vector<PodListeners>> Enroller::State::open_listeners(JoinedPod& pod) {
  const PodRecord& record = pod.record;
  const PodSocketsPlan plan{.workers = options.workers,
                            .has_v4 = has_family(record.spec, AF_INET),
                            .has_v6 = has_family(record.spec, AF_INET6),
                            .capture = record.spec.capture,
                            .mark = has_programs(record) ? 0 : options.mark,
                            // Two agents share the ports of a pod while one replaces the other.
                            .refuses_taken_ports = !pod.shares_ports && has_programs(record)};
  auto workers = CV_TRY(open_pod_sockets(plan, datapath.socket_marker(), pod.netns.get(), home.get()));
  if (workers.empty() || !has_programs(record)) return workers;
  pod.has_listeners = false;  // from here on the old ones are not found
  // The first worker's socket stands for its SO_REUSEPORT group: the kernel spreads connections over the group.
  using datapath::ListenerRole;
  for (const auto& [family, sockets] :
       {std::pair(AF_INET, &workers.front().v4), std::pair(AF_INET6, &workers.front().v6)}) {
    if (!sockets->outbound) continue;
    CV_TRY(datapath.set_listener(record.slot, ListenerRole::Outbound, family, sockets->outbound.get()));
    CV_TRY(
        datapath.set_listener(record.slot, ListenerRole::InboundPlaintext, family, sockets->inbound_plaintext.get()));
  }
  return workers;
}

Result<Pod> Enroller::State::bring_up(JoinedPod& pod, bool is_kept) {
  Pod result = CV_TRY(answer(pod));
  if (!is_kept) CV_TRY(with_context(keep(pod.record), "keeping the pod's record"));
  result.listeners = CV_TRY(open_listeners(pod));
  CV_TRY(attach(pod));
  pod.has_listeners = true;
  pod.shares_ports = true;
  pod.is_settled = !has_programs(pod.record);
  return result;
}

Result<void> Enroller::State::tear_down(const PodRecord& record, int netns_fd) {
  if (!has_programs(record)) {
    datapath.release_slot(record.slot);
    return {};
  }
  if (auto detached = datapath.detach_pod(record.slot, netns_fd, home.get()); !detached) {
    // Hooks may be left: the slot is no other pod's until they are gone, and a restarted agent finishes the leave.
    PodRecord leaving = record;
    leaving.is_leaving = true;
    [[maybe_unused]] const auto written = dir.write(leaving);
    return detached;
  }
  datapath.release_slot(record.slot);
  return forget(record.spec.id);
}

Result<void> Enroller::State::clear_away(const PodRecord& record, int netns_fd) {
  const bool is_anothers =
      std::ranges::any_of(pods, [&](const auto& pod) { return pod.second.record.slot == record.slot; });
  return is_pinned(record) && !is_anothers ? tear_down(record, netns_fd) : forget(record.spec.id);
}

Result<void> Enroller::State::forget(const std::string& id) const {
  dir.remove_tombstone(id);
  return with_context(dir.remove(id), "the hooks are gone, the record is not; remove it by hand");
}

bool Enroller::State::is_pinned(const PodRecord& record) const {
  return std::ranges::any_of(datapath.pinned_pods(), [&](const datapath::PinnedPod& pinned) {
    return pinned.slot == record.slot && pinned.netns_cookie == record.netns_cookie;
  });
}

Result<Pod> Enroller::State::answer(const JoinedPod& pod) {
  Pod result;
  result.spec = pod.record.spec;
  result.slot = pod.record.slot;
  result.netns_cookie = pod.record.netns_cookie;
  result.netns.reset(::fcntl(pod.netns.get(), F_DUPFD_CLOEXEC, 3));
  if (!result.netns) return fail_errno(errno, "cannot copy the descriptor of {}", pod.record.spec.netns_path);
  return result;
}

Result<Pod> Enroller::State::join_new(JoinedPod pod) {
  auto joined = bring_up(pod);
  if (joined) {
    pods.insert_or_assign(pod.record.spec.id, std::move(pod));
    return joined;
  }
  if (auto undone = tear_down(pod.record, pod.netns.get()); !undone) {
    joined.error().add_context(fmt::format("(and undoing the join failed: {})", undone.error().message()));
  }
  return joined;
}

Result<Pod> Enroller::State::take_back(JoinedPod& pod, PodSpec spec, NetnsContent content) {
  const PodRecord before = pod.record;
  const std::vector<std::string> devices_before = std::exchange(pod.devices, std::move(content.devices));
  pod.record.spec = std::move(spec);
  pod.record.is_leaving = false;
  auto joined = bring_up(pod);
  if (joined) return joined;
  // As before the call, perhaps without listeners: the hooks stay (fail closed), a later join puts everything back, and a leave that was
  // under way is finished by whoever began it.
  pod.record = before;
  pod.devices = devices_before;
  if (before.is_leaving && has_programs(before)) [[maybe_unused]]
    const auto stopped = datapath.stop_capture(before.slot);
  [[maybe_unused]] const auto written = keep(before);
  return joined;
}

Result<Pod> Enroller::State::update(JoinedPod& pod, PodSpec spec, NetnsContent content) {
  const bool had_v4 = has_family(pod.record.spec, AF_INET);
  const bool had_v6 = has_family(pod.record.spec, AF_INET6);
  if (has_family(spec, AF_INET) != had_v4 || has_family(spec, AF_INET6) != had_v6) {
    // Another set of listeners: the workers get all of them anew.
    return take_back(pod, std::move(spec), std::move(content));
  }
  PodSpec before = std::exchange(pod.record.spec, std::move(spec));
  std::vector<std::string> devices_before = std::exchange(pod.devices, std::move(content.devices));
  Result<Pod> joined = answer(pod);
  Result<void> done = joined ? keep(pod.record) : std::unexpected(std::move(joined).error());
  if (done) done = attach(pod);
  pod.is_settled = !has_programs(pod.record);
  if (done) return joined;
  pod.record.spec = std::move(before);
  pod.devices = std::move(devices_before);
  [[maybe_unused]] const auto attached = attach(pod);
  [[maybe_unused]] const auto written = keep(pod.record);
  return std::unexpected(std::move(done).error());
}

}  // namespace culvert::enroll
