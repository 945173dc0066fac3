/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc egress on each of the pod's devices: enforcement. Sees every packet that leaves the pod, and lets nothing past
 * that steering missed: what belongs to the mesh is sent to lo, where the agent's sockets are; what cannot be told is dropped.
 */
#include "lib/egress.bpf.h"

SEC("tc")
int cv_egress_all(struct __sk_buff* skb) { return cv_egress(skb, skb->cb[CV_CB_SLOT]); }

/*
 * Per pod: says whose packet it is and jumps. Small, because every pod loads its own copy: verifying the whole program took most of
 * the time of a join.
 */
SEC("tc")
int cv_pod_egress(struct __sk_buff* skb) {
  const __u32 slot = cv_own_slot();
  skb->cb[CV_CB_SLOT] = slot;
  bpf_tail_call(skb, &cv_programs, CV_PROGRAM_EGRESS);
  return cv_drop(slot, CV_COUNTER_DROP_NO_PROGRAM);
}
