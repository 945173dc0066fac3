/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sk_lookup, one program and one link per pod: gives a connection's first packet to the agent's listener. Runs only for packets that
 * belong to no connection yet. A captured connection for which no agent listens is dropped, never passed.
 */
#include "lib/sk_lookup.bpf.h"

SEC("sk_lookup")
int cv_pod_lookup(struct bpf_sk_lookup* ctx) {
  if (ctx->protocol != CV_IPPROTO_TCP) return SK_PASS;
  return cv_lookup(ctx, cv_own_slot());
}
