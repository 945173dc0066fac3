/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Questions to port 53 of any server go to the agent's proxy on the pod's loopback, and answers seem to come from the server. Where no proxy
 * listens (no agent, or none that captures DNS) the question goes where the application sent it: names are worth more than capture.
 */
#ifndef CULVERT_BPF_DNS_H
#define CULVERT_BPF_DNS_H

#include "lib/decide.bpf.h"
#include "lib/pod.bpf.h"

#define CV_DNS_SERVER_PORT 53

static __always_inline struct cv_addr cv_loopback_for(const struct cv_addr* addr) {
  return cv_addr_is_v4(addr) ? cv_addr_v4(bpf_htonl(0x7f000001)) : cv_addr_v6(0, 0, 0, bpf_htonl(1));
}

static __always_inline int cv_dns_is_listening(struct bpf_sock_addr* ctx, int is_v4) {
  struct bpf_sock_tuple tuple = {};
  if (is_v4) {
    tuple.ipv4.daddr = bpf_htonl(0x7f000001);
    tuple.ipv4.dport = bpf_htons(CV_PORT_DNS);
  } else {
    tuple.ipv6.daddr[3] = bpf_htonl(1);
    tuple.ipv6.dport = bpf_htons(CV_PORT_DNS);
  }
  struct bpf_sock* proxy =
      bpf_sk_lookup_udp(ctx, &tuple, is_v4 ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
  if (!proxy) return 0;
  bpf_sk_release(proxy);
  return 1;
}

/* Not 0: the caller sends to port CV_PORT_DNS of `cv_loopback_for(server)` instead. The port has been looked at. */
static __always_inline int cv_dns_steer(struct bpf_sock_addr* ctx, const struct cv_addr* server) {
  __u64 cookie = bpf_get_netns_cookie(ctx);
  const __u32* slot_entry = bpf_map_lookup_elem(&cv_pod_slots, &cookie);
  if (!slot_entry) return 0;
  __u32 slot = *slot_entry;
  const struct cv_pod* pod = bpf_map_lookup_elem(&cv_pods, &slot);
  struct bpf_sock* sk = ctx->sk;
  if (!pod || !sk) return 0;
  /* Bound to a device, it does not reach loopback. */
  if (!(pod->flags & CV_POD_DNS) || sk->bound_dev_if != 0) return 0;
  const struct cv_sock_state* state = bpf_sk_storage_get(&cv_sock_state, sk, 0, 0);
  if (state && state->kind == CV_SOCK_AGENT) return 0;
  const int is_local = cv_addr_is_loopback(server) || cv_addr_is_unspecified(server) || cv_is_own_addr(slot, server);
  const int is_excluded = !is_local && cv_is_excluded(slot, pod->flags, CV_DIRECTION_OUT, server, CV_DNS_SERVER_PORT);
  if (!cv_dns_is_wanted(pod->flags, is_local, is_excluded)) return 0;
  if (!cv_dns_is_listening(ctx, cv_addr_is_v4(server))) {
    cv_count(slot, CV_COUNTER_DNS_PASSED);
    return 0;
  }
  if (ctx->protocol == CV_IPPROTO_UDP) {
    struct cv_addr* asked = bpf_sk_storage_get(&cv_dns_servers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!asked) return 0;
    *asked = *server;
  }
  cv_count(slot, CV_COUNTER_DNS_STEERED);
  return 1;
}

static __always_inline int cv_dns_is_question(const struct bpf_sock_addr* ctx) {
  return ctx->user_port == bpf_htons(CV_DNS_SERVER_PORT) &&
         (ctx->protocol == CV_IPPROTO_UDP || ctx->protocol == CV_IPPROTO_TCP);
}

/* Not 0: the question goes to the agent, and the context says so. */
static __always_inline int cv_dns_steer_v4(struct bpf_sock_addr* ctx) {
  if (!cv_dns_is_question(ctx)) return 0;
  const struct cv_addr server = cv_addr_v4(ctx->user_ip4);
  if (!cv_dns_steer(ctx, &server)) return 0;
  ctx->user_ip4 = bpf_htonl(0x7f000001);
  ctx->user_port = bpf_htons(CV_PORT_DNS);
  return 1;
}

static __always_inline int cv_dns_steer_v6(struct bpf_sock_addr* ctx) {
  if (!cv_dns_is_question(ctx)) return 0;
  const struct cv_addr server = cv_addr_v6(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
  if (!cv_dns_steer(ctx, &server)) return 0;
  const struct cv_addr loopback = cv_loopback_for(&server);
  ctx->user_ip6[0] = loopback.words[0];
  ctx->user_ip6[1] = loopback.words[1];
  ctx->user_ip6[2] = loopback.words[2];
  ctx->user_ip6[3] = loopback.words[3];
  ctx->user_port = bpf_htons(CV_PORT_DNS);
  return 1;
}

/* The server that this socket asked; null: what comes from `from` is not an answer of the proxy. */
static __always_inline const struct cv_addr* cv_dns_asked(struct bpf_sock_addr* ctx, const struct cv_addr* from) {
  if (ctx->user_port != bpf_htons(CV_PORT_DNS) || !cv_addr_is_loopback(from) || !ctx->sk) return 0;
  return bpf_sk_storage_get(&cv_dns_servers, ctx->sk, 0, 0);
}

#endif
