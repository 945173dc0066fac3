// SPDX-License-Identifier: Apache-2.0
#include "datapath/node_hooks.hpp"

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

}  // namespace

void attach_node_hooks(const BpfObject& object, const PinPlan& pins, const Datapath::Options& options,
                       Capabilities& capabilities) {
  if (!options.allow_connect_hook) {
    remove_pin(pins.link("connect4"));
    remove_pin(pins.link("connect6"));
  }
  const auto cgroup = open_cgroup(options.cgroup_dir);
  if (!cgroup) {
    capabilities.notes.push_back(
        "Connections are redirected packet by packet, and probes are treated as from outside: " +
        cgroup.error().message());
    return;
  }
  if (options.allow_connect_hook) {
    const auto steering = attach_steering(object, pins, cgroup->get());
    capabilities.has_connect_hook = steering.has_value();
    if (!steering)
      capabilities.notes.push_back("Connections are redirected packet by packet, not steered at connect: " +
                                   steering.error().message());
  }
  const auto sockops = ensure_link({.pin = pins.link("sockops"),
                                    .program_fd = object.program_fd(Program::Sockops),
                                    .target = cgroup->get(),
                                    .attach_type = BPF_CGROUP_SOCK_OPS});
  capabilities.has_sockops = sockops.has_value();
  if (!sockops)
    capabilities.notes.push_back("The node's own connections (probes) are treated as from outside: " +
                                 sockops.error().message());
}

}  // namespace culvert::datapath
