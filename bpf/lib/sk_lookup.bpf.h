/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Gathers the facts of a socket lookup and carries the decision out. */
#ifndef CULVERT_BPF_SK_LOOKUP_H
#define CULVERT_BPF_SK_LOOKUP_H

#include "lib/decide.bpf.h"
#include "lib/pod.bpf.h"

static __always_inline void cv_lookup_tuple(struct bpf_sk_lookup* ctx, struct cv_tuple* tuple) {
  if (ctx->family == CV_AF_INET) {
    tuple->source = cv_addr_v4(cv_keep_apart(ctx->remote_ip4));
    tuple->destination = cv_addr_v4(cv_keep_apart(ctx->local_ip4));
  } else {
    tuple->source = cv_addr_v6(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3]);
    tuple->destination = cv_addr_v6(ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3]);
  }
  tuple->source_port = bpf_ntohs(ctx->remote_port);
  tuple->destination_port = (__u16)ctx->local_port;
}

/* Gives the packet to the agent's listener, and within its SO_REUSEPORT group to the worker that the kernel picks. */
static __always_inline int cv_assign(struct bpf_sk_lookup* ctx, __u32 slot, __u32 role, enum cv_counter taken,
                                     enum cv_counter dropped) {
  __u32 index = CV_LISTENER_INDEX(slot, role, ctx->family == CV_AF_INET ? CV_LISTENER_V4 : CV_LISTENER_V6);
  struct bpf_sock* listener = bpf_map_lookup_elem(&cv_listeners, &index);
  if (!listener) {
    cv_count(slot, dropped);
    return SK_DROP;
  }
  const long error = bpf_sk_assign(ctx, listener, 0);
  bpf_sk_release(listener);
  cv_count(slot, error ? dropped : taken);
  return error ? SK_DROP : SK_PASS;
}

static __always_inline int cv_pass(__u32 slot, enum cv_counter counter) {
  cv_count(slot, counter);
  return SK_PASS;
}

static __always_inline int cv_lookup_inbound(struct bpf_sk_lookup* ctx, __u32 slot, __u32 pod_flags,
                                             const struct cv_tuple* tuple) {
  const __u64* opened_ns = bpf_map_lookup_elem(&cv_node_conns, tuple);
  if (opened_ns && bpf_ktime_get_ns() - *opened_ns < CV_NODE_CONN_AGE_NS_MAX)
    return cv_pass(slot, CV_COUNTER_INBOUND_NODE);
  if (cv_is_excluded(slot, pod_flags, CV_DIRECTION_IN, &tuple->source, tuple->destination_port))
    return cv_pass(slot, CV_COUNTER_INBOUND_EXCLUDED);
  return cv_assign(ctx, slot, CV_LISTENER_INBOUND, CV_COUNTER_INBOUND_TAKEN, CV_COUNTER_DROP_NO_INBOUND);
}

static __always_inline int cv_lookup(struct bpf_sk_lookup* ctx, __u32 slot) {
  const struct cv_pod* pod = bpf_map_lookup_elem(&cv_pods, &slot);
  if (!pod) return SK_PASS;
  struct cv_tuple tuple;
  cv_lookup_tuple(ctx, &tuple);
  const struct cv_lookup_facts facts = {
      .pod_flags = pod->flags,
      .local_port = tuple.destination_port,
      .is_lo = ctx->ingress_ifindex == CV_LO_IFINDEX,
      .is_local_loopback = (__u8)cv_addr_is_loopback(&tuple.destination),
      .is_local_own = (__u8)cv_is_own_addr(slot, &tuple.destination),
      .is_remote_own = (__u8)cv_is_own_addr(slot, &tuple.source),
  };
  switch (cv_lookup_way(&facts)) {
    case CV_LOOKUP_OUTBOUND:
      return cv_assign(ctx, slot, CV_LISTENER_OUTBOUND, CV_COUNTER_OUTBOUND_TAKEN, CV_COUNTER_DROP_NO_OUTBOUND);
    case CV_LOOKUP_INBOUND: return cv_lookup_inbound(ctx, slot, facts.pod_flags, &tuple);
    case CV_LOOKUP_TUNNEL: return cv_pass(slot, CV_COUNTER_INBOUND_TUNNEL);
    case CV_LOOKUP_LEAVING: return cv_pass(slot, CV_COUNTER_LEAVING_PASSED);
    case CV_LOOKUP_BYPASS: return cv_pass(slot, CV_COUNTER_INBOUND_BYPASS);
    case CV_LOOKUP_AGENT_PORT: cv_count(slot, CV_COUNTER_DROP_AGENT_PORT); return SK_DROP;
    case CV_LOOKUP_PASS: break;
  }
  return SK_PASS;
}

#endif
