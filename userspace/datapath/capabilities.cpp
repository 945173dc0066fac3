// SPDX-License-Identifier: Apache-2.0
#include "datapath/capabilities.hpp"

#include <array>
#include <fstream>
#include <sstream>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "datapath/links.hpp"
#include "datapath/loopback.hpp"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {

bool try_tcx() noexcept {
  // r0 = -1 (go on); exit
  const std::array<bpf_insn, 2> go_on{{
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = -1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  }};
  const UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "cv_try_tcx", "Dual BSD/GPL", go_on.data(), go_on.size(), nullptr));
  return program && create_link(program.get(), CV_LO_IFINDEX, kTcxEgress).has_value();
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
