// SPDX-License-Identifier: Apache-2.0
#include "datapath/loopback.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.hpp"

namespace culvert::datapath {
namespace {

// The one table of the sysctls: which, and where its old value is kept. /proc/sys/net shows the namespace of the thread that opens it.
struct Sysctl {
  const char* path;
  __s32 cv_pod_undo::* before;
};
constexpr std::array<Sysctl, 4> kSysctls{{
    // A packet that tc sends to lo has the pod's own address as its source.
    {"/proc/sys/net/ipv4/conf/lo/accept_local", &cv_pod_undo::accept_local},
    // What the application accepts takes the mark of the agent's SYN: its replies to a foreign address stay on lo. IPv6 too.
    {"/proc/sys/net/ipv4/tcp_fwmark_accept", &cv_pod_undo::tcp_fwmark_accept},
    // So do resets, which belong to no socket.
    {"/proc/sys/net/ipv4/fwmark_reflect", &cv_pod_undo::fwmark_reflect_v4},
    {"/proc/sys/net/ipv6/fwmark_reflect", &cv_pod_undo::fwmark_reflect_v6},
}};

// -1 where the kernel has no such knob (IPv6 not built in).
Result<__s32> read_sysctl(const char* path) {
  UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return -1;
    return fail_errno(errno, "cannot open {}", path);
  }
  std::array<char, 16> text{};
  const ssize_t got = ::read(fd.get(), text.data(), text.size());
  if (got < 0) return fail_errno(errno, "cannot read {}", path);
  __s32 value = 0;
  if (std::from_chars(text.data(), text.data() + got, value).ec != std::errc{})
    return fail(ErrorCode::System, "{} holds no number", path);
  return value;
}

Result<void> write_sysctl(const char* path, __s32 value) {
  UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "cannot open {} for writing; the agent needs /proc/sys writable", path);
  const auto text = fmt::format("{}\n", value);
  if (::write(fd.get(), text.data(), text.size()) < 0) return fail_errno(errno, "cannot write {} to {}", value, path);
  return {};
}

// The first address of the family, or null.
const IpAddress* first_of(const std::vector<IpAddress>& addresses, int family) {
  for (const auto& address : addresses)
    if (address.family() == family) return &address;
  return nullptr;
}

// A pod may switch its own IPv6 off (net.ipv6.conf.all.disable_ipv6). The kernel has then removed lo's IPv6 routes and refuses new ones; nothing of that
// family leaves the pod. Switched on again, what is steered finds no route over lo, and tc egress drops it until the pod is prepared again.
bool is_switched_off(int family) {
  if (family != AF_INET6) return false;
  const auto value = read_sysctl("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
  return value && *value == 1;
}

RtNetlink::Rule rule_of(const LoopbackPlan& plan, int family) {
  return {.family = family, .mark = plan.mark, .table = plan.route_table, .priority = plan.rule_priority};
}

// As large as the kernel takes: 6.1 has no IPv4 pair, a limited kernel may refuse the size itself.
void raise_segments(RtNetlink& netlink, const SegmentSizes& now) {
  for (const std::uint32_t size : {kSegmentBytesMax, std::uint32_t{196608}}) {
    if (now.gso_max_bytes >= size) return;
    const SegmentSizes wanted{.gso_max_bytes = size,
                              .gro_max_bytes = size,
                              .gso_v4_max_bytes = now.gso_v4_max_bytes != 0 ? size : 0,
                              .gro_v4_max_bytes = now.gro_v4_max_bytes != 0 ? size : 0};
    if (netlink.set_segments(CV_LO_IFINDEX, wanted)) return;
  }
}

}  // namespace

Result<void> read_loopback(RtNetlink& netlink, cv_pod_undo& undo) {
  if (undo.is_prepared != 0) return {};
  for (const auto& sysctl : kSysctls) undo.*sysctl.before = CV_TRY(read_sysctl(sysctl.path));
  const auto lo = CV_TRY(netlink.device("lo"));
  undo.gso_max_bytes = lo.segments.gso_max_bytes;
  undo.gro_max_bytes = lo.segments.gro_max_bytes;
  undo.gso_v4_max_bytes = lo.segments.gso_v4_max_bytes;
  undo.gro_v4_max_bytes = lo.segments.gro_v4_max_bytes;
  undo.is_prepared = 1;
  return {};
}

Result<void> prepare_loopback(RtNetlink& netlink, const LoopbackPlan& plan) {
  for (const auto& sysctl : kSysctls) {
    const __s32 now = CV_TRY(read_sysctl(sysctl.path));
    if (now == 0) CV_TRY(write_sysctl(sysctl.path, 1));
  }
  const auto lo = CV_TRY(netlink.device("lo"));
  if (!lo.is_up) CV_TRY(netlink.set_up(CV_LO_IFINDEX));
  if (plan.allow_big_segments) raise_segments(netlink, lo.segments);
  for (const int family : {AF_INET, AF_INET6}) {
    const IpAddress* source = first_of(plan.addresses, family);
    if (source == nullptr || is_switched_off(family)) continue;
    // The route first: a rule without it would let a marked packet fall through to the pod's device.
    CV_TRY(netlink.add_local_default(plan.route_table, *source));
    CV_TRY(netlink.add_rule(rule_of(plan, family)));
  }
  return {};
}

Result<void> verify_loopback(RtNetlink& netlink, const LoopbackPlan& plan) {
  for (const auto& sysctl : kSysctls)
    if (CV_TRY(read_sysctl(sysctl.path)) == 0) return fail(ErrorCode::NotFound, "{} is 0 again", sysctl.path);
  for (const int family : {AF_INET, AF_INET6}) {
    if (first_of(plan.addresses, family) == nullptr || is_switched_off(family)) continue;
    const char* name = family == AF_INET ? "IPv4" : "IPv6";
    if (!CV_TRY(netlink.has_rule(rule_of(plan, family))))
      return fail(ErrorCode::NotFound, "the {} rule fwmark {:#x} lookup {} is gone", name, plan.mark, plan.route_table);
    if (!CV_TRY(netlink.has_local_default(plan.route_table, family)))
      return fail(ErrorCode::NotFound, "the {} local route of table {} is gone", name, plan.route_table);
  }
  return {};
}

Result<void> restore_loopback(RtNetlink& netlink, const LoopbackPlan& plan, const cv_pod_undo& undo) {
  Result<void> first;
  const auto keep = [&first](Result<void>&& result) {
    if (!result && first) first = std::move(result);
  };
  for (const int family : {AF_INET, AF_INET6}) {
    keep(netlink.remove_rule(rule_of(plan, family)));
    keep(netlink.remove_local_default(plan.route_table, family));
  }
  if (undo.is_prepared == 0) return first;
  for (const auto& sysctl : kSysctls)
    if (undo.*sysctl.before == 0) keep(write_sysctl(sysctl.path, 0));
  const auto lo = netlink.device("lo");
  const SegmentSizes before{.gso_max_bytes = undo.gso_max_bytes,
                            .gro_max_bytes = undo.gro_max_bytes,
                            .gso_v4_max_bytes = undo.gso_v4_max_bytes,
                            .gro_v4_max_bytes = undo.gro_v4_max_bytes};
  if (lo && lo->segments.gso_max_bytes != before.gso_max_bytes && before.gso_max_bytes != 0)
    keep(netlink.set_segments(CV_LO_IFINDEX, before));
  return first;
}

}  // namespace culvert::datapath
