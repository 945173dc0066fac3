/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Carries a connect decision out: the socket's state and its mark. */
#ifndef CULVERT_BPF_CONNECT_H
#define CULVERT_BPF_CONNECT_H

#include "lib/decide.bpf.h"
#include "lib/pod.bpf.h"

static __always_inline void cv_set_mark(struct bpf_sock_addr* ctx, __u32 mark) {
  /* When this fails the packets take the pod's device, and tc egress redirects them by the socket's state. */
  bpf_setsockopt(ctx, CV_SOL_SOCKET, CV_SO_MARK, &mark, sizeof(mark));
}

/* A socket that connects anew is not bound by what it was before. */
static __always_inline void cv_uncapture(struct bpf_sock_addr* ctx, struct cv_sock_state* state, __u32 kind) {
  if (!state) return;
  if (state->kind == CV_SOCK_CAPTURED) cv_set_mark(ctx, state->mark_before);
  state->kind = kind;
}

static __always_inline void cv_connect(struct bpf_sock_addr* ctx, const struct cv_addr* destination) {
  if (ctx->type != CV_SOCK_STREAM || ctx->protocol != CV_IPPROTO_TCP) return;
  __u64 cookie = bpf_get_netns_cookie(ctx);
  const __u32* slot_entry = bpf_map_lookup_elem(&cv_pod_slots, &cookie);
  if (!slot_entry) return;
  __u32 slot = *slot_entry;
  const struct cv_pod* pod = bpf_map_lookup_elem(&cv_pods, &slot);
  if (!pod) return;
  struct bpf_sock* sk = ctx->sk;
  if (!sk) return;
  struct cv_sock_state* state = bpf_sk_storage_get(&cv_sock_state, sk, 0, 0);
  if (state && state->kind == CV_SOCK_AGENT) return;

  const __u16 port = bpf_ntohs((__u16)ctx->user_port);
  const int is_local =
      cv_addr_is_loopback(destination) || cv_addr_is_unspecified(destination) || cv_is_own_addr(slot, destination);
  const int is_excluded = !is_local && cv_is_excluded(slot, pod->flags, CV_DIRECTION_OUT, destination, port);
  switch (cv_connect_way(pod->flags, is_local, is_excluded)) {
    case CV_CONNECT_LEAVING: cv_count(slot, CV_COUNTER_LEAVING_PASSED); /* fall through */
    case CV_CONNECT_LEAVE: cv_uncapture(ctx, state, CV_SOCK_NONE); return;
    case CV_CONNECT_DIRECT:
      cv_uncapture(ctx, state, CV_SOCK_DIRECT);
      if (!state) {
        struct cv_sock_state direct = {.kind = CV_SOCK_DIRECT};
        bpf_sk_storage_get(&cv_sock_state, sk, &direct, BPF_SK_STORAGE_GET_F_CREATE);
      }
      cv_count(slot, CV_COUNTER_CONNECT_EXCLUDED);
      return;
    case CV_CONNECT_CAPTURE: break;
  }
  if (!state) {
    struct cv_sock_state captured = {.kind = CV_SOCK_CAPTURED, .mark_before = sk->mark};
    bpf_sk_storage_get(&cv_sock_state, sk, &captured, BPF_SK_STORAGE_GET_F_CREATE);
  } else if (state->kind != CV_SOCK_CAPTURED) {
    state->mark_before = sk->mark;
    state->kind = CV_SOCK_CAPTURED;
  }
  cv_set_mark(ctx, cv_mark);
  cv_count(slot, CV_COUNTER_CONNECT_STEERED);
}

#endif
