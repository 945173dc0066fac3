/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tc egress, one program per pod on each of its devices: enforcement. Sees every packet that leaves the pod, and lets nothing past
 * that steering missed: what belongs to the mesh is sent to lo, where the agent's sockets are; what cannot be told is dropped.
 */
#include "lib/egress.bpf.h"

SEC("tc")
int cv_pod_egress(struct __sk_buff* skb) { return cv_egress(skb, cv_own_slot()); }
