/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What sockops remembers of connections; see sockops.bpf.c. */
#ifndef CULVERT_BPF_SOCKOPS_H
#define CULVERT_BPF_SOCKOPS_H

#include "lib/pod.bpf.h"

static __always_inline struct cv_addr cv_sockops_remote(struct bpf_sock_ops* ctx) {
  if (ctx->family == CV_AF_INET) return cv_addr_v4(cv_keep_apart(ctx->remote_ip4));
  return cv_addr_v6(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3]);
}

static __always_inline struct cv_addr cv_sockops_local(struct bpf_sock_ops* ctx) {
  if (ctx->family == CV_AF_INET) return cv_addr_v4(cv_keep_apart(ctx->local_ip4));
  return cv_addr_v6(ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3]);
}

/* Runs for every TCP connect of the machine: what goes to no pod, or is not the node's, returns after a lookup. */
static __always_inline void cv_remember_connect(struct bpf_sock_ops* ctx) {
  if (!cv_node_netns_cookie || (ctx->family != CV_AF_INET && ctx->family != CV_AF_INET6)) return;
  struct cv_tuple tuple = {.destination = cv_sockops_remote(ctx)};
  if (!bpf_map_lookup_elem(&cv_pod_addrs, &tuple.destination)) return;
  if (bpf_get_netns_cookie(ctx) != cv_node_netns_cookie) return;
  tuple.source = cv_sockops_local(ctx);
  tuple.source_port = (__u16)ctx->local_port;
  tuple.destination_port = (__u16)bpf_ntohl(ctx->remote_port);
  const __u64 now_ns = bpf_ktime_get_ns();
  bpf_map_update_elem(&cv_node_conns, &tuple, &now_ns, BPF_ANY);
}

/* net.ipv4.tcp_fwmark_accept gives an accepted socket the mark of its SYN, and over lo only the agent's sockets have ours. */
static __always_inline void cv_capture_accepted(struct bpf_sock_ops* ctx) {
  struct bpf_sock* sk = ctx->sk;
  if (!sk || sk->mark != cv_mark) return;
  __u64 cookie = bpf_get_netns_cookie(ctx);
  if (!bpf_map_lookup_elem(&cv_pod_slots, &cookie)) return;
  struct cv_sock_state captured = {.kind = CV_SOCK_CAPTURED};
  struct cv_sock_state* state = bpf_sk_storage_get(&cv_sock_state, sk, &captured, BPF_SK_STORAGE_GET_F_CREATE);
  if (state) state->kind = CV_SOCK_CAPTURED; /* whatever it has from its listener */
}

#endif
