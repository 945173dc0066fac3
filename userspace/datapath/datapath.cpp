// SPDX-License-Identifier: Apache-2.0
#include "datapath/datapath.hpp"

#include <bitset>
#include <map>

#include "core/netns.hpp"
#include "datapath/bpf_object.hpp"
#include "datapath/capabilities.hpp"
#include "datapath/clsact.hpp"
#include "datapath/links.hpp"
#include "datapath/loopback.hpp"
#include "datapath/node_hooks.hpp"
#include "datapath/pod_hooks.hpp"
#include "datapath/pod_maps.hpp"

namespace culvert::datapath {

struct Datapath::State {
  Options options;
  PinPlan pins;
  Capabilities capabilities;
  BpfObject object;
  PodMaps maps;
  std::map<std::uint32_t, PodEntries> pods;  // what is in the maps, by slot
  std::bitset<CV_POD_SLOTS_MAX> used;        // slots given out; slot 0 means "no pod"
  std::uint32_t last_slot = 0;

  [[nodiscard]] LoopbackPlan loopback_plan(const std::vector<IpAddress>& addresses) const {
    return {.mark = options.mark,
            .route_table = options.route_table,
            .rule_priority = options.rule_priority,
            .allow_big_segments = options.allow_big_segments,
            .addresses = addresses};
  }
};

namespace {

Result<void> check_plan(const PodPlan& plan) {
  if (plan.slot == 0 || plan.slot >= CV_POD_SLOTS_MAX)
    return fail(ErrorCode::InvalidArgument, "slot {} is not in 1..{}", plan.slot, CV_POD_SLOTS_MAX - 1);
  if (plan.netns_cookie == 0) return fail(ErrorCode::InvalidArgument, "the pod's namespace has no cookie");
  if (plan.addresses.empty()) return fail(ErrorCode::InvalidArgument, "the pod has no address");
  return {};
}

bool has_family(const PodPlan& plan, int family) {
  for (const auto& address : plan.addresses)
    if (address.family() == family) return true;
  return false;
}

// From every device of the namespace that the thread is in; where there is nothing of ours nothing happens.
void remove_clsact(RtNetlink& netlink, const cv_pod_undo& undo) {
  const auto devices = netlink.devices();
  if (!devices) return;
  for (const auto& device : *devices) {
    if (device.ifindex == CV_LO_IFINDEX) continue;
    remove_clsact_filter(device.ifindex);
    if (undo.owns_clsact != 0) remove_clsact_qdisc(netlink, device.ifindex);
  }
}

}  // namespace

Datapath::Datapath(std::unique_ptr<State> state) : state_(std::move(state)) {}
Datapath::~Datapath() = default;

Result<std::unique_ptr<Datapath>> Datapath::open(const Options& options) {
  const PinPlan pins{options.pin_dir};
  const BpfObject::Settings settings{.abi = {.version = CV_ABI_VERSION,
                                             .mark = options.mark,
                                             .route_table = options.route_table,
                                             .rule_priority = options.rule_priority},
                                     .node_netns_cookie = options.node_netns_cookie};
  auto object = CV_TRY(with_context(BpfObject::load(pins, settings), "datapath"));
  PodMaps maps(object.maps());
  auto pods = CV_TRY(with_context(maps.read_all(), "datapath"));
  auto state = std::make_unique<State>(State{.options = options,
                                             .pins = pins,
                                             .capabilities = {},
                                             .object = std::move(object),
                                             .maps = maps,
                                             .pods = std::move(pods),
                                             .used = {},
                                             .last_slot = 0});
  state->used.set(0);
  for (const auto& [slot, entries] : state->pods) state->used.set(slot);
  auto& capabilities = state->capabilities;
  capabilities.has_tcx = options.allow_tcx && try_tcx();
  read_pod_hooks(capabilities, try_pod_hooks());
  capabilities.has_clsact = capabilities.has_clsact && options.allow_clsact;
  read_segment_limits(capabilities);
  attach_node_hooks(state->object, pins, options, capabilities);
  return std::unique_ptr<Datapath>(new Datapath(std::move(state)));
}

std::unique_ptr<Datapath> Datapath::without_programs() {
  auto state = std::make_unique<State>(State{.options = {},
                                             .pins = PinPlan{},
                                             .capabilities = {},
                                             .object = BpfObject::none(),
                                             .maps = PodMaps(MapFds{}),
                                             .pods = {},
                                             .used = {},
                                             .last_slot = 0});
  state->used.set(0);
  return std::unique_ptr<Datapath>(new Datapath(std::move(state)));
}

bool Datapath::has_programs() const noexcept { return state_->object.is_loaded(); }

const Capabilities& Datapath::capabilities() const noexcept { return state_->capabilities; }

SocketMarker Datapath::socket_marker() const noexcept { return SocketMarker(state_->object.maps().sock_state); }

SynGate Datapath::syn_gate() const noexcept {
  if (!has_programs()) return {};
  const MapFds& maps = state_->object.maps();
  return {state_->object.program_fd(Program::HoldSyn), maps.syn_listeners, maps.syn_rings};
}

std::vector<PinnedPod> Datapath::pinned_pods() const {
  std::vector<PinnedPod> found;
  for (const auto& [slot, entries] : state_->pods)
    found.push_back({.slot = slot, .netns_cookie = entries.pod.netns_cookie});
  return found;
}

Result<std::uint32_t> Datapath::allocate_slot() {
  // Round robin, so that a slot that has just become free rests for a while: late packets of its last pod count for nobody.
  for (std::uint32_t step = 1; step <= CV_POD_SLOTS_MAX; ++step) {
    const std::uint32_t slot = (state_->last_slot + step) % CV_POD_SLOTS_MAX;
    if (state_->used.test(slot)) continue;
    state_->used.set(slot);
    state_->last_slot = slot;
    return slot;
  }
  return fail(ErrorCode::ResourceExhausted, "this node has {} joined pods, which is the limit", CV_POD_SLOTS_MAX - 1);
}

void Datapath::release_slot(std::uint32_t slot) noexcept {
  if (slot != 0 && slot < CV_POD_SLOTS_MAX && !state_->pods.contains(slot)) state_->used.reset(slot);
}

Result<void> Datapath::set_listener(std::uint32_t slot, ListenerRole role, int family, int listener_fd) {
  return with_context(state_->maps.set_listener(slot, role, family, listener_fd), "datapath");
}

Result<void> Datapath::attach_pod(const PodPlan& plan, int netns_fd, int home_netns_fd) {
  CV_TRY(check_plan(plan));
  const bool is_new = !state_->pods.contains(plan.slot);
  auto attached = attach(plan, netns_fd, home_netns_fd);
  // A failed first attempt leaves nothing; a failed repetition leaves the hooks, which is the strict side.
  if (!attached && is_new) static_cast<void>(detach_pod(plan.slot, netns_fd, home_netns_fd));
  return with_context(std::move(attached), "attaching the pod's hooks");
}

Result<void> Datapath::attach(const PodPlan& plan, int netns_fd, int home_netns_fd) {
  auto& state = *state_;
  const auto guard = CV_TRY(NetnsGuard::enter(netns_fd, home_netns_fd));
  auto netlink = CV_TRY(RtNetlink::open());
  const PodHooks hooks{.slot = plan.slot,
                       .netns_fd = netns_fd,
                       .has_tcx = state.capabilities.has_tcx,
                       .has_clsact = state.capabilities.has_clsact,
                       .is_running = plan.is_running,
                       .devices = CV_TRY(find_devices(netlink, plan.devices))};
  const auto entries = entries_of(plan);
  const auto before = state.pods[plan.slot];
  if (before.pod.netns_cookie != plan.netns_cookie) {
    state.maps.zero_counters(plan.slot);
    CV_TRY(state.maps.set_undo(plan.slot, {}));
  }
  // What was there is noted before it is changed, so that any later agent can put it back.
  auto undo = CV_TRY(state.maps.undo(plan.slot));
  CV_TRY(read_loopback(netlink, undo));
  CV_TRY(state.maps.set_undo(plan.slot, undo));
  CV_TRY(prepare_loopback(netlink, state.loopback_plan(plan.addresses)));
  CV_TRY(state.maps.write(plan.slot, entries, before));
  state.pods[plan.slot] = entries;
  state.used.set(plan.slot);
  if (CV_TRY(attach_pod_hooks(state.object, state.pins, hooks))) {
    undo.owns_clsact = 1;
    CV_TRY(state.maps.set_undo(plan.slot, undo));
  }
  // Last: a connection is steered only when everything that it will meet is in place.
  return state.maps.enable_steering(plan.slot, plan.netns_cookie);
}

Result<void> Datapath::settle_pod(const PodPlan& plan, int netns_fd, int home_netns_fd) {
  auto& state = *state_;
  if (!state.capabilities.has_tcx || !state.pods.contains(plan.slot)) return {};
  const auto guard = CV_TRY(NetnsGuard::enter(netns_fd, home_netns_fd));
  auto netlink = CV_TRY(RtNetlink::open());
  const PodHooks hooks{
      .slot = plan.slot, .netns_fd = netns_fd, .has_tcx = true, .devices = CV_TRY(find_devices(netlink, plan.devices))};
  CV_TRY(with_context(settle_pod_hooks(state.object, state.pins, hooks), "settling the pod's hooks"));
  for (const auto& device : hooks.devices) remove_clsact_filter(device.ifindex);
  return {};
}

Result<void> Datapath::verify_pod(const PodPlan& plan, int netns_fd, int home_netns_fd) const {
  const auto& state = *state_;
  CV_TRY(with_context(state.maps.verify(plan.slot, entries_of(plan)), "verifying the pod"));
  for (const int family : {AF_INET, AF_INET6}) {
    if (!has_family(plan, family)) continue;
    for (const auto role : {ListenerRole::Outbound, ListenerRole::InboundPlaintext})
      if (!state.maps.has_listener(plan.slot, role, family))
        return fail(ErrorCode::NotFound, "verifying the pod: no {} {} listener is registered",
                    family == AF_INET ? "IPv4" : "IPv6", role == ListenerRole::Outbound ? "outbound" : "inbound");
  }
  const auto guard = CV_TRY(NetnsGuard::enter(netns_fd, home_netns_fd));
  auto netlink = CV_TRY(RtNetlink::open());
  CV_TRY(with_context(verify_loopback(netlink, state.loopback_plan(plan.addresses)), "verifying the pod"));
  const PodHooks hooks{.slot = plan.slot,
                       .netns_fd = netns_fd,
                       .has_tcx = state.capabilities.has_tcx,
                       .devices = CV_TRY(find_devices(netlink, plan.devices))};
  return with_context(verify_pod_hooks(state.pins, hooks), "verifying the pod");
}

Result<void> Datapath::stop_capture(std::uint32_t slot) {
  const auto found = state_->pods.find(slot);
  if (found == state_->pods.end()) return {};
  return state_->maps.set_flags(slot, found->second, found->second.pod.flags | CV_POD_LEAVING);
}

Result<void> Datapath::detach_pod(std::uint32_t slot, int netns_fd, int home_netns_fd) {
  auto& state = *state_;
  if (slot == 0 || slot >= CV_POD_SLOTS_MAX) return {};
  const auto entries = state.pods[slot];
  state.maps.disable_steering(slot, entries.pod.netns_cookie);
  remove_pin_tree(state.pins.pod(slot));
  const auto undo = state.maps.undo(slot);
  Result<void> restored;
  if (netns_fd >= 0) restored = restore(undo.value_or(cv_pod_undo{}), netns_fd, home_netns_fd);
  state.maps.clear(slot, entries);
  state.pods.erase(slot);
  if (auto cleared = state.maps.set_undo(slot, {}); !cleared && restored) restored = std::move(cleared);
  return with_context(std::move(restored), "detaching the pod's hooks");
}

Result<void> Datapath::restore(const cv_pod_undo& undo, int netns_fd, int home_netns_fd) {
  const auto guard = CV_TRY(NetnsGuard::enter(netns_fd, home_netns_fd));
  auto netlink = CV_TRY(RtNetlink::open());
  remove_clsact(netlink, undo);
  return restore_loopback(netlink, state_->loopback_plan({}), undo);
}

Result<std::vector<PodCounter>> Datapath::counters(std::uint32_t slot) const {
  const auto values = CV_TRY(with_context(state_->maps.counters(slot), "datapath"));
  std::vector<PodCounter> named;
  named.reserve(CV_COUNTERS);
#define CV_NAMED(enumerator, metric, is_drop, text) \
  named.push_back({.name = metric, .help = text, .value = values.values[CV_COUNTER_##enumerator]});
  CV_COUNTER_LIST(CV_NAMED)
#undef CV_NAMED
  return named;
}

void Datapath::remove_pins(const std::string& pin_dir) { remove_pin_tree(pin_dir); }

}  // namespace culvert::datapath
