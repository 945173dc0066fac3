/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Gathers the facts of a socket option that is about to be set; see setsockopt.bpf.c. */
#ifndef CULVERT_BPF_SETSOCKOPT_H
#define CULVERT_BPF_SETSOCKOPT_H

#include "lib/bpf.bpf.h"

#include "lib/decide.bpf.h"
#include "lib/pod.bpf.h"

/* The smallest page. */
#define CV_OPTION_COPIED_MAX 4096

/* What is compared is the kernel's copy, which the caller can no longer change. */
static __always_inline int cv_is_plain_zero(const struct bpf_sockopt* ctx) {
  const __u32* value = ctx->optval;
  if (ctx->optlen != sizeof(*value) || (const void*)(value + 1) > ctx->optval_end) return 0;
  return *value == 0;
}

/* Runs for every setsockopt of the machine: all but a handful return after the level. */
static __always_inline int cv_refuses_option(struct bpf_sockopt* ctx) {
  if (!cv_option_bypasses(ctx->level, ctx->optname) || cv_is_plain_zero(ctx)) return 0;
  __u64 cookie = bpf_get_netns_cookie(ctx);
  const __u32* slot = bpf_map_lookup_elem(&cv_pod_slots, &cookie);
  if (!slot) return 0;
  cv_count(*slot, CV_COUNTER_SOCKOPT_REFUSED);
  return 1;
}

#endif
