// SPDX-License-Identifier: Apache-2.0
#include "datapath/pod_maps.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

namespace culvert::datapath {
namespace {

constexpr __u32 kPresent = 1;

template <typename Key>
bool is_same(const Key& a, const Key& b) {
  static_assert(std::has_unique_object_representations_v<Key>);
  return std::memcmp(&a, &b, sizeof(Key)) == 0;
}

template <typename Key>
bool has(const std::vector<Key>& keys, const Key& key) {
  return std::any_of(keys.begin(), keys.end(), [&](const Key& other) { return is_same(key, other); });
}

// Calls `visit(key)` for every key of a map.
template <typename Key, typename Visit>
Result<void> for_each_key(int map_fd, Visit&& visit) {
  Key key{};
  const Key* previous = nullptr;
  for (;;) {
    Key next{};
    if (bpf_map_get_next_key(map_fd, previous, &next) != 0) {
      if (errno == ENOENT) return {};
      return fail_errno(errno, "cannot walk through a map");
    }
    visit(next);
    key = next;
    previous = &key;
  }
}

__u32 listener_index(std::uint32_t slot, ListenerRole role, int family) {
  return CV_LISTENER_INDEX(slot, role == ListenerRole::Outbound ? CV_LISTENER_OUTBOUND : CV_LISTENER_INBOUND,
                           family == AF_INET ? CV_LISTENER_V4 : CV_LISTENER_V6);
}

}  // namespace

cv_addr to_abi(const IpAddress& address) noexcept {
  cv_addr out;
  static_assert(sizeof(out) == 16);
  std::memcpy(&out, address.mapped().data(), sizeof(out));
  return out;
}

IpAddress from_abi(const cv_addr& address) noexcept {
  in6_addr raw;
  static_assert(sizeof(raw) == sizeof(address));
  std::memcpy(&raw, &address, sizeof(raw));
  return IpAddress::v6(raw);
}

PodEntries entries_of(const PodPlan& plan) {
  PodEntries entries;
  entries.pod = {.netns_cookie = plan.netns_cookie, .flags = CV_POD_ACTIVE, .zero = 0};
  if (plan.bypass_inbound) entries.pod.flags |= CV_POD_BYPASS_INBOUND;
  if (plan.captures_dns) entries.pod.flags |= CV_POD_DNS;
  for (const auto& address : plan.addresses) entries.addresses.push_back(to_abi(address));
  const auto direction = [&entries](bool is_inbound) {
    entries.pod.flags |= is_inbound ? CV_POD_EXCL_IN : CV_POD_EXCL_OUT;
    return is_inbound ? CV_DIRECTION_IN : CV_DIRECTION_OUT;
  };
  for (const auto& rule : plan.excluded_ports)
    entries.ports.push_back(
        {.slot = plan.slot, .port = rule.port, .direction = static_cast<__u16>(direction(rule.is_inbound))});
  for (const auto& rule : plan.excluded_cidrs) {
    const unsigned mapped_bits = rule.cidr.network.is_v4() ? 96U + rule.cidr.bits : rule.cidr.bits;
    entries.cidrs.push_back({.prefix_bits = CV_CIDR_FIXED_BITS + mapped_bits,
                             .slot = plan.slot,
                             .direction = direction(rule.is_inbound),
                             .addr = to_abi(rule.cidr.network)});
  }
  return entries;
}

Result<std::map<std::uint32_t, PodEntries>> PodMaps::read_all() const {
  std::map<std::uint32_t, PodEntries> all;
  std::vector<__u32> slots(CV_POD_SLOTS_MAX);
  std::vector<cv_pod> pods(CV_POD_SLOTS_MAX);
  __u32 cursor = 0;
  __u32 count = CV_POD_SLOTS_MAX;
  // ENOENT: there are no more.
  if (bpf_map_lookup_batch(fds_.pods, nullptr, &cursor, slots.data(), pods.data(), &count, nullptr) != 0 &&
      errno != ENOENT)
    return fail_errno(errno, "cannot read cv_pods");
  for (__u32 i = 0; i < count; ++i) {
    if (pods[i].netns_cookie != 0) all[slots[i]].pod = pods[i];
  }
  if (all.empty()) return all;
  CV_TRY(for_each_key<cv_addr>(fds_.pod_addrs, [&](const cv_addr& key) {
    __u32 slot = 0;
    if (bpf_map_lookup_elem(fds_.pod_addrs, &key, &slot) == 0) all[slot].addresses.push_back(key);
  }));
  CV_TRY(
      for_each_key<cv_port_key>(fds_.excl_ports, [&](const cv_port_key& key) { all[key.slot].ports.push_back(key); }));
  CV_TRY(
      for_each_key<cv_cidr_key>(fds_.excl_cidrs, [&](const cv_cidr_key& key) { all[key.slot].cidrs.push_back(key); }));
  std::erase_if(all, [](const auto& item) { return item.second.pod.netns_cookie == 0; });
  return all;
}

Result<void> PodMaps::write(std::uint32_t slot, const PodEntries& now, const PodEntries& before) const {
  if (auto written = write_all(slot, now); !written) {
    remove_stale(slot, now, before);
    return written;
  }
  if (before.pod.netns_cookie != 0 && before.pod.netns_cookie != now.pod.netns_cookie)
    disable_steering(slot, before.pod.netns_cookie);
  remove_stale(slot, before, now);
  return {};
}

Result<void> PodMaps::write_all(std::uint32_t slot, const PodEntries& now) const {
  const auto full = [](int saved_errno, const char* what, unsigned limit) {
    return fail_errno(saved_errno, "cannot note {} (a node holds {})", what, limit);
  };
  for (const auto& key : now.ports)
    if (bpf_map_update_elem(fds_.excl_ports, &key, &kPresent, BPF_ANY) != 0)
      return full(errno, "an excluded port", CV_EXCL_PORTS_MAX);
  for (const auto& key : now.cidrs)
    if (bpf_map_update_elem(fds_.excl_cidrs, &key, &kPresent, BPF_ANY) != 0)
      return full(errno, "an excluded range", CV_EXCL_CIDRS_MAX);
  for (const auto& key : now.addresses)
    if (bpf_map_update_elem(fds_.pod_addrs, &key, &slot, BPF_ANY) != 0)
      return full(errno, "a pod address", CV_POD_ADDRS_MAX);
  if (bpf_map_update_elem(fds_.pods, &slot, &now.pod, BPF_ANY) != 0)
    return fail_errno(errno, "cannot write pod {}", slot);
  return {};
}

void PodMaps::remove_stale(std::uint32_t slot, const PodEntries& old, const PodEntries& kept) const noexcept {
  for (const auto& key : old.ports)
    if (!has(kept.ports, key)) bpf_map_delete_elem(fds_.excl_ports, &key);
  for (const auto& key : old.cidrs)
    if (!has(kept.cidrs, key)) bpf_map_delete_elem(fds_.excl_cidrs, &key);
  for (const auto& key : old.addresses) {
    // An address that another pod has got since is that pod's.
    __u32 owner = 0;
    if (!has(kept.addresses, key) && bpf_map_lookup_elem(fds_.pod_addrs, &key, &owner) == 0 && owner == slot)
      bpf_map_delete_elem(fds_.pod_addrs, &key);
  }
}

Result<void> PodMaps::set_flags(std::uint32_t slot, PodEntries& entries, std::uint32_t flags) const {
  auto pod = entries.pod;
  pod.flags = flags;
  if (bpf_map_update_elem(fds_.pods, &slot, &pod, BPF_ANY) != 0) return fail_errno(errno, "cannot write pod {}", slot);
  entries.pod = pod;
  return {};
}

Result<void> PodMaps::enable_steering(std::uint32_t slot, std::uint64_t netns_cookie) const {
  if (bpf_map_update_elem(fds_.pod_slots, &netns_cookie, &slot, BPF_ANY) != 0)
    return fail_errno(errno, "cannot note the pod's namespace (a node holds {} pods)", CV_POD_SLOTS_MAX - 1);
  return {};
}

void PodMaps::disable_steering(std::uint32_t slot, std::uint64_t netns_cookie) const noexcept {
  __u32 owner = 0;
  if (bpf_map_lookup_elem(fds_.pod_slots, &netns_cookie, &owner) == 0 && owner == slot)
    bpf_map_delete_elem(fds_.pod_slots, &netns_cookie);
}

void PodMaps::clear(std::uint32_t slot, const PodEntries& entries) const noexcept {
  disable_steering(slot, entries.pod.netns_cookie);
  const cv_pod none{};
  bpf_map_update_elem(fds_.pods, &slot, &none, BPF_ANY);
  remove_stale(slot, entries, {});
  for (const auto role : {ListenerRole::Outbound, ListenerRole::InboundPlaintext}) {
    for (const int family : {AF_INET, AF_INET6}) {
      const __u32 index = listener_index(slot, role, family);
      bpf_map_delete_elem(fds_.listeners, &index);
    }
  }
}

Result<void> PodMaps::verify(std::uint32_t slot, const PodEntries& wanted) const {
  cv_pod pod{};
  if (bpf_map_lookup_elem(fds_.pods, &slot, &pod) != 0) return fail_errno(errno, "cannot read cv_pods");
  if (!is_same(pod, wanted.pod)) return fail(ErrorCode::NotFound, "cv_pods does not hold the pod in slot {}", slot);
  __u32 owner = 0;
  if (bpf_map_lookup_elem(fds_.pod_slots, &wanted.pod.netns_cookie, &owner) != 0 || owner != slot)
    return fail(ErrorCode::NotFound, "cv_pod_slots does not lead from namespace cookie {} to slot {}",
                wanted.pod.netns_cookie, slot);
  for (const auto& key : wanted.addresses)
    if (bpf_map_lookup_elem(fds_.pod_addrs, &key, &owner) != 0 || owner != slot)
      return fail(ErrorCode::NotFound, "cv_pod_addrs does not lead from {} to slot {}", from_abi(key).to_string(),
                  slot);
  for (const auto& key : wanted.ports)
    if (bpf_map_lookup_elem(fds_.excl_ports, &key, &owner) != 0)
      return fail(ErrorCode::NotFound, "cv_excl_ports lacks port {}", key.port);
  for (const auto& key : wanted.cidrs)
    if (bpf_map_lookup_elem(fds_.excl_cidrs, &key, &owner) != 0)
      return fail(ErrorCode::NotFound, "cv_excl_cidrs lacks {}", from_abi(key.addr).to_string());
  return {};
}

Result<cv_pod_undo> PodMaps::undo(std::uint32_t slot) const {
  cv_pod_undo undo{};
  if (bpf_map_lookup_elem(fds_.pod_undo, &slot, &undo) != 0) return fail_errno(errno, "cannot read cv_pod_undo");
  return undo;
}

Result<void> PodMaps::set_undo(std::uint32_t slot, const cv_pod_undo& undo) const {
  if (bpf_map_update_elem(fds_.pod_undo, &slot, &undo, BPF_ANY) != 0)
    return fail_errno(errno, "cannot write cv_pod_undo");
  return {};
}

Result<void> PodMaps::set_listener(std::uint32_t slot, ListenerRole role, int family, int listener_fd) const {
  const __u32 index = listener_index(slot, role, family);
  const auto value = static_cast<__u64>(listener_fd);
  if (bpf_map_update_elem(fds_.listeners, &index, &value, BPF_ANY) != 0)
    return fail_errno(errno, "cannot register a listener for slot {}; it must be a listening TCP socket", slot);
  return {};
}

bool PodMaps::has_listener(std::uint32_t slot, ListenerRole role, int family) const noexcept {
  const __u32 index = listener_index(slot, role, family);
  __u64 socket_cookie = 0;
  return bpf_map_lookup_elem(fds_.listeners, &index, &socket_cookie) == 0;
}

Result<cv_pod_counters> PodMaps::counters(std::uint32_t slot) const {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return fail_errno(-cpus, "cannot count the processors");
  std::vector<cv_pod_counters> by_cpu(static_cast<std::size_t>(cpus));
  if (bpf_map_lookup_elem(fds_.counters, &slot, by_cpu.data()) != 0)
    return fail_errno(errno, "cannot read the counters of slot {}", slot);
  cv_pod_counters sum{};
  for (const auto& cpu : by_cpu)
    for (std::size_t i = 0; i < CV_COUNTERS; ++i) sum.values[i] += cpu.values[i];
  return sum;
}

void PodMaps::zero_counters(std::uint32_t slot) const noexcept {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return;
  const std::vector<cv_pod_counters> zeros(static_cast<std::size_t>(cpus));
  bpf_map_update_elem(fds_.counters, &slot, zeros.data(), BPF_ANY);
}

}  // namespace culvert::datapath
