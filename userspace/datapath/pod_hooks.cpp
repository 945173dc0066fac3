// SPDX-License-Identifier: Apache-2.0
#include "datapath/pod_hooks.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include <linux/bpf.h>
#include <linux/if_arp.h>
#include <sys/stat.h>

#include "datapath/clsact.hpp"
#include "datapath/links.hpp"

namespace culvert::datapath {
namespace {

Result<LinkSpec> lookup_spec(const PinPlan& pins, const PodHooks& hooks) {
  struct stat info{};
  if (::fstat(hooks.netns_fd, &info) != 0) return fail_errno(errno, "cannot look at the pod's namespace");
  return LinkSpec{.pin = pins.pod_lookup(hooks.slot),
                  .target = hooks.netns_fd,
                  .attach_type = BPF_SK_LOOKUP,
                  .target_id = static_cast<std::uint32_t>(info.st_ino)};
}

LinkSpec egress_spec(const PinPlan& pins, const PodHooks& hooks, const NetDevice& device) {
  return {.pin = pins.pod_egress(hooks.slot, device.ifindex),
          .target = static_cast<int>(device.ifindex),
          .attach_type = kTcxEgress,
          .target_id = device.ifindex};
}

void remove_stale_pins(const PinPlan& pins, const PodHooks& hooks) {
  std::set<std::string> kept{pins.pod_lookup(hooks.slot)};
  if (hooks.has_tcx)
    for (const auto& device : hooks.devices) kept.insert(pins.pod_egress(hooks.slot, device.ifindex));
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(pins.pod(hooks.slot), ignored))
    if (!kept.contains(entry.path().string())) remove_pin(entry.path().string());
}

}  // namespace

Result<std::vector<NetDevice>> find_devices(RtNetlink& netlink, const std::vector<std::string>& names) {
  std::vector<NetDevice> found;
  for (const auto& name : names) {
    auto device = CV_TRY(netlink.device(name));
    if (device.hardware_type != ARPHRD_ETHER)
      return fail(ErrorCode::Unsupported,
                  "device {} of the pod is not Ethernet (hardware type {}): its traffic cannot be captured", name,
                  device.hardware_type);
    found.push_back(std::move(device));
  }
  if (found.empty()) return fail(ErrorCode::InvalidArgument, "the pod has no device to capture");
  return found;
}

Result<bool> attach_pod_hooks(const BpfObject& object, const PinPlan& pins, const PodHooks& hooks) {
  CV_TRY(make_pin_directory(pins.pod(hooks.slot)));
  const auto lookup = CV_TRY(object.load_for_pod(Program::PodLookup, hooks.slot));
  auto spec = CV_TRY(lookup_spec(pins, hooks));
  spec.program_fd = lookup.get();
  CV_TRY(with_context(ensure_link(spec), "sk_lookup"));

  const auto egress = CV_TRY(object.load_for_pod(Program::PodEgress, hooks.slot));
  bool made_qdisc = false;
  for (const auto& device : hooks.devices) {
    auto link = egress_spec(pins, hooks, device);
    link.program_fd = egress.get();
    if (hooks.has_tcx && update_link(link)) continue;
    if (hooks.has_tcx && (hooks.is_running || !hooks.has_clsact)) {
      CV_TRY(with_context(ensure_link(link), "tcx egress of " + device.name));
      continue;
    }
    made_qdisc |=
        CV_TRY(with_context(attach_clsact_egress(device.ifindex, egress.get()), "tc egress of " + device.name));
  }
  remove_stale_pins(pins, hooks);
  return made_qdisc;
}

Result<void> settle_pod_hooks(const BpfObject& object, const PinPlan& pins, const PodHooks& hooks) {
  if (!hooks.has_tcx) return {};
  const auto egress = CV_TRY(object.load_for_pod(Program::PodEgress, hooks.slot));
  for (const auto& device : hooks.devices) {
    auto link = egress_spec(pins, hooks, device);
    link.program_fd = egress.get();
    CV_TRY(with_context(ensure_link(link), "tcx egress of " + device.name));
  }
  return {};
}

Result<void> verify_pod_hooks(const PinPlan& pins, const PodHooks& hooks) {
  const auto lookup = CV_TRY(lookup_spec(pins, hooks));
  CV_TRY(with_context(verify_link(lookup), "sk_lookup"));
  for (const auto& device : hooks.devices) {
    if (hooks.has_tcx && verify_link(egress_spec(pins, hooks, device))) continue;
    CV_TRY(with_context(verify_clsact_egress(device.ifindex), "egress of " + device.name));
  }
  return {};
}

}  // namespace culvert::datapath
