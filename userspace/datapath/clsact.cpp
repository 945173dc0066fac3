// SPDX-License-Identifier: Apache-2.0
#include "datapath/clsact.hpp"

#include <cerrno>

#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>

namespace culvert::datapath {
namespace {

// Ours among the filters of a device: "CV" as a number, unlikely to be anybody else's.
constexpr __u32 kHandle = 0x4356;
constexpr __u32 kPriority = 0x4356;

bpf_tc_hook egress_hook(std::uint32_t ifindex) {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = static_cast<int>(ifindex);
  hook.attach_point = BPF_TC_EGRESS;
  return hook;
}

bpf_tc_opts our_filter() noexcept {
  bpf_tc_opts options{};
  options.sz = sizeof(options);
  options.handle = kHandle;
  options.priority = kPriority;
  return options;
}

}  // namespace

Result<bool> attach_clsact_egress(std::uint32_t ifindex, int program_fd) {
  auto hook = egress_hook(ifindex);
  const int made = bpf_tc_hook_create(&hook);
  if (made != 0 && made != -EEXIST) return fail_errno(-made, "cannot make a clsact qdisc on device {}", ifindex);
  auto options = our_filter();
  options.prog_fd = program_fd;
  options.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &options); error != 0)
    return fail_errno(-error, "cannot attach a tc filter to device {}", ifindex);
  return made == 0;
}

Result<void> verify_clsact_egress(std::uint32_t ifindex) {
  const auto hook = egress_hook(ifindex);
  auto options = our_filter();
  if (const int error = bpf_tc_query(&hook, &options); error != 0)
    return fail_errno(-error, "no tc filter of ours on device {}", ifindex);
  return {};
}

void remove_clsact_filter(std::uint32_t ifindex) noexcept {
  auto hook = egress_hook(ifindex);
  auto options = our_filter();
  static_cast<void>(bpf_tc_detach(&hook, &options));
}

void remove_clsact_qdisc(RtNetlink& netlink, std::uint32_t ifindex) noexcept {
  for (const std::uint32_t direction : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    const auto has_filters = netlink.has_filters(ifindex, TC_H_MAKE(TC_H_CLSACT, direction));
    if (!has_filters || *has_filters) return;
  }
  auto hook = egress_hook(ifindex);
  hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);  // both: the qdisc itself
  bpf_tc_hook_destroy(&hook);
}

}  // namespace culvert::datapath
