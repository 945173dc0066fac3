/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cgroup/setsockopt, on the root of the cgroup2 tree. What a packet socket sends with PACKET_QDISC_BYPASS, and what goes out by a ring of AF_XDP,
 * reaches the device without tc egress: in an enrolled namespace nobody gets these options. Lets every other option of every other socket be.
 */
#include "lib/setsockopt.bpf.h"

SEC("cgroup/setsockopt")
int cv_setsockopt(struct bpf_sockopt* ctx) {
  if (cv_refuses_option(ctx)) return 0; /* EPERM */
  /* The kernel has copied a page of it, no more; 0 is "as the caller gave it". Before 6.5 anything else fails with EFAULT. */
  if (ctx->optlen > CV_OPTION_COPIED_MAX) ctx->optlen = 0;
  return 1;
}
