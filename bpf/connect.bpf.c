/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cgroup/connect4 and connect6, on the root of the cgroup2 tree: steering. A connecting TCP socket of an enrolled namespace gets
 * the mark that routes it over lo, and the state "captured"; after that no program sees its packets. IPv4 destinations of IPv6
 * sockets come through connect6. What goes to port 53 goes to the agent's DNS proxy instead, where the pod's DNS is captured. Always lets the connect go on: what this hook misses, tc egress redirects.
 */
#include "lib/connect.bpf.h"
#include "lib/dns.bpf.h"

SEC("cgroup/connect4")
int cv_connect4(struct bpf_sock_addr* ctx) {
  if (cv_dns_steer_v4(ctx)) return 1;
  const struct cv_addr destination = cv_addr_v4(ctx->user_ip4);
  cv_connect(ctx, &destination);
  return 1;
}

SEC("cgroup/connect6")
int cv_connect6(struct bpf_sock_addr* ctx) {
  if (cv_dns_steer_v6(ctx)) return 1;
  const struct cv_addr destination = cv_addr_v6(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
  cv_connect(ctx, &destination);
  return 1;
}
