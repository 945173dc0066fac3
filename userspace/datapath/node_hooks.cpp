// SPDX-License-Identifier: Apache-2.0
#include "datapath/node_hooks.hpp"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <linux/bpf.h>

#include "datapath/capabilities.hpp"
#include "datapath/links.hpp"

namespace culvert::datapath {
namespace {

Result<UniqueFd> open_cgroup(const std::string& given) {
  const std::string path = given.empty() ? CV_TRY(find_cgroup2()) : given;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "cannot open the cgroup {}", path);
  return fd;
}

Result<void> attach_steering(const BpfObject& object, const PinPlan& pins, int cgroup_fd) {
  CV_TRY(ensure_link({.pin = pins.link("connect4"),
                      .program_fd = object.program_fd(Program::Connect4),
                      .target = cgroup_fd,
                      .attach_type = BPF_CGROUP_INET4_CONNECT}));
  return ensure_link({.pin = pins.link("connect6"),
                      .program_fd = object.program_fd(Program::Connect6),
                      .target = cgroup_fd,
                      .attach_type = BPF_CGROUP_INET6_CONNECT});
}

struct DnsHook {
  const char* name;
  Program program;
  bpf_attach_type type;
};
constexpr std::array<DnsHook, 4> kDnsHooks = {{
    {"recvmsg4", Program::Recvmsg4, BPF_CGROUP_UDP4_RECVMSG},  // before anything can be sent that it must undo
    {"recvmsg6", Program::Recvmsg6, BPF_CGROUP_UDP6_RECVMSG},
    {"sendmsg4", Program::Sendmsg4, BPF_CGROUP_UDP4_SENDMSG},
    {"sendmsg6", Program::Sendmsg6, BPF_CGROUP_UDP6_SENDMSG},
}};

Result<void> attach_dns(const BpfObject& object, const PinPlan& pins, int cgroup_fd) {
  for (const DnsHook& hook : kDnsHooks) {
    CV_TRY(ensure_link({.pin = pins.link(hook.name),
                        .program_fd = object.program_fd(hook.program),
                        .target = cgroup_fd,
                        .attach_type = hook.type}));
  }
  return {};
}

constexpr const char* kOptionsAreOpen =
    "A pod with CAP_NET_RAW can send past the capture, by PACKET_QDISC_BYPASS or AF_XDP: take that capability from "
    "pods; ";

}  // namespace

void attach_node_hooks(const BpfObject& object, const PinPlan& pins, const Datapath::Options& options,
                       Capabilities& capabilities) {
  if (!options.allow_connect_hook) {
    remove_pin(pins.link("connect4"));
    remove_pin(pins.link("connect6"));
  }
  if (!options.captures_dns) {
    for (const DnsHook& hook : kDnsHooks) remove_pin(pins.link(hook.name));
  }
  const auto cgroup = open_cgroup(options.cgroup_dir);
  if (!cgroup) {
    capabilities.notes.push_back(
        "Connections are redirected packet by packet, and probes are treated as from outside: " +
        cgroup.error().message());
    capabilities.notes.push_back(kOptionsAreOpen + cgroup.error().message());
    return;
  }
  if (options.allow_connect_hook) {
    const auto steering = attach_steering(object, pins, cgroup->get());
    capabilities.has_connect_hook = steering.has_value();
    if (!steering)
      capabilities.notes.push_back("Connections are redirected packet by packet, not steered at connect: " +
                                   steering.error().message());
  }
  if (options.captures_dns) {
    const auto dns = attach_dns(object, pins, cgroup->get());
    capabilities.has_dns_hooks = dns.has_value() && capabilities.has_connect_hook;
    if (!capabilities.has_dns_hooks)
      capabilities.notes.push_back("DNS of pods is not captured: " +
                                   (dns ? std::string("the connect hook is missing") : dns.error().message()));
  }
  const auto sockops = ensure_link({.pin = pins.link("sockops"),
                                    .program_fd = object.program_fd(Program::Sockops),
                                    .target = cgroup->get(),
                                    .attach_type = BPF_CGROUP_SOCK_OPS});
  capabilities.has_sockops = sockops.has_value();
  if (!sockops)
    capabilities.notes.push_back("The node's own connections (probes) are treated as from outside: " +
                                 sockops.error().message());
  const auto options_hook = ensure_link({.pin = pins.link("setsockopt"),
                                         .program_fd = object.program_fd(Program::Setsockopt),
                                         .target = cgroup->get(),
                                         .attach_type = BPF_CGROUP_SETSOCKOPT});
  capabilities.has_option_hook = options_hook.has_value();
  if (!options_hook) capabilities.notes.push_back(kOptionsAreOpen + options_hook.error().message());
}

}  // namespace culvert::datapath
