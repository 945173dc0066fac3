/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket filter of the agent's outbound listeners, only where the far end is to answer before the agent does (capture.answer_syn). Drops each
 * SYN and hands it to the worker that owns the listener; the worker sends it again, marked, when the far end has answered. The kernel picks a
 * listener by the tuple's hash, so the second one comes to the same worker. Decides nothing else: what it cannot hand over it lets pass,
 * and the agent answers that at once. Accepted sockets inherit the filter until the worker takes it off; to them it is one look at the flags.
 */
#include "lib/syn.bpf.h"

SEC("socket")
int cv_hold_syn(struct __sk_buff* skb) { return (int)cv_hold(skb); }

char cv_license[] SEC("license") __weak = "Dual BSD/GPL";
