// SPDX-License-Identifier: Apache-2.0
#include "datapath/capabilities.hpp"

#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <sched.h>

#include "core/netns.hpp"
#include "datapath/clsact.hpp"
#include "datapath/links.hpp"
#include "datapath/loopback.hpp"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {

namespace {

// A program that returns `verdict` and does nothing else.
Result<UniqueFd> load_verdict(bpf_prog_type type, const char* name, std::int32_t verdict) {
  const std::array<bpf_insn, 2> instructions{{
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = verdict},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  }};
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  if (type == BPF_PROG_TYPE_SK_LOOKUP) options.expected_attach_type = BPF_SK_LOOKUP;
  const int fd = bpf_prog_load(type, name, "Dual BSD/GPL", instructions.data(), instructions.size(), &options);
  if (fd < 0) return fail_errno(-fd, "cannot load a BPF program that does nothing");
  return UniqueFd(fd);
}

Result<void> try_clsact() {
  const UniqueFd program = CV_TRY(load_verdict(BPF_PROG_TYPE_SCHED_CLS, "cv_try_clsact", TC_ACT_UNSPEC));
  if (const auto attached = attach_clsact_egress(CV_LO_IFINDEX, program.get()); !attached)
    return std::unexpected(attached.error());
  return {};
}

Result<void> try_sk_lookup() {
  const UniqueFd program = CV_TRY(load_verdict(BPF_PROG_TYPE_SK_LOOKUP, "cv_try_lookup", SK_PASS));
  const UniqueFd netns = CV_TRY(open_current_netns());
  CV_TRY(create_link(program.get(), netns.get(), BPF_SK_LOOKUP));
  return {};
}

}  // namespace

bool try_tcx() noexcept {
  const auto program = load_verdict(BPF_PROG_TYPE_SCHED_CLS, "cv_try_tcx", TC_ACT_UNSPEC);
  return program && create_link(program->get(), CV_LO_IFINDEX, kTcxEgress).has_value();
}

PodHookTrial try_pod_hooks() {
  PodHookTrial trial;
  const auto try_both = [&trial] {
    if (::unshare(CLONE_NEWNET) != 0) {
      trial.clsact = fail_errno(errno, "cannot make a network namespace to try in");
      trial.sk_lookup = trial.clsact;
      return;
    }
    trial.clsact = try_clsact();
    trial.sk_lookup = try_sk_lookup();
  };
  try {
    std::thread(try_both).join();  // it ends in its namespace: no thread of ours has to find its way back
  } catch (const std::system_error& error) {
    trial.clsact = fail_errno(error.code().value(), "cannot make a thread to try in");
    trial.sk_lookup = trial.clsact;
  }
  return trial;
}

void read_pod_hooks(Capabilities& capabilities, const PodHookTrial& trial) {
  capabilities.has_clsact = trial.clsact.has_value();
  capabilities.has_sk_lookup = trial.sk_lookup.has_value();
  if (!trial.clsact)
    capabilities.notes.push_back(fmt::format(
        "{}: no clsact filter can be attached ({}); load the modules sch_ingress and cls_bpf, or use a kernel "
        "with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF",
        capabilities.has_tcx ? "Joins take 10 to 20 ms longer" : "Pods cannot be captured",
        trial.clsact.error().message()));
  if (!trial.sk_lookup)
    capabilities.notes.push_back(
        fmt::format("Pods cannot be captured: no program can be attached at sk_lookup ({}); use a kernel with "
                    "CONFIG_BPF_SYSCALL and CONFIG_INET, 5.9 or newer",
                    trial.sk_lookup.error().message()));
}

void read_segment_limits(Capabilities& capabilities) {
  constexpr std::uint32_t kOrdinary = 65536;
  auto netlink = RtNetlink::open();
  if (!netlink) return;
  const auto lo = netlink->device("lo");
  if (!lo) return;
  const auto& segments = lo->segments;
  capabilities.lo_segment_bytes_v6 =
      segments.tso_max_bytes != 0 ? std::min(segments.tso_max_bytes, kSegmentBytesMax) : kOrdinary;
  capabilities.lo_segment_bytes_v4 = segments.gso_v4_max_bytes != 0 ? capabilities.lo_segment_bytes_v6 : kOrdinary;
  if (segments.gso_v4_max_bytes == 0)
    capabilities.notes.emplace_back("IPv4 segments on lo end at 64 KiB; Linux 6.3 and newer can do more");
}

Result<std::string> find_cgroup2() {
  // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw (proc(5)): the fifth field is the mount point.
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const auto separator = line.find(" - ");
    if (separator == std::string::npos || line.compare(separator + 3, 8, "cgroup2 ") != 0) continue;
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;
    return field;
  }
  return fail(ErrorCode::NotFound, "no cgroup2 is mounted; mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup");
}

}  // namespace culvert::datapath
